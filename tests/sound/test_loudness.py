"""Loudness by ITU-R BS.1770: the standard's own filters and tones, and a witness that is written from its pages."""

import math
import tracemalloc

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch

from fastwave import ConfigError
from fastwave.sound import audio, loudness
from fastwave.sound.loudness import HIGHEST_PEAK, MOST_GAIN, QUIETEST, TARGET_LUFS, Level, Meter, measure

# BS.1770-4, tables 1 and 2: the K-weighting at 48 kHz
SHELF = (
    [1.53512485958697, -2.69169618940638, 1.19839281085285],
    [1.0, -1.69065929318241, 0.73248077421585],
)
HIGH_PASS = ([1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621])
ONE_CHANNEL = 10 * math.log10(2)  # the reference tones of EBU Tech 3341 are stereo: one channel counts 3.01 LU less


def tone(decibels, seconds, rate, frequency=1000):
    """A sine whose peak stands so many dB below full scale, float32."""
    return (10 ** (decibels / 20) * np.sin(2 * math.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def noise(length, level=0.1, seed=0):
    return (level * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)


def loudness_of_the_page(wave, rate, sections):
    """The standard in plain steps: filter, blocks of 0.4 s every 0.1 s, an absolute and a relative gate."""
    for numerator, denominator in sections:
        wave = scipy.signal.lfilter(numerator, denominator, wave)
    step = round(rate / 10)
    powers = [np.mean(wave[at : at + 4 * step] ** 2) for at in range(0, len(wave) - 4 * step + 1, step)]

    def lufs(power):
        return -0.691 + 10 * math.log10(power)

    audible = [power for power in powers if power > 0 and lufs(power) > -70]
    threshold = lufs(np.mean(audible)) - 10
    return lufs(np.mean([power for power in audible if lufs(power) > threshold]))


def test_the_weighting_at_48_khz_is_the_one_that_the_standard_prints():
    for (numerator, denominator), (b, a) in zip(loudness.weighting(48_000), (SHELF, HIGH_PASS), strict=True):
        assert numerator == pytest.approx(b, abs=1e-13) and denominator == pytest.approx(a, abs=1e-13)


@pytest.mark.parametrize("rate", [48_000, 44_100, 16_000, 8_000])
def test_loudness_is_that_of_the_standard_written_out(rate):
    speech_like = noise(4 * rate) * np.repeat([1.0, 0.02, 0.5, 0.001], rate).astype(np.float32)
    sections = (SHELF, HIGH_PASS) if rate == 48_000 else loudness.weighting(rate)
    level = measure([speech_like], rate)
    assert level.loudness == pytest.approx(loudness_of_the_page(speech_like, rate, sections), abs=1e-6)
    assert level.peak == np.abs(speech_like).max()


@pytest.mark.parametrize(("rate", "tolerance"), [(48_000, 0.005), (16_000, 0.05)])  # a low rate bends the shelf
def test_a_full_scale_sine_of_997_hz_is_at_minus_3_01_lufs(rate, tolerance):
    assert measure([tone(0, 2, rate, 997)], rate).loudness == pytest.approx(-3.01, abs=tolerance)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(-23, 20)], -23),
        ([(-33, 20)], -33),
        ([(-36, 10), (-23, 60), (-36, 10)], -23),  # the relative gate
        ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23),  # and the absolute one
        ([(-26, 20), (-20, 20.1), (-26, 20)], -23),
    ],
)
def test_the_tones_of_ebu_tech_3341_have_the_stated_loudness(parts, expected):
    """Its cases 1 to 5 and its tolerance, 0.1 LU; one channel of them."""
    rate = 8_000
    waves = [tone(decibels, seconds, rate) for decibels, seconds in parts]
    assert measure(waves, rate).loudness == pytest.approx(expected - ONE_CHANNEL, abs=0.1)


