"""The frames of a recording that the voice's WaveNet is conditioned on."""

import numpy as np
import pytest

from fastwave.errors import InputError
from fastwave.speech import analysis


def vowel(frequency=160.0, seconds=0.5):
    time = np.arange(round(seconds * 16_000)) / 16_000
    return 0.1 * sum(np.sin(2 * np.pi * n * frequency * time) / n for n in range(1, 20))


@pytest.mark.parametrize("samples", [1, 200, 201, 4_321])
def test_every_200_samples_have_a_frame(samples):
    assert analysis.frames(np.zeros(samples)).shape == (-(-samples // 200), 42)


def test_f0_is_tracked_in_the_middle_of_each_frame():
    wave = np.concatenate([np.zeros(4_000), vowel(160), vowel(220), np.zeros(4_000)])
    frames = analysis.frames(wave)
    f0 = np.exp(frames[:, analysis.LOG_F0])
    assert np.allclose(f0[24:56], 160, rtol=0.01)
    assert np.allclose(f0[64:96], 220, rtol=0.01)
    assert frames[24:56, analysis.VOICING].min() > 0.95 and frames[64:96, analysis.VOICING].min() > 0.95
    assert not frames[:17, analysis.VOICING].any() and not frames[-17:, analysis.VOICING].any()


def test_log_f0_runs_straight_through_unvoiced_frames():
    f0 = np.array([0, 100, 0, 0, 800, 0])
    frames = analysis.frames(vowel(100)[:1_200], f0)
    assert np.allclose(frames[:, analysis.LOG_F0], np.log([100, 100, 200, 400, 800, 800]), atol=1e-6)
    assert ((frames[:, analysis.VOICING] > 0) == (f0 > 0)).all()


def test_a_sound_without_pitch_has_a_finite_f0():
    noise = np.random.default_rng(0).normal(size=8_000) * 0.1
    frames = analysis.frames(noise)
    assert np.isfinite(frames).all() and not frames[:, analysis.VOICING].any()


def test_f0_of_another_length_is_refused():
    with pytest.raises(InputError, match="1000 samples have 5 frames"):
        analysis.frames(np.zeros(1_000), np.zeros(6))


def test_voicing_falls_from_a_tone_to_noise():
    noise = np.random.default_rng(0).normal(size=8_000) * 0.1
    shares = (0, 0.3, 1, 3, 100)
    voicing = [analysis.frames(vowel() + share * noise, np.full(40, 160.0))[5:35, 41].mean() for share in shares]
    assert voicing == sorted(voicing, reverse=True)
    assert voicing[0] > 0.99 and voicing[-1] < 0.3


def test_silence_is_unvoiced_whatever_its_f0():
    assert not analysis.frames(vowel() * 0.001, np.full(40, 160.0))[:, analysis.VOICING].any()
