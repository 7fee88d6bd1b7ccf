"""Harmonics of a note: followed, taken away, and put together again."""

import numpy as np
import pytest

from fastwave.music import analysis, harmonics
from fastwave.music.analysis import FRAMES, LEAD
from fastwave.music.attacks import Attack
from fastwave.music.notes import hertz
from fastwave.sound import pitch

RATE = FRAMES.sample_rate
AT_ONSET = Attack(LEAD, 32)


def note(f0, strengths, seconds=0.6, noise=0.0, phase=1.0):
    """A tone that begins at LEAD, with noise under it."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = sum(a * np.sin(2 * np.pi * n * f0 * time + phase * n * n) for n, a in enumerate(strengths, 1))
    wave = wave + noise * np.random.default_rng(0).normal(size=len(time))
    return np.concatenate([np.zeros(LEAD), wave])


@pytest.mark.parametrize("key", [40, 60, 88])
def test_the_levels_of_a_tone_are_found_and_nothing_is_left_of_it(key):
    strengths = [0.3, 0.1, 0.03]
    wave = note(hertz(key), strengths)
    rows, residual = analysis.analyse(wave, key)
    middle = rows[40:60, analysis.TONE : analysis.TONE + 3].mean(axis=0)
    assert np.allclose(harmonics.amplitudes(middle), strengths, rtol=0.03)
    inside = slice(LEAD + 1_600, -1_600)
    assert np.std(residual[: len(wave)][inside]) < 0.02 * np.std(wave[inside])


def test_noise_stays_in_the_residual():
    wave = note(300.0, [0.2], noise=0.02)
    found = harmonics.follow(wave, 300.0, AT_ONSET, FRAMES)
    left = wave[: len(found) * FRAMES.hop] - harmonics.rebuilt(found, 300.0, AT_ONSET, FRAMES)[: len(wave)]
    assert np.std(left[LEAD + 1_600 : -1_600]) == pytest.approx(0.02, rel=0.35)


def test_a_note_does_not_begin_before_its_onset():
    """The window of 40 ms reaches over the onset, its sound does not."""
    found = harmonics.follow(note(440.0, [0.5]), 440.0, AT_ONSET, FRAMES)
    again = harmonics.rebuilt(found, 440.0, AT_ONSET, FRAMES)
    assert not again[:LEAD].any()
    assert np.abs(again[LEAD + 36 : LEAD + 90]).max() > 0.45  # as loud as it stays, from its first periods on


@pytest.mark.parametrize("off", [-30, 0, 20])
def test_a_note_off_its_key_is_followed(off):
    wave = note(440.0 * 2 ** (off / 1200), [0.3, 0.2, 0.1])
    assert np.abs(harmonics.deviation(wave, 440.0, FRAMES)[20:70] - off).max() < 1.5


def test_a_tone_has_its_pitch_and_its_levels():
    levels = np.tile(harmonics.levels(np.array([0.2, 0.1, 0.05])), (100, 1))
    wave = harmonics.tone(levels, np.full(100, np.log(330.0)), AT_ONSET, FRAMES)
    track = pitch.track(wave, RATE)
    assert np.abs(pitch.cents(track.pitch[5:-5], 330.0)).max() < 3
    inside = wave[LEAD + 400 :]
    assert np.sqrt(np.mean(inside**2)) == pytest.approx(np.sqrt((0.2**2 + 0.1**2 + 0.05**2) / 2), rel=0.02)


def test_levels_and_amplitudes_are_inverse_and_silence_is_silent():
    values = np.array([1.0, 0.1, 1e-3])
    assert np.allclose(harmonics.amplitudes(harmonics.levels(values)), values)
    assert harmonics.levels(np.zeros(1)) == -1 and harmonics.amplitudes(np.array([-1.0])) == 0


def test_no_harmonic_lies_above_the_highest_frequency():
    assert harmonics.count(440.0) == 17 and harmonics.count(65.0) == harmonics.HARMONICS and harmonics.count(9e3) == 0
