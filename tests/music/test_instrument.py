"""A band of tiny random networks: saved, loaded, and playing notes."""

import dataclasses
import json
import tracemalloc

import numpy as np
import pytest
import torch

from fastwave.errors import FastwaveError
from fastwave.model import WaveNet
from fastwave.music import analysis, harmonics, timbre
from fastwave.music.band import Part
from fastwave.music.instrument import Description, Instruments
from fastwave.music.notes import Note, hertz
from fastwave.vocoder import vocoder

RATE = 16_000


def make_band(seed=0, residual="noise"):
    """Random networks whose notes are heard: the first three harmonics are at a tenth of full scale."""
    torch.manual_seed(seed)
    net = timbre.Timbre(timbre.Shape(2, 8, 4))
    with torch.no_grad():
        net.last.weight.mul_(0.02)
        net.direct.weight.mul_(0.02)
        net.last.bias[:] = -1.0
        net.last.bias[: analysis.FRAMES.bands] = -0.3
        net.last.bias[analysis.FRAMES.log_f0] = 0.0
        net.last.bias[analysis.TONE : analysis.TONE + 3] = 0.6
    shape = {"residual_channels": 4, "skip_channels": 4, "dilations": (1, 2)}
    wavenet = WaveNet(vocoder.config(frames=analysis.FRAMES, **shape)) if residual == "wavenet" else None
    stretches = {"low": tuple(1e-4 + 1e-5 * number for number in range(31))}
    description = Description("duo", {"low": (30, 60), "high": (60, 90)}, "MIT", "random numbers", stretches)
    return Instruments(description, net, wavenet, analysis.SETTINGS, threads=1)


@pytest.fixture(scope="module", params=["noise", "wavenet"])
def band(request):
    return make_band(residual=request.param)


def whole(band, *parts, seed=0):
    return np.concatenate(list(band.stream(parts, seed)), axis=1)


def test_a_saved_band_plays_the_same_notes(band, tmp_path):
    band.save(tmp_path / "duo", "float32")
    again = Instruments.load(tmp_path / "duo", threads=1)
    assert again.names == ("low", "high") and again.description.licence == "MIT"
    note = Note(0.0, 0.05, 62, 90)
    assert np.array_equal(band.play(note, "high"), again.play(note, "high"))
    assert (again.wavenet is None) == (band.wavenet is None) == (not (tmp_path / "duo" / "wavenet").exists())


def test_the_stretch_of_a_key_is_saved_and_heard(band, tmp_path):
    band.save(tmp_path / "duo", "float32")
    again = Instruments.load(tmp_path / "duo", threads=1)
    assert again.description.stretch("low", 32) == pytest.approx(1.2e-4) == again.description.stretches["low"][2]
    assert again.description.stretch("low", 99) == pytest.approx(4e-4) and again.description.stretch("high", 70) == 0
    note = Note(0.0, 0.1, 50, 90)
    assert np.array_equal(band.play(note, "low", 0, 0.0), again.play(note, "low", 0, 0.0))
    again.description = dataclasses.replace(again.description, stretches={})
    assert not np.array_equal(band.play(note, "low", 0, 0.0), again.play(note, "low", 0, 0.0))


def test_a_temperature_of_0_leaves_the_harmonics_and_more_of_it_makes_noise_louder():
    band, note = make_band(), Note(0.0, 0.2, 62)
    bare, usual, loud = (band.play(note, "high", 3, temperature) for temperature in (0.0, None, 2.0))
    assert np.allclose(loud - bare, 2 * (usual - bare), atol=1e-6) and np.std(usual - bare) > 1e-4


def test_a_note_has_its_onset_where_the_piece_says(band):
    note = Note(0.25, 0.05, 62)
    wave = whole(band, Part("high", (note,)))[0]
    assert not wave[:4_000].any() and wave[4_000:4_100].any()
    assert np.array_equal(wave[4_000:], band.play(note, "high"))


def test_a_note_sounds_the_same_whatever_is_beside_it(band):
    """Each note has noise of its own, counted in the order of onsets, and a place in any batch."""
    note = Note(0.0, 0.2, 62)
    alone = whole(band, Part("high", (note,)))[0]
    chord = tuple(Note(0.01, 0.01 * number, 40 + number) for number in range(1, 20))  # all shorter, in two batches
    together = whole(band, Part("high", (note,)), Part("low", chord))[0]
    assert np.array_equal(together[: len(alone)], alone) and not together[len(alone) :].any()


def test_two_notes_alike_have_different_residuals(band):
    wave = whole(band, Part("high", (Note(0.0, 0.05, 62), Note(2.0, 0.05, 62))))[0]
    assert not np.allclose(wave[:800], wave[2 * RATE : 2 * RATE + 800], atol=1e-5)


def test_parts_are_apart_and_their_notes_add_up(band):
    notes = (Note(0.0, 0.05, 62), Note(0.02, 0.05, 66))
    both = whole(band, Part("high", notes[:1]), Part("low", notes[1:]))
    assert both.shape[0] == 2 and both[0].any() and both[1].any()
    chord = whole(band, Part("high", notes))
    one = np.pad(band.play(notes[0], "high"), (0, chord.shape[1]))[: chord.shape[1]]
    assert np.array_equal(chord[0, :320], one[:320])  # before the second note begins
    assert not np.array_equal(chord[0, 320:640], one[320:640])


