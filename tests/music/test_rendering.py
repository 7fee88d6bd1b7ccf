"""A band's parts become stereo: at their places, at one level, whole or not at all, in little memory."""

import tracemalloc

import numpy as np
import pytest
import soundfile

from fastwave import AudioError, InputError, music
from fastwave.music import mixing
from fastwave.music.casting import assign
from fastwave.music.notes import Note, Piece, Track, hertz
from small_band import OVERTONES, SineBand, make_piece


def make_solo(pan=0.0, velocity=90, seconds=0.3):
    return Piece((Track((Note(0, seconds, 69, velocity),), 73, "solo", pan),))


def test_a_piece_becomes_stereo_at_the_rate_of_a_file():
    made = music.render(make_piece(), band=SineBand(), seed=3, temperature=0.5)
    assert made.seconds == pytest.approx(0.45) and made.samples.shape == (2, round(0.45 * 44_100))
    assert float(made.samples.abs().max()) == pytest.approx(0.8, abs=0.01)
    assert made.instruments == ("flute", "clarinet", "strings", "organ")
    assert "data:audio/wav" in made._repr_html_()


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_the_pitch_is_that_of_the_key(rate):
    wave = music.render(make_solo(), band=SineBand(), sample_rate=rate).samples[0].numpy()
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 17))
    assert spectrum.argmax() * rate / (1 << 17) == pytest.approx(hertz(69), abs=1)


def test_seed_and_temperature_reach_the_band():
    band = SineBand()
    music.render(make_solo(), band=band, seed=7, temperature=0.5)
    assert band.asked == (7, 0.5)


@pytest.mark.parametrize(("pan", "silent"), [(-1.0, 1), (1.0, 0), (0.0, None)])
def test_a_part_stands_at_its_place(pan, silent):
    left, right = (float(side.abs().max()) for side in music.render(make_solo(pan), band=SineBand()).samples)
    assert (left, right)[silent] < 1e-6 if silent is not None else left == right


def test_blocks_of_any_length_make_the_same_samples():
    whole = music.render(make_piece(), band=SineBand(block=100_000)).samples
    assert float((whole - music.render(make_piece(), band=SineBand(block=77)).samples).abs().max()) < 1e-5


def test_the_level_does_not_depend_on_the_band_and_gain_changes_it():
    quiet, loud = (music.render(make_solo(), band=SineBand(loudness=level)).samples for level in (0.05, 3.0))
    assert float((quiet - loud).abs().max()) < 1e-5
    softer = music.render(make_solo(), band=SineBand(), gain=-20.0).samples
    assert float((10 * softer - quiet).abs().max()) < 1e-5


def test_no_gain_clips_and_the_wave_keeps_its_shape():
    made = music.render(make_solo(), band=SineBand(), gain=30.0).samples.numpy()
    assert 0.95 < np.abs(made).max() < 1
    assert len(np.unique(made[np.abs(made) > 0.95])) > 100  # bent, not cut off


def test_one_gain_holds_from_the_first_sample_to_the_last():
    """A soft note sounds the same level whether a loud one follows it or went before: nothing is pumped."""
    soft, loud = (0.0, 0.2, 69, 40), (0.5, 0.2, 69, 127)
    both = music.render(Piece((Track((Note(*soft), Note(*loud)), 73),)), band=SineBand()).samples.numpy()
    ratio = np.abs(both[0, : int(0.25 * 44_100)]).max() / np.abs(both).max()
    assert ratio == pytest.approx((40 / 127) ** 2, rel=0.02)


# Files


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_files_are_stereo(suffix, tmp_path):
    made = music.render(make_piece(), tmp_path / f"x.{suffix}", band=SineBand())
    info = soundfile.info(tmp_path / f"x.{suffix}")
    assert (info.channels, info.samplerate, made.samples) == (2, 44_100, None)
    assert made.paths == (tmp_path / f"x.{suffix}",)
    with pytest.raises(InputError, match="the samples were not kept"):
        made.save(tmp_path / "y.wav")


def test_a_file_holds_the_samples(tmp_path):
    music.render(make_piece(), tmp_path / "x.wav", band=SineBand())
    music.render(make_piece(), band=SineBand()).save(tmp_path / "y.wav")
    assert (tmp_path / "x.wav").read_bytes() == (tmp_path / "y.wav").read_bytes()


def test_stems_are_files_that_together_are_the_mix(tmp_path):
    made = music.render(make_piece(), tmp_path / "x.wav", band=SineBand(), stems=tmp_path / "stems")
    names = ["01-soprano.wav", "02-alto.wav", "03-tenor.wav", "04-bass.wav"]
    assert made.paths[1:] == tuple(tmp_path / "stems" / name for name in names)
    together = sum(soundfile.read(path)[0] for path in made.paths[1:])
    assert np.abs(together - soundfile.read(tmp_path / "x.wav")[0]).max() < 3 / 32768
    left, right = (np.abs(soundfile.read(made.paths[1])[0]).max(axis=0)).tolist()
    assert left > 1.5 * right  # the soprano stands on the left


