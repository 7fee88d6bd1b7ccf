"""Noise has the colour and the level that mel frames ask for."""

import numpy as np
import pytest
import torch

from fastwave.music.analysis import FRAMES
from fastwave.music.noise import BATCH, coloured
from fastwave.sound.mel import mel

BANDS, HOP = FRAMES.bands, FRAMES.hop


def noise(frames, seed=0):
    return coloured(frames, FRAMES.mel, np.random.default_rng(seed))


def test_the_mel_frames_of_the_noise_are_those_that_were_asked_for():
    slope = np.linspace(0.2, -0.4, BANDS)  # 30 dB
    frames = np.tile(slope, (800, 1))
    heard = mel(torch.from_numpy(noise(frames).astype(np.float32)), FRAMES.mel).numpy()[10:-10]
    decibels = 50 * (heard - slope)
    assert abs(decibels.mean()) < 1.0 and np.abs(decibels.mean(axis=0)).max() < 3.0


def test_noise_is_as_loud_as_noise_was():
    """Of white noise the frames hold mean magnitudes, which are 1.05 dB below the root mean square."""
    white = 0.1 * np.random.default_rng(1).normal(size=40_000)
    again = noise(mel(torch.from_numpy(white.astype(np.float32)), FRAMES.mel).numpy())
    assert 20 * np.log10(np.std(again[4_000:-4_000]) / 0.1) == pytest.approx(0, abs=0.4)


def test_a_level_changes_where_the_frames_change():
    frames = np.full((200, BANDS), -0.6)
    frames[100:] = 0.2  # 40 dB
    waves = np.stack([noise(frames, seed) for seed in range(20)])
    loud = 20 * np.log10(np.std(waves[:, 110 * HOP : 150 * HOP]))
    hops = 20 * np.log10(waves.reshape(20, 200, HOP).std(axis=(0, 2)))
    assert hops[98] < loud - 30 and hops[100] > loud - 3  # hop 99 lies between both
    assert loud - hops[50:90].mean() == pytest.approx(40, abs=1)


def test_frames_have_a_hop_each_and_later_ones_change_nothing_before_them():
    frames = np.full((BATCH + 40, BANDS), 0.1)
    longer, shorter = noise(frames), noise(frames[:-30])
    assert len(longer) == len(frames) * HOP and np.isfinite(longer).all()
    reach = 2 * FRAMES.mel.window
    assert np.allclose(longer[: len(shorter) - reach], shorter[:-reach])
    assert np.std(longer[(BATCH - 3) * HOP : (BATCH + 3) * HOP]) == pytest.approx(np.std(longer), rel=0.2)


def test_the_seed_decides_the_noise():
    frames = np.zeros((20, BANDS))
    assert np.array_equal(noise(frames, 1), noise(frames, 1)) and not np.array_equal(noise(frames, 1), noise(frames, 2))
