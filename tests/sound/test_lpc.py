"""Linear prediction from mel frames: right predictors, an exact way there and back, the same bits for every split."""

import tracemalloc

import numpy as np
import pytest
import torch

from fastwave.codec import MuLaw
from fastwave.errors import ConfigError, InputError
from fastwave.sound import lpc
from fastwave.sound.mel import MelSettings, mel

MEL = MelSettings(sample_rate=16_000, hop=200, bands=40, window=800)


def speech_like(samples=8_000, seed=0):
    """Pulses and noise through two resonances."""
    random = np.random.default_rng(seed)
    source = 0.02 * random.normal(size=samples)
    source[::120] += 1.0
    wave = np.zeros(samples + 4)
    first, second = 2 * 0.97 * np.cos(0.2), 2 * 0.95 * np.cos(0.9)
    a = -np.convolve([1, -first, 0.97**2], [1, -second, 0.95**2])[1:]
    for time in range(samples):
        wave[time + 4] = source[time] + a @ wave[time : time + 4][::-1]
    wave = wave[4:]
    return 0.5 * wave / np.abs(wave).max()


def predictors_of(wave, **settings):
    frames = mel(torch.from_numpy(wave.astype(np.float32)), MEL).numpy()
    return lpc.predictors(frames, MEL, lpc.LpcSettings(**settings))


def synthesis_by_definition(excitation, predictors):
    """The formula, sample after sample."""
    order = predictors.coefficients.shape[1]
    wave = np.zeros(order + len(excitation))
    for time, value in enumerate(excitation):
        stretch = time // predictors.stretch
        past = wave[time : time + order][::-1]
        wave[order + time] = predictors.gain[stretch] * value + predictors.coefficients[stretch] @ past
    return wave[order:]


def test_levinson_solves_the_normal_equations():
    random = np.random.default_rng(0)
    power = random.random((50, 33)) ** 4 + 1e-3  # any power spectrum has a valid autocorrelation
    correlation = np.fft.irfft(power)[:, :21]
    coefficients, error = lpc.levinson(correlation)
    for row, a, e in zip(correlation, coefficients, error, strict=True):
        matrix = row[np.abs(np.arange(20)[:, None] - np.arange(20))]
        solved = np.linalg.solve(matrix, row[1:])
        tolerance = 1e3 * np.finfo(float).eps * np.linalg.cond(matrix)
        assert np.abs(a - solved).max() <= tolerance * np.abs(solved).max()
        assert e == pytest.approx(row[0] - solved @ row[1:], rel=tolerance)


def test_every_filter_is_stable():
    frames = np.random.default_rng(1).uniform(-1, 1.2, (100, 40))
    predictors = lpc.predictors(frames, MEL)
    for a in predictors.coefficients:
        assert np.abs(np.roots([1, *-a])).max() < 1
    assert (predictors.gain > 0).all()


def test_prediction_takes_away_most_of_a_resonant_sound():
    wave = speech_like()
    predictors = predictors_of(wave)
    excitation = lpc.residual(wave, predictors)
    left = excitation * np.repeat(predictors.gain, predictors.stretch)[: len(wave)]
    assert np.mean(left**2) < 0.05 * np.mean(wave**2)
    assert 0.5 < np.sqrt(np.mean(excitation**2)) < 2  # the gain is about right


def test_residual_and_synthesis_are_inverses():
    wave = speech_like()
    predictors = predictors_of(wave)
    back = lpc.Synthesis(predictors)(lpc.residual(wave, predictors))
    # the last rounding is that to float32; those in float64 grow with the response of the filter, by far less
    assert np.abs(back - wave).max() <= np.finfo(np.float32).eps * np.abs(wave).max()