def test_stems_are_named_by_what_every_system_takes():
    names = ["Flöte 1", "../../etc", "", "a/b:c"]
    assert mixing.named_stems(names, ".wav") == ["01-Flöte-1.wav", "02-etc.wav", "03-part.wav", "04-a-b-c.wav"]


def test_memory_does_not_grow_with_the_piece(tmp_path):
    class Silence(SineBand):
        def stream(self, parts, seed, temperature):
            tone = np.full((len(parts), 16_000), 0.1, dtype=np.float32)
            return (tone for _ in range(int(parts[0].notes[-1].end)))

    peaks = []
    for seconds in (10, 40):
        notes = (Note(0, 1, 60), Note(seconds - 1, 1, 60))
        tracemalloc.start()
        music.render(Piece((Track(notes, 73),)), tmp_path / "x.wav", band=Silence())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] + 1_000_000


# As it is made


def test_a_stream_gives_blocks_while_the_band_plays():
    band, made = SineBand(block=1600), []

    class Watched(SineBand):
        def stream(self, *arguments):
            for block in band.stream(*arguments):
                made.append(block.shape[1])
                yield block

    blocks = music.stream(make_piece(2.0), band=Watched())
    assert len(next(blocks)) > 0 and sum(made) < 16_000
    whole = np.concatenate([*blocks])
    assert whole.shape[1] == 2 and np.abs(whole).max() < 1


@pytest.mark.parametrize("loudness", [0.05, 0.3, 4.0])
def test_the_level_of_a_stream_is_estimated_from_the_notes_and_never_clips(loudness):
    whole = np.concatenate(list(music.stream(make_piece(), band=SineBand(loudness=loudness))))
    assert np.abs(whole).max() < 1
    cast = assign(make_piece(), tuple(OVERTONES))
    single = assign(make_solo(velocity=127), tuple(OVERTONES))
    assert mixing.expected_peak(single) == pytest.approx(mixing.LOUDEST_NOTE * 0.5**0.5)
    assert mixing.LOUDEST_NOTE * 0.5 < mixing.expected_peak(cast) < 4 * mixing.LOUDEST_NOTE


# What goes wrong


class Stopped(SineBand):
    """Stops after some blocks."""

    def __init__(self, blocks, error):
        super().__init__()
        self._count, self._error = blocks, error

    def stream(self, *arguments):
        for index, block in enumerate(super().stream(*arguments)):
            if index == self._count:
                raise self._error
            yield block


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("hoarse")])
def test_what_was_played_before_an_interruption_is_saved(error, tmp_path):
    with pytest.raises(type(error)):
        music.render(make_piece(), tmp_path / "x.wav", band=Stopped(2, error))
    assert soundfile.info(tmp_path / "x.wav").frames == pytest.approx(0.2 * 44_100, abs=2)
    with pytest.raises(type(error)):
        music.render(make_piece(), tmp_path / "y.wav", band=Stopped(0, error))
    assert not (tmp_path / "y.wav").exists()


@pytest.mark.parametrize(
    ("block", "words"),
    [(None, "the band played nothing"), (np.full((4, 9), np.nan, np.float32), "NaN or infinity after 0 samples")],
)
def test_a_band_that_plays_no_sound_leaves_no_file(block, words, tmp_path):
    class Broken(SineBand):
        def stream(self, *_):
            return iter([] if block is None else [block])

    with pytest.raises(AudioError, match=words):
        music.render(make_piece(), tmp_path / "x.wav", band=Broken())
    assert list(tmp_path.iterdir()) == []


def test_a_full_temporary_folder_is_named(tmp_path, monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def tell(self):
            return 0

        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(mixing.tempfile, "TemporaryFile", Full)
    with pytest.raises(AudioError, match=r"the temporary folder .* takes no more: No space left"):
        music.render(make_piece(), tmp_path / "x.wav", band=SineBand())


@pytest.mark.parametrize(
    ("out", "options", "words"),
    [
        ("x.xyz", {}, "suffix"),
        ("nowhere/x.wav", {}, "there is no folder"),
        ("x.wav", {"stems": "file"}, "stems file cannot be made"),
        ("x.wav", {"instrument": "flut"}, "no instrument 'flut'"),
        ("x.wav", {"tempo": 0}, "tempo must be"),
    ],
)
def test_mistakes_are_found_before_the_work(out, options, words, tmp_path, monkeypatch):
    class Untouched(SineBand):
        def stream(self, *_):
            pytest.fail("found after the work")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises((InputError, AudioError), match=words):
        music.render(make_piece(), out, band=Untouched(), **options)