def test_blocks_of_any_size_give_the_same_level():
    wave = noise(40_000)
    whole = measure([wave], 16_000)
    for sizes in ([1, 7, 900] * 3, [1600] * 20, [0, 39_999]):
        level = measure(np.split(wave, np.cumsum(sizes)), 16_000)
        assert level.loudness == pytest.approx(whole.loudness, abs=1e-9) and level.peak == whole.peak


def test_a_recording_shorter_than_a_block_is_one_block():
    rate = 16_000
    short, long = tone(-20, 0.3, rate), tone(-20, 3, rate)
    assert measure([short], rate).loudness == pytest.approx(measure([long], rate).loudness, abs=0.2)
    assert measure([short[:1]], rate).loudness == QUIETEST  # a sine begins at 0


def test_nothing_and_next_to_nothing_count_as_the_absolute_gate():
    assert measure([], 16_000) == Level(0.0, QUIETEST)
    assert measure([noise(16_000, 1e-5)], 16_000).loudness == QUIETEST


@pytest.mark.parametrize("rate", [1, 8, 60, 3000, 768_000])
def test_any_sample_rate_is_measured(rate):
    level = measure([noise(max(20, rate))], rate)
    assert -60 < level.loudness < 0


def test_memory_does_not_grow_with_the_recording():
    meter, second = Meter(8_000), noise(8_000)
    meter.add(second)
    tracemalloc.start()
    for _ in range(300):
        meter.add(second)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 250_000  # bytes, most of them the buffers of one block, for 9.6 MB of sound


# The gain


def test_the_gain_brings_a_recording_to_the_target():
    assert Level(0.1, -33.0).gain_db("loudness") == 10.0
    assert Level(0.5, -18.0).gain_db("loudness") == -5.0
    assert Level(0.1, -33.0).gain_db("off") == 0.0


def test_no_gain_lifts_a_peak_above_the_highest():
    for peak in (0.01, 0.2, 0.9, 1.0, 2.5):
        for normalize in ("peak", "loudness"):
            gain = Level(peak, -50.0).gain_db(normalize)
            reached = peak * 10 ** (gain / 20)
            assert reached <= 10 ** (HIGHEST_PEAK / 20)
            assert reached > 10 ** (HIGHEST_PEAK / 20) * 0.998 or gain == pytest.approx(TARGET_LUFS + 50)


def test_the_gain_is_bounded():
    assert Level(1.1e-3, QUIETEST).gain_db("loudness") == MOST_GAIN
    assert Level(1.1e-3, QUIETEST).gain_db("peak") == MOST_GAIN
    assert Level(0.0, QUIETEST).gain_db("loudness") == 0.0


@pytest.mark.parametrize("name", ["", "loud", None, 3, ["peak"]])
def test_another_way_to_normalise_is_refused(name):
    with pytest.raises(ConfigError, match="one of off, peak, loudness"):
        loudness.check(name)


# Files


def test_a_file_is_read_at_the_common_level_in_blocks_and_whole(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([noise(90_000), noise(90_000, seed=1)], axis=1) / 9, 22_050)
    waves = np.concatenate(list(loudness.blocks(tmp_path / "a.wav", 16_000, "loudness")))
    whole = loudness.load(tmp_path / "a.wav", 16_000, "loudness")
    assert measure([waves], 16_000).loudness == pytest.approx(TARGET_LUFS, abs=0.02)
    assert torch.allclose(whole, torch.from_numpy(waves), rtol=1e-6, atol=0)
    original = audio.load(tmp_path / "a.wav", 16_000)[0]
    assert torch.equal(loudness.load(tmp_path / "a.wav", 16_000), original)
    assert np.array_equal(np.concatenate(list(loudness.blocks(tmp_path / "a.wav", 16_000))), original.numpy())
    peak = loudness.load(tmp_path / "a.wav", 16_000, "peak").abs().max()
    assert float(peak) == pytest.approx(10 ** (HIGHEST_PEAK / 20), rel=2e-3)