@pytest.mark.parametrize("stretch", [8, 50, 200])  # shorter and longer than the order
def test_synthesis_is_the_formula(stretch):
    random = np.random.default_rng(2)
    predictors = predictors_of(speech_like(2_000), stretch=stretch)
    excitation = random.normal(size=2_000)
    expected = synthesis_by_definition(excitation, predictors)
    assert np.abs(lpc.Synthesis(predictors)(excitation) - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("seed", range(5))
def test_any_split_of_the_synthesis_gives_the_same_bits(seed):
    random = np.random.default_rng(seed)
    predictors = predictors_of(speech_like(3_000))
    excitation = random.normal(size=2_900).astype(np.float32)
    whole = lpc.Synthesis(predictors)(excitation)
    split, parts, first = lpc.Synthesis(predictors), [], 0
    while first < len(excitation):
        count = int(random.integers(0, 130))
        parts.append(split(excitation[first : first + count]))
        first += count
    assert np.array_equal(np.concatenate(parts), whole)


def test_coding_noise_is_shaped_like_the_sound():
    wave = speech_like(16_000)
    predictors = predictors_of(wave)
    codec = MuLaw(256)
    coded = codec.decode(codec.encode(lpc.residual(wave, predictors) / 12)).numpy() * 12
    noise = lpc.Synthesis(predictors)(coded) - wave
    assert np.mean(noise**2) < 1e-3 * np.mean(wave**2)
    white = np.random.default_rng(0).normal(size=len(wave)) * np.std(noise)
    spectra = [mel(torch.from_numpy(part.astype(np.float32)), MEL).numpy().mean(0) for part in (wave, noise, white)]
    likeness = np.corrcoef(spectra)
    assert likeness[0, 1] > 0.9 and likeness[0, 2] < 0.5


def test_the_last_frame_stands_for_what_comes_after_it():
    predictors = lpc.predictors(np.zeros((3, 40)), MEL)
    assert predictors.samples == 600
    assert np.allclose(predictors.gain, predictors.gain[0], rtol=1e-12)


def test_frames_are_interpolated_to_the_middle_of_each_stretch():
    frames = np.repeat([[0.0], [-0.2], [-0.4]], 40, axis=1)  # 10 dB quieter from frame to frame
    decibels = 20 * np.log10(lpc.predictors(frames, MEL).gain)
    assert np.allclose(decibels[0] - decibels[:8], 2.5 * np.arange(8), atol=1e-9)
    first = 20 * np.log10(lpc.predictors(frames[:1], MEL).gain[0])
    assert first - decibels[0] == pytest.approx(1.25)


def test_more_samples_than_the_predictors_serve_are_refused():
    predictors = lpc.predictors(np.zeros((3, 40)), MEL)
    with pytest.raises(InputError, match="600 samples, the wave has 601"):
        lpc.residual(np.zeros(601), predictors)
    synthesis = lpc.Synthesis(predictors)
    synthesis(np.zeros(400))
    with pytest.raises(InputError, match="600 samples, 601 are needed"):
        synthesis(np.zeros(201))


@pytest.mark.parametrize(
    "values", [{"order": 0}, {"order": 2.5}, {"stretch": True}, {"floor": 0.5}, {"lag_hertz": float("nan")}, {"o": 1}]
)
def test_settings_without_meaning_are_refused(values):
    with pytest.raises(ConfigError):
        lpc.LpcSettings.from_dict(values)


def test_settings_go_through_a_dictionary():
    settings = lpc.LpcSettings(order=16, floor=1.001)
    assert lpc.LpcSettings.from_dict(settings.to_dict()) == settings


def test_a_hop_that_stretches_do_not_divide_is_refused():
    with pytest.raises(ConfigError, match="no multiple"):
        lpc.predictors(np.zeros((3, 40)), MEL, lpc.LpcSettings(stretch=60))


def test_frames_of_another_width_are_refused():
    with pytest.raises(InputError, match=r"\[frames, 40\]"):
        lpc.predictors(np.zeros((3, 42)), MEL)


def test_predictors_of_a_long_sentence_take_little_memory():
    """Power spectra are made a few at a time: those of 25 s of speech would take 80 MB at once, the predictors 3 MB."""
    frames = np.random.default_rng(0).uniform(-1, 0.4, (2_000, 40))
    lpc.predictors(frames[:10], MEL)
    tracemalloc.start()
    try:
        found = lpc.predictors(frames, MEL)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20e6
    alone = lpc.predictors(frames[1_500:], MEL)  # the last frames do not depend on where a block of spectra begins
    assert np.allclose(found.coefficients[-2_000:], alone.coefficients, rtol=0, atol=1e-9)
