"""The phase of F0: the running sum of F0, read off a recording so that pulses stand at whole numbers."""

import numpy as np
import pytest

from fastwave.vocoder import periods
from fastwave.vocoder.frames import Frames

FRAMES, LAYOUT = 60, Frames()


def frames_of(f0, voicing=1.0):
    frames = np.zeros((len(f0), 42))
    frames[:, 40], frames[:, 41] = np.log(f0), voicing
    return frames


def pulses_at(phase, samples, sign=1.0):
    """A pulse wherever the phase, of frames, passes a whole number."""
    place = np.interp(np.arange(samples) / 200, np.arange(len(phase)), phase)
    wave = np.zeros(samples)
    wave[1:][np.floor(place[1:]) > np.floor(place[:-1])] = 5.0 * sign
    return wave + 0.3 * np.random.default_rng(0).normal(size=samples)


def test_the_running_phase_counts_periods():
    phase = periods.running(np.log(np.full(81, 160.0)), LAYOUT)
    assert phase[0] == 0 and phase[80] == pytest.approx(160)  # periods in a second


def test_between_two_frames_the_phase_runs_at_the_mean_of_their_f0():
    """From a frame of 100 Hz to one of 200 Hz, 12.5 ms later, it runs at 150 Hz; at 100 Hz it would lag ever more."""
    phase = periods.running(np.log([100.0, 200.0, 160.0]), LAYOUT)
    assert phase == pytest.approx([0, 150 * 0.0125, (150 + 180) * 0.0125])


@pytest.mark.parametrize("sign", [1, -1])
def test_the_aligned_phase_finds_pulses_wherever_they_stand(sign):
    f0 = np.linspace(120, 180, FRAMES)
    true = periods.running(np.log(f0), LAYOUT) + 0.37
    excitation = pulses_at(true, FRAMES * 200, sign)
    assert periods.polarity(excitation) == sign
    found = periods.aligned(excitation, frames_of(f0), LAYOUT, sign)
    error = (found - true + 0.5) % 1 - 0.5
    assert np.abs(error[2:-2]).max() < 0.04
    assert np.abs(np.diff(found) - np.diff(true)).max() < 0.05  # no jumps


def test_a_slightly_wrong_f0_is_followed():
    f0 = np.full(FRAMES, 150.0)
    true = periods.running(np.log(f0), LAYOUT)
    found = periods.aligned(pulses_at(true, FRAMES * 200), frames_of(f0 * 1.01), LAYOUT)
    error = (found - true + 0.5) % 1 - 0.5
    assert np.abs(error[4:-4]).max() < 0.08


def test_sines_are_as_strong_as_the_voicing_and_do_not_depend_on_the_stretch():
    phase, voicing = periods.running(np.log(np.full(10, 130.0)), LAYOUT), np.linspace(0, 1, 10)
    whole = periods.sines(phase, voicing, 0, 2_000, 200)
    strength = np.hypot(*whole.T)
    assert np.allclose(strength, np.interp(np.arange(2_000) / 200, np.arange(10), voicing), atol=1e-6)
    assert np.array_equal(periods.sines(phase, voicing, 700, 400, 200), whole[700:1_100])
