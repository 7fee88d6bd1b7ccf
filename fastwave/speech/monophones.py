"""Hidden Markov models of phones, learned from recordings and their phones alone: three states a phone.

A state scores the cepstrum of a frame and how it changes, by a few Gaussians. Nothing is known at first, so the phones
of a recording share it in equal parts; the paths of each round are what the next round learns from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

CEPSTRA = 13
REACH = 2  # frames on each side that a change is taken over: 20 ms in all
FLOOR = 0.05  # of the variance of all frames is the least that a Gaussian has
ROUNDS = (5, 3)  # with 1, and with 2 Gaussians a state
APART = 0.2  # standard deviations: the two Gaussians that one becomes stand so far from its middle

Floats = npt.NDArray[np.float32]


def cepstra(mel: Floats) -> Floats:
    """Log-mel [frames, bands] -> cepstrum, its change and the change of that, [frames, 39]."""
    bands = mel.shape[1]
    angles = np.pi / bands * (np.arange(bands) + 0.5)[:, None] * np.arange(CEPSTRA)
    still = (mel @ np.cos(angles)).astype(np.float32)
    moving = _change(still)
    return np.concatenate([still, moving, _change(moving)], axis=1)


def _change(values: Floats) -> Floats:
    """The slope of a line through the frames around each."""
    padded = np.pad(values, ((REACH, REACH), (0, 0)), mode="edge")
    total = 2 * sum(k * k for k in range(1, REACH + 1))
    slope = np.zeros_like(values)
    for k in range(1, REACH + 1):
        slope += k * (padded[REACH + k : REACH + k + len(values)] - padded[REACH - k : REACH - k + len(values)])
    return slope / np.float32(total)


class Gaussians:
    """Mixtures of Gaussians, one mixture a state: mean and variance [states, mixture, 39], weight [states, mixture]."""

    def __init__(self, states: int, frames: Floats) -> None:
        self.floor = FLOOR * frames.var(axis=0) + 1e-8
        self.mean = np.tile(frames.mean(axis=0), (states, 1, 1))
        self.variance = np.tile(frames.var(axis=0) + self.floor, (states, 1, 1))
        self.weight = np.ones((states, 1))

    def scores(self, frames: Floats) -> Floats:
        """ln of the likelihood of frames [time, 39] in every state, [time, states]."""
        parts = self._parts(frames)
        total: Floats = parts[0]
        for part in parts[1:]:
            total = np.logaddexp(total, part)
        return total

    def _parts(self, frames: Floats) -> list[Floats]:
        """ln of weight times density, [time, states] for each place in the mixtures."""
        inverse = 1 / self.variance
        constant = np.log(self.weight) - 0.5 * (np.log(2 * np.pi * self.variance) + self.mean**2 * inverse).sum(axis=2)
        both = np.concatenate([frames**2, frames], axis=1)
        factors = np.concatenate([-0.5 * inverse, self.mean * inverse], axis=2).astype(np.float32)
        return [both @ factors[:, k].T + constant[:, k].astype(np.float32) for k in range(self.mean.shape[1])]

    def learn(self, recordings: Sequence[Floats], states: Sequence[npt.NDArray[np.integer]]) -> None:
        """Take mean, variance and weight from frames whose states are known. A state without frames stays."""
        count, mixture, width = self.mean.shape
        total, first = np.zeros((count, mixture)), np.zeros((count, mixture, width))
        second = np.zeros((count, mixture, width))
        for frames, state in zip(recordings, states, strict=True):
            every = np.arange(len(frames))
            parts = np.stack([part[every, state] for part in self._parts(frames)], axis=1)
            shares = np.exp(parts - parts.max(axis=1, keepdims=True))
            shares /= shares.sum(axis=1, keepdims=True)
            member = np.eye(count)[state]
            for k in range(mixture):
                share = member * shares[:, k : k + 1]
                total[:, k] += share.sum(axis=0)
                first[:, k] += share.T @ frames
                second[:, k] += share.T @ frames**2
        heard = total > width / 4
        amount = np.maximum(total, 1e-6)[:, :, None]
        mean = first / amount
        variance = np.maximum(second / amount - mean**2, self.floor)
        self.mean = np.where(heard[:, :, None], mean, self.mean)
        self.variance = np.where(heard[:, :, None], variance, self.variance)
        self.weight = np.maximum(total, 1e-3) / np.maximum(total, 1e-3).sum(axis=1, keepdims=True)

    def split(self) -> None:
        """Twice as many Gaussians."""
        apart = APART * np.sqrt(self.variance)
        self.mean = np.concatenate([self.mean - apart, self.mean + apart], axis=1)
        self.variance = np.concatenate([self.variance, self.variance], axis=1)
        self.weight = np.concatenate([self.weight, self.weight], axis=1) / 2
