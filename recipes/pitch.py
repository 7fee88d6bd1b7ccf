"""A pitch tracker by normalised autocorrelation, for one voice or string at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FRAME_SECONDS = 0.050
HOP_SECONDS = 0.010
_PERIODIC = 0.7  # a frame counts as voiced from this autocorrelation on: white noise stays below 0.3
_AS_GOOD = 0.9  # a shorter lag this close to the best one wins, since every multiple of the period fits as well
_FINER = 4  # lags are searched on a grid of a quarter of a sample


@dataclass(frozen=True)
class Track:
    """One entry a frame. `level` is the root mean square; `pitch` in Hz is NaN where the frame is not voiced."""

    pitch: Array
    level: Array

    @property
    def voiced(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.pitch)


def track(wave: Array, sample_rate: int, lowest: float, highest: float, silence: float = 0.01) -> Track:
    """Follow the pitch between `lowest` and `highest` Hz; frames of a level below `silence` are not voiced."""
    length, hop = round(FRAME_SECONDS * sample_rate), round(HOP_SECONDS * sample_rate)
    if len(wave) < length:
        return Track(np.zeros(0), np.zeros(0))
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(wave, dtype=np.float64), length)[::hop]
    level = np.sqrt((frames**2).mean(axis=1))
    pitch = np.full(len(frames), math.nan)
    for index in np.flatnonzero(level >= silence):
        pitch[index] = _pitch(frames[index], sample_rate, lowest, highest)
    return Track(pitch, level)


def cents(pitch: Array, note: float | Array) -> Array:
    """How far `pitch` is above `note`, in hundredths of a semitone."""
    return np.asarray(1200 * np.log2(pitch / note))


def _pitch(frame: Array, sample_rate: int, lowest: float, highest: float) -> float:
    """In Hz, or NaN where the frame does not repeat itself."""
    match = _autocorrelation(frame - frame.mean(), math.ceil(sample_rate / lowest) + 2)
    first = math.floor(_FINER * sample_rate / highest)
    inner = match[1:-1]
    peaks = 1 + np.flatnonzero((inner >= match[:-2]) & (inner > match[2:]))
    peaks = peaks[peaks >= first]
    if not len(peaks) or match[peaks].max() < _PERIODIC:
        return math.nan
    shortest = peaks[match[peaks] >= _AS_GOOD * match[peaks].max()][0]
    return sample_rate * _FINER / _refined(match, peaks, int(shortest))


def _autocorrelation(frame: Array, longest: int) -> Array:
    """[_FINER * longest]: at each lag the frame against itself, 1 where the overlapping parts are alike.

    Divided by the energies of those two parts, so that a decaying note still reaches 1 at its period.
    """
    size = 1 << (2 * len(frame) - 1).bit_length()
    power = np.abs(np.fft.rfft(frame, size)) ** 2
    finer = np.fft.irfft(power, size * _FINER) * _FINER
    energy = np.concatenate([[0.0], np.cumsum(frame**2)])
    lags = np.arange(_FINER * longest) / _FINER
    count = np.arange(len(energy))
    head = np.interp(len(frame) - lags, count, energy)
    tail = energy[-1] - np.interp(lags, count, energy)
    return np.asarray(finer[: len(lags)] / np.maximum(np.sqrt(head * tail), 1e-12))


def _refined(match: Array, peaks: NDArray[np.intp], lag: int) -> float:
    """The period near `lag`, read off the third multiple at most, where an error counts for a third."""
    period = _vertex(match, lag)
    for multiple in (2, 3):
        near = peaks[np.argmin(np.abs(peaks - multiple * period))]
        # a peak elsewhere, or a poor one, belongs to something else: a new note has begun in this frame
        if abs(near - multiple * period) > 0.1 * period or match[near] < 0.9 * match[lag]:
            break
        period = _vertex(match, int(near)) / multiple
    return period


def _vertex(match: Array, peak: int) -> float:
    """Where the parabola through a peak and its neighbours is highest."""
    if not 0 < peak < len(match) - 1:
        return float(peak)
    left, middle, right = match[peak - 1 : peak + 2]
    bend = left - 2 * middle + right
    return peak + (0.5 * (left - right) / bend if bend < 0 else 0.0)