def test_the_seed_and_the_temperature_decide_the_residual(band):
    part = Part("high", (Note(0.0, 0.05, 62),))
    assert np.array_equal(whole(band, part, seed=1), whole(band, part, seed=1))
    assert not np.array_equal(whole(band, part, seed=1), whole(band, part, seed=2))
    cold = [np.concatenate(list(band.stream([part], seed, 0.0)), axis=1) for seed in (1, 2)]
    assert np.array_equal(*cold)


def test_a_note_ends_in_silence_and_without_a_click(band):
    wave = band.play(Note(0.0, 0.1, 62), "high")
    assert abs(wave[-1]) < 1e-3 and np.abs(np.diff(wave[-200:])).max() < 0.05
    assert len(wave) < RATE * (0.1 + timbre.LONGEST_TAIL + 0.1)


def test_silence_between_notes_comes_in_small_blocks(band):
    part = Part("high", (Note(0.0, 0.05, 62), Note(20.0, 0.05, 62)))
    blocks = list(band.stream([part]))
    assert max(block.shape[1] for block in blocks) <= RATE
    assert sum(block.shape[1] for block in blocks) >= 20 * RATE


def test_a_longer_piece_takes_no_more_memory(band):
    peaks = []
    for count in (16, 48):
        part = Part("high", tuple(Note(0.3 * turn, 0.05, 80) for turn in range(count)))
        tracemalloc.start()
        samples = sum(block.shape[1] for block in band.stream([part]))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert samples >= 0.3 * (count - 1) * RATE
    assert peaks[1] < peaks[0] + 300_000  # the longer one has 614,400 bytes more of sound


def test_a_piece_without_notes_is_empty(band):
    assert list(band.stream([Part("high", ())])) == []


def test_an_unknown_instrument_is_named(band):
    with pytest.raises(FastwaveError, match="no 'flute' in this band: it has low, high"):
        list(band.stream([Part("flute", ())]))


def test_keys_that_were_not_learned_sound_like_the_nearest_at_their_own_pitch(band):
    rows = timbre.rows_of(band.timbre, 1, Note(0.0, 0.1, 100), (60, 90))
    nearest = timbre.rows_of(band.timbre, 1, Note(0.0, 0.1, 90), (60, 90))
    log_f0 = analysis.FRAMES.log_f0
    assert np.allclose(rows[:, log_f0] - nearest[:, log_f0], np.log(hertz(100) / hertz(90)), atol=1e-5)
    assert np.array_equal(rows[:, analysis.TONE : analysis.TONE + 2], nearest[:, analysis.TONE : analysis.TONE + 2])
    assert (rows[:, analysis.TONE + harmonics.count(hertz(100)) :] == -1).all()


def test_a_long_note_goes_on_as_it_did_and_is_let_go_at_its_end(band):
    short, long = (timbre.rows_of(band.timbre, 1, Note(0.0, held, 62), (60, 90)) for held in (2.4, 6.4))
    assert len(long) - len(short) == 640  # 4 s
    assert np.array_equal(long[:370], short[:370])


def test_what_decays_goes_on_decaying():
    rows = np.full((500, analysis.WIDTH), -1.0, dtype=np.float32)
    rows[:, analysis.TONE] = 0.8 - 0.2 * np.arange(500) * timbre.STEP  # 10 dB a second
    longer = timbre._prolonged(rows, timbre.LEARNED + 2.0, timbre.LEARNED)
    fall = np.diff(longer[: 500 + 320 - 150, analysis.TONE])
    assert np.allclose(fall, -0.2 * timbre.STEP, atol=1e-5)
    assert longer[-1, analysis.TONE] == pytest.approx(rows[-1, analysis.TONE] - 0.2 * 2.0, abs=1e-4)  # the tail too


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, "not a band of format 2"),
        ({"kind": "voice"}, "not a band of format 2"),
        ({"instruments": {}}, "1..1000 instruments"),
        ({"instruments": {"low": [30, 60], "high": [90, 60]}}, "lowest and the highest"),
        ({"instruments": {"low": [30, 60]}}, "2 instruments, but 1 are named|has a different shape|shape"),
        ({"timbre": {"widths": 3}}, "shape of a timbre"),
        ({"timbre": {"instruments": 2, "width": 0}}, "width of a timbre"),
        ({"vocoder": {"scale": -1}}, "scale of a vocoder"),
        ({"vocoder": {"frames": {"hop": 200}}}, "frames of another kind"),
        ({"licence": ""}, "licence of a band"),
        ({"stretches": {"low": [0.0]}}, "stretches of a band"),
        ({"residual": "hum"}, "noise or wavenet, got 'hum'"),
    ],
)
def test_a_damaged_description_is_refused(band, tmp_path, change, message):
    band.save(tmp_path)
    path = tmp_path / "instrument.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(FastwaveError, match=message):
        Instruments.load(tmp_path, threads=1)


@pytest.mark.parametrize("missing", ["instrument.json", "timbre.safetensors", "wavenet/config.json"])
def test_a_missing_file_is_named(tmp_path, missing):
    make_band(residual="wavenet").save(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(FastwaveError):
        Instruments.load(tmp_path, threads=1)
