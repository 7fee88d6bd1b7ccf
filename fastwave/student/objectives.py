"""What a student is trained with: an energy distance between spectrograms, and the closed-form KL of Gaussians.

The energy distance of a recording x and two draws y, y' that know the same frames is d(x, y) + d(x, y') - d(y, y'),
up to d(x, x'), which no student can change. It is the smallest where draws are distributed as recordings are: the term
that is subtracted keeps draws apart, without it a student would draw the middle of all recordings. It holds for every
d of negative type, and a sum of norms of differences is one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

WINDOWS = (64, 128, 256, 512, 1024, 2048)  # samples; a frame every quarter
USUAL = 0.05  # root mean square of speech at -23 LUFS, about
QUIET = 1e-5  # root mean square below which two sounds count as equally quiet: -100 dB
SHARPEST = 1e-6  # the one floor of scales, in `gaussian_kl`


def spectral_distance(x: Tensor, y: Tensor) -> Tensor:
    """d of waves [B, T], one number for each of the batch: a mean over windows and frames of

    the mean over frequency of | |X| - |Y| |, for the waves and for their first differences, in units of noise of
    `USUAL`; and the root mean square over frequency of ln |X| - ln |Y|.
    """
    total = x.new_zeros(x.shape[0])
    pairs = ((x, y, True), (x.diff(dim=1), y.diff(dim=1), False))
    for size in WINDOWS:
        unit = _unit(size)
        for left, right, logs in pairs:
            before, after = _magnitudes(left, size), _magnitudes(right, size)
            total = total + (before - after).abs().mean((1, 2)) / (USUAL * unit)
            if logs:  # those of first differences are the same but for what leaks between frequencies
                floor = QUIET * unit
                apart = (before + floor).log() - (after + floor).log()
                total = total + (apart.square().mean(2) + 1e-8).sqrt().mean(1)
    return total / len(WINDOWS)


def energy_distance(
    x: Tensor,
    first: Tensor,
    second: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor] = spectral_distance,
    apart: float = 1.0,
) -> Tensor:
    """Of recordings [B, T] and two draws that know the same frames, [B]; d(x, x') is left out. `apart` is the weight of
    what holds the draws apart: below 1, draws that are more alike than recordings have the smallest distance.
    """
    return distance(x, first) + distance(x, second) - apart * distance(first, second)


def power_distance(x: Tensor, y: Tensor, size: int = 1024) -> Tensor:
    """The mean difference of magnitudes, neither squared nor as logarithms: waves [B, T] -> [B]"""
    return (_magnitudes(x, size) - _magnitudes(y, size)).abs().mean((1, 2)) / (USUAL * _unit(size))


def gaussian_kl(mean: Tensor, log_scale: Tensor, teacher_mean: Tensor, teacher_log_scale: Tensor) -> Tensor:
    """KL(student || teacher) of normal distributions in nats, elementwise. Both scales have the floor `SHARPEST`."""
    floor = math.log(SHARPEST)
    log_scale, teacher_log_scale = log_scale.clamp(min=floor), teacher_log_scale.clamp(min=floor)
    ratio = log_scale - teacher_log_scale
    apart = (mean - teacher_mean) * torch.exp(-teacher_log_scale)
    return 0.5 * (torch.expm1(2 * ratio) + apart.square()) - ratio


def regularised_kl(
    mean: Tensor, log_scale: Tensor, teacher_mean: Tensor, teacher_log_scale: Tensor, weight: float = 4.0
) -> Tensor:
    """The KL, and the squared difference of log scales times `weight`: where the teacher is sure of itself, the KL
    alone has gradients of the size of 1 / scale^2.
    """
    kl = gaussian_kl(mean, log_scale, teacher_mean, teacher_log_scale)
    return kl + weight * (log_scale - teacher_log_scale).square()


def _magnitudes(wave: Tensor, size: int) -> Tensor:
    """[B, T] -> [B, frames, size / 2 + 1]; a wave shorter than the window is filled up with zeros."""
    if wave.shape[1] < size:
        wave = torch.nn.functional.pad(wave, (0, size - wave.shape[1]))
    frames = wave.unfold(1, size, size // 4) * _window(size, wave.dtype, wave.device)
    spectrum: Tensor = torch.fft.rfft(frames)
    return spectrum.abs()


@functools.lru_cache(64)
def _window(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.hann_window(size, dtype=dtype, device=device)


def _unit(size: int) -> float:
    """The magnitude of noise of a root mean square of 1 under the window of so many samples."""
    return math.sqrt(0.375 * size)
