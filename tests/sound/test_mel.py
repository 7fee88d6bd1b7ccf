"""Mel spectrograms: against a DFT written out, against librosa, in any chunks, and what is refused."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from fastwave.errors import ConfigError, InputError
from fastwave.sound import mel as module
from fastwave.sound.mel import GROUP, MelSettings, mel, mel_blocks

SPEECH = MelSettings(16_000)
ODD = MelSettings(11_025, hop=77, bands=23, window=500, low=60.0, high=5_000.0, floor=1e-4)
SMALL = MelSettings(8_000, hop=5, bands=6, window=64)  # a window of many hops, more than one for every sixth of a group
SETTINGS = pytest.mark.parametrize("settings", [SPEECH, ODD, SMALL], ids=["speech", "odd", "small"])


def sound(samples, seed=0):
    """Noise and a tone that swell, float32."""
    generator = np.random.default_rng(seed)
    time = np.arange(samples)
    wave = (0.2 * generator.standard_normal(samples) + 0.5 * np.sin(0.3 * time)) * (0.02 + np.sin(time / 900) ** 2)
    return wave.astype(np.float32)


# The second witness: the definitions, in loops, float64


def witness_hertz(mels):
    return mels * 200 / 3 if mels < 15 else 1000 * math.exp((mels - 15) * math.log(6.4) / 27)


def witness_mels(hertz):
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def witness_edges(settings):
    low, high = witness_mels(settings.low), witness_mels(settings.high or settings.sample_rate / 2)
    return [witness_hertz(low + (high - low) * i / (settings.bands + 1)) for i in range(settings.bands + 2)]


def witness_bank(settings):
    """[bins, bands]."""
    edges, bank = witness_edges(settings), np.zeros((settings.window // 2 + 1, settings.bands))
    for k in range(len(bank)):
        hertz = k * settings.sample_rate / settings.window
        for b, (lower, middle, upper) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
            if lower < hertz < upper:
                height = (hertz - lower) / (middle - lower) if hertz <= middle else (upper - hertz) / (upper - middle)
                bank[k, b] = height / ((upper - lower) / 2)  # the triangle of height 1 has the area (upper-lower)/2
    return bank


def witness_frame(wave, i, settings):
    """(frame i by definition, how far a right answer in float32 may be from it), both [bands] float64."""
    length, bank = settings.window, witness_bank(settings)
    heard = np.zeros(length)
    for n in range(length):
        at = i * settings.hop - length // 2 + n
        if 0 <= at < len(wave):
            heard[n] = float(wave[at]) * (1 - math.cos(2 * math.pi * n / length)) / 2
    angles = 2 * math.pi / length * (np.outer(np.arange(len(bank)), np.arange(length)) % length)
    value = np.hypot(np.cos(angles) @ heard, np.sin(angles) @ heard) @ bank
    clipped = np.maximum(value, settings.floor)
    scale = 2 / -math.log(settings.floor)
    frame = 1 + scale * np.log(clipped)
    # Half a unit of float32 for the value returned, and for each float64 sum of `length` terms, ours and this one,
    # at most length * 2^-53 of the sum of the terms' sizes, which the logarithm divides by the value.
    sums = 2 * length * 2.0**-53 * np.abs(heard).sum() * bank.sum(axis=0)
    return frame, np.maximum(np.abs(frame), 1) * 2.0**-24 + scale * sums / clipped


def assert_keeps_to_the_definition(frames, wave, settings):
    """A dozen frames: both edges, the change of groups, and some between."""
    assert frames.dtype == torch.float32 and list(frames.shape) == [-(-len(wave) // settings.hop), settings.bands]
    last = len(frames) - 1
    for i in sorted({0, 1, 2, 7, 30, GROUP - 1, GROUP, GROUP + 1, last // 2, last - 2, last - 1, last}):
        if 0 <= i <= last:
            expected, limit = witness_frame(wave, i, settings)
            distance = np.abs(frames[i].double().numpy() - expected)
            worst = int(np.argmax(distance / limit))
            assert (distance <= limit).all(), f"frame {i}, band {worst}: {distance[worst]:.3g} over {limit[worst]:.3g}"


@SETTINGS
def test_frames_are_those_of_the_definition_centred_on_sample_i_times_hop(settings):
    wave = sound(settings.hop * (GROUP + 9) + 3)
    assert_keeps_to_the_definition(mel(torch.from_numpy(wave), settings), wave, settings)


def htk_hertz(mels):
    return 700 * (10 ** (mels / 2595) - 1)


def htk_mels(hertz):
    return 2595 * math.log10(1 + hertz / 700)


def unnormalised_bank(settings):
    return witness_bank(settings) * (np.diff(witness_edges(settings), n=1)[:-1])


FAULTS = {
    "HTK's mels": {"_mels": htk_mels, "_hertz": htk_hertz},
    "no area normalisation": {"_filter_bank": unnormalised_bank},
    "a symmetric window": {"_hann": np.hanning},
    "no window": {"_hann": np.ones},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_sees_a_wrong_formula(fault, monkeypatch):
    wave = sound(3_000)
    for name, wrong in FAULTS[fault].items():
        monkeypatch.setattr(module, name, wrong)
    with pytest.raises(AssertionError, match="frame 0"):
        assert_keeps_to_the_definition(mel(torch.from_numpy(wave), SPEECH), wave, SPEECH)


@pytest.mark.parametrize("hop", [255, 257])
def test_the_comparison_sees_a_hop_that_is_off_by_one(hop):
    wave = sound(3_000)  # 12 frames at each of the three hops
    wrong = dataclasses.replace(SPEECH, hop=hop)
    with pytest.raises(AssertionError, match="frame 1,"):
        assert_keeps_to_the_definition(mel(torch.from_numpy(wave), wrong), wave, SPEECH)


def test_the_comparison_sees_frames_that_are_one_sample_late():
    wave = sound(3_000)
    with pytest.raises(AssertionError, match="frame 0"):
        assert_keeps_to_the_definition(mel(torch.from_numpy(np.append(wave[1:], wave[:1])), SPEECH), wave, SPEECH)


@SETTINGS
def test_values_are_those_of_librosa(settings):
    librosa = pytest.importorskip(
        "librosa", reason="librosa is not installed: the definition above is the only witness"
    )
    wave = sound(settings.hop * 200 + 1)
    theirs = librosa.feature.melspectrogram(
        y=wave.astype(np.float64), sr=settings.sample_rate, n_fft=settings.window, hop_length=settings.hop,
        window="hann", center=True, pad_mode="constant", power=1.0, n_mels=settings.bands, fmin=settings.low,
        fmax=settings.highest, htk=False, norm="slaney", dtype=np.float64,
    ).T  # fmt: skip
    ours = mel(torch.from_numpy(wave), settings).double().numpy()
    clipped = np.maximum(theirs[: len(ours)], settings.floor)
    expected = 1 - 2 * np.log(clipped) / math.log(settings.floor)
    # the bound of witness_frame, for the loudest window there can be
    sums = (
        2 * settings.window * 2.0**-53 * settings.window / 2 * np.abs(wave).max() * witness_bank(settings).sum(axis=0)
    )
    limit = np.maximum(np.abs(expected), 1) * 2.0**-24 + 2 / -math.log(settings.floor) * sums / clipped
    assert limit.max() < 1e-6, "a bound as wide as this proves little"
    assert (np.abs(ours - expected) <= limit).all(), np.abs(ours - expected).max()


@pytest.mark.parametrize("band", [0, 1, 17, 40, 63, 79])
def test_a_pure_tone_lands_in_its_band(band):
    hertz = witness_edges(SPEECH)[band + 1]
    wave = torch.sin(2 * math.pi * hertz / SPEECH.sample_rate * torch.arange(8_000, dtype=torch.float64))
    frames = mel(wave, SPEECH)[4:-4]
    assert (frames.argmax(dim=1) == band).all()
    assert (frames[:, [b for b in range(80) if abs(b - band) > 6]] < frames[:, band, None] - 0.5).all()


def test_an_impulse_is_loudest_in_the_frame_it_is_the_centre_of():
    wave = torch.zeros(20 * 256)
    wave[7 * 256] = 1
    frames = mel(wave, SPEECH)
    assert (frames.argmax(dim=0) == 7).all()
    torch.testing.assert_close(frames[6], frames[8], rtol=0, atol=2**-23)  # as far on either side
    assert (frames[[5, 9]] == -1).all()  # a window of 4 hops is zero 2 hops away


@pytest.mark.parametrize("floor", [1e-5, 1e-12, 0.3])
def test_silence_is_exactly_minus_one(floor):
    settings = dataclasses.replace(SPEECH, floor=floor)
    assert (mel(torch.zeros(20_000), settings) == -1).all()
    assert (mel(torch.full((20_000,), 1e-30), settings) == -1).all()


@SETTINGS
@pytest.mark.parametrize("samples", [0, 1, 2, 76, 77, 78, 256, 257, 5 * GROUP, 5 * GROUP + 1])
def test_a_wave_of_any_length_has_a_frame_for_every_hop_begun(settings, samples):
    frames = mel(torch.from_numpy(sound(samples)), settings)
    assert frames.shape == (math.ceil(samples / settings.hop), settings.bands) and frames.dtype == torch.float32
    assert settings.frames(samples) == len(frames)
    assert torch.isfinite(frames).all()


def chunked(wave, sizes):
    first = 0
    while first < len(wave):
        size = int(next(sizes))
        yield wave[first : first + size]
        first += size


@SETTINGS
def test_any_chunking_gives_the_same_bits(settings):
    wave = sound(settings.hop * (2 * GROUP + 11) + 1)
    whole = mel(torch.from_numpy(wave), settings)
    generator = np.random.default_rng(1)
    chunkings = {
        "of 997": iter(lambda: 997, None),
        "of a group": iter(lambda: GROUP * settings.hop, None),
        "from 0 to 3 hops": iter(lambda: generator.integers(0, 3 * settings.hop), None),
    }
    for name, sizes in chunkings.items():
        parts = list(mel_blocks(chunked(wave, sizes), settings))
        assert torch.equal(torch.cat(parts), whole), f"chunks {name}"
        assert all(0 < len(part) <= GROUP for part in parts)


def test_single_samples_give_the_same_bits():
    wave = sound(SMALL.hop * (GROUP + 5))
    parts = list(mel_blocks((wave[i : i + 1] for i in range(len(wave))), SMALL))
    assert torch.equal(torch.cat(parts), mel(torch.from_numpy(wave), SMALL))


@SETTINGS
def test_a_frame_does_not_depend_on_what_it_does_not_hear(settings):
    wave = sound(settings.hop * (GROUP + 40))
    cut = settings.hop * (GROUP + 20)
    heard_whole = (cut - settings.window // 2) // settings.hop
    whole, begun = mel(torch.from_numpy(wave), settings), mel(torch.from_numpy(wave[:cut]), settings)
    assert torch.equal(whole[:heard_whole], begun[:heard_whole])
    assert not torch.equal(whole[: len(begun)], begun)


def test_frames_come_while_the_wave_is_still_being_read_and_the_chunk_may_be_reused():
    wave, read, emitted = sound(256 * GROUP * 6), 0, 0
    shared = np.empty(1_000, dtype=np.float32)

    def reader():
        nonlocal read
        for first in range(0, len(wave), len(shared)):
            part = wave[first : first + len(shared)]
            shared[: len(part)] = part
            read += len(part)
            yield shared[: len(part)]

    parts = []
    for part in mel_blocks(reader(), SPEECH):
        emitted += len(part)
        parts.append(part)
        # what is read and not in a frame yet: half a window behind a group, and one chunk
        assert read - emitted * SPEECH.hop <= SPEECH.window // 2 + len(shared)
    assert torch.equal(torch.cat(parts), mel(torch.from_numpy(wave), SPEECH))


def test_the_dtype_and_layout_of_a_wave_do_not_matter():
    wave = torch.from_numpy(sound(4_000)).bfloat16()
    expected = mel(wave.float(), SPEECH)
    for same in (wave, wave.double(), wave.float().repeat_interleave(2)[::2], wave.float().requires_grad_()):
        assert torch.equal(mel(same, SPEECH), expected)
    read_only = wave.float().numpy()
    read_only.flags.writeable = False
    assert torch.equal(torch.cat(list(mel_blocks([read_only], SPEECH))), expected)


def test_the_loudest_float32_wave_has_finite_frames():
    assert torch.isfinite(mel(torch.full((2_000,), torch.finfo(torch.float32).max), SPEECH)).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_samples_that_are_not_finite_are_refused_by_position(bad):
    wave = sound(3_000)
    wave[2_345] = bad
    with pytest.raises(InputError, match=r"sample 2345 of the wave is (nan|inf|-inf)"):
        mel(torch.from_numpy(wave), SPEECH)
    with pytest.raises(InputError, match="sample 2345 "):
        list(mel_blocks(chunked(wave, iter(lambda: 100, None)), SPEECH))


@pytest.mark.parametrize("wave", [torch.zeros(2, 5), torch.zeros(5, dtype=torch.int16), np.zeros(5, np.float32), [0.0]])
def test_what_is_not_a_wave_is_refused(wave):
    with pytest.raises(InputError, match="a wave must be a float tensor"):
        mel(wave, SPEECH)


@pytest.mark.parametrize("chunk", [np.zeros((5, 1), np.float32), np.zeros(5), torch.zeros(5), [0.0]])
def test_what_is_not_a_chunk_is_refused(chunk):
    with pytest.raises(InputError, match="a chunk of a wave must be a float32 array"):
        list(mel_blocks([chunk], SPEECH))


@SETTINGS
def test_settings_survive_json(settings):
    assert MelSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_whole_numbers_serve_as_frequencies():
    settings = MelSettings(16_000, low=0, high=8_000)
    assert isinstance(settings.low, float) and isinstance(settings.high, float)
    assert torch.equal(mel(torch.from_numpy(sound(900)), settings), mel(torch.from_numpy(sound(900)), SPEECH))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sample_rate": 0}, "sample_rate must be"),
        ({"sample_rate": 16_000.0}, "sample_rate must be"),
        ({"hop": 0}, "hop must be"),
        ({"hop": True}, "hop must be"),
        ({"hop": 1025}, r"hop must be a whole number 1\.\.1024"),
        ({"bands": 0}, "bands must be"),
        ({"window": 1023}, "window must be even"),
        ({"window": 2**20}, "window must be"),
        ({"low": -1.0}, "low and high must"),
        ({"low": 8_000.0}, "low and high must"),
        ({"high": 8_001}, "low and high must"),
        ({"low": 500, "high": 400}, "low and high must"),
        ({"high": math.nan}, "high must be a finite number"),
        ({"low": 10**400}, "low must be a finite number"),
        ({"low": "0"}, "low must be a finite number"),
        ({"floor": None}, "floor must be a finite number"),
        ({"floor": 0}, "floor must be"),
        ({"floor": 1.0}, "floor must be"),
        ({"bands": 400}, "400 bands .* too narrow .* would hear nothing"),
        ({"bins": 3, "fmin": 1}, "unknown mel setting 'bins', 'fmin'"),
    ],
)
def test_settings_that_make_no_spectrogram_are_refused(values, said):
    with pytest.raises(ConfigError, match=said):
        MelSettings.from_dict({"sample_rate": 16_000, **values})


def test_settings_need_a_sample_rate_and_an_object():
    with pytest.raises(ConfigError, match="need sample_rate"):
        MelSettings.from_dict({"hop": 256})
    with pytest.raises(ConfigError, match="JSON object"):
        MelSettings.from_dict([1])


@pytest.mark.parametrize("bands", [300, 370, 380, 384, 385, 386, 387, 390, 400, 500])
def test_bands_are_refused_just_where_one_would_hear_nothing(bands):
    """Around the limit at 16 kHz and a window of 1024."""
    try:
        settings = MelSettings(16_000, bands=bands)
    except ConfigError:
        settings = dataclasses.replace(SPEECH)
        object.__setattr__(settings, "bands", bands)
        assert (witness_bank(settings).sum(axis=0) == 0).any()
    else:
        assert (witness_bank(settings).sum(axis=0) > 0).all()
