"""A pitch tracker by normalised autocorrelation, for one voice or string at a time; numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FRAME_SECONDS = 0.050
HOP_SECONDS = 0.010
LOWEST, HIGHEST = 50.0, 1250.0  # Hz: a frame of 50 ms holds two periods of 50 Hz
SILENCE = 0.01  # root mean square, 40 dB below full scale
_PERIODIC = 0.7  # a frame counts as voiced from this autocorrelation on: white noise stays below 0.3
_AS_GOOD = 0.9  # a shorter lag this close to the best one wins, since every multiple of the period fits as well
_FINER = 4  # lags are searched on a grid of a quarter of a sample
_NEAR = 1.05  # a factor: a period so much longer or shorter counts as that of a pitch
_GROUP = 32  # frames whose autocorrelations are in memory at once
_AROUND = 5  # frames on each side whose median pitch tells an octave error
_OCTAVE = 900.0  # cents away from that median, or more, is taken for one


@dataclass(frozen=True)
class Track:
    """One entry a frame. `level` is the root mean square; `pitch` in Hz is NaN where the frame is not voiced."""

    pitch: Array
    level: Array

    @property
    def voiced(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.pitch)


def track(
    wave: NDArray[np.floating],
    sample_rate: int,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    silence: float = SILENCE,
    hop_seconds: float = HOP_SECONDS,
) -> Track:
    """Follow the pitch of wave [time] from `lowest` to `highest` Hz; frames of a level below `silence` are unvoiced."""
    length, hop = round(FRAME_SECONDS * sample_rate), max(1, round(hop_seconds * sample_rate))
    if len(wave) < length or length < 4:
        return Track(np.zeros(0), np.zeros(0))
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(wave, dtype=np.float64), length)[::hop]
    level = np.sqrt(np.einsum("ft,ft->f", frames, frames) / length)
    pitch = np.full(len(frames), math.nan)
    heard = np.flatnonzero(level >= silence)
    for first in range(0, len(heard), _GROUP):
        group = heard[first : first + _GROUP]
        matches = _autocorrelations(frames[group], math.ceil(sample_rate / lowest) + 2)
        pitch[group] = [_pitch(match, sample_rate, lowest, highest) for match in matches]
    _mend_octaves(pitch, frames, sample_rate, lowest, highest)
    return Track(pitch, level)


def periodicity(
    wave: NDArray[np.floating], sample_rate: int, pitch: NDArray[np.floating], hop: int, silence: float = SILENCE
) -> Array:
    """How well a wave repeats itself at a pitch: 1 for a steady tone, about 0 for noise, one value a frame.

    `pitch` [frames] in Hz is that of frames centred on samples 0, hop, 2 * hop ...; where it is 0, and where the level
    is below `silence`, the answer is 0.
    """
    half = round(FRAME_SECONDS * sample_rate) // 2
    padded = np.concatenate([np.zeros(half), wave, np.zeros(half + hop)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * half)[::hop][: len(pitch)]
    heard = np.flatnonzero((pitch > 0) & (np.einsum("ft,ft->f", frames, frames) >= 2 * half * silence**2))
    result = np.zeros(len(pitch))
    for first in range(0, len(heard), _GROUP):
        group = heard[first : first + _GROUP]
        lags = _FINER * sample_rate / pitch[group]
        matches = _autocorrelations(frames[group], math.ceil(1.1 * lags.max() / _FINER) + 1)
        for index, match, lag in zip(group, matches, lags, strict=True):
            result[index] = match[math.floor(lag / _NEAR) : math.ceil(lag * _NEAR) + 1].max()
    return np.clip(result, 0, 1)


def cents(pitch: Array | float, note: Array | float) -> Array:
    """How far `pitch` is above `note`, in hundredths of a semitone."""
    return np.asarray(1200 * np.log2(np.asarray(pitch) / note))


def _pitch(match: Array, sample_rate: int, lowest: float, highest: float) -> float:
    """In Hz, from the autocorrelation of a frame; NaN where the frame does not repeat itself."""
    first, last = math.floor(_FINER * sample_rate / highest), math.ceil(_FINER * sample_rate / lowest)
    inner = match[1:-1]
    peaks = 1 + np.flatnonzero((inner >= match[:-2]) & (inner > match[2:]))
    peaks = peaks[peaks >= first]
    near = peaks[peaks <= last]
    if not len(near) or match[near].max() < _PERIODIC:
        return math.nan
    shortest = near[match[near] >= _AS_GOOD * match[near].max()][0]
    return sample_rate * _FINER / _refined(match, peaks, int(shortest))


def _mend_octaves(pitch: Array, frames: Array, sample_rate: int, lowest: float, highest: float) -> None:
    """Search a frame that is about an octave or more from its neighbours again, near their pitch; changes `pitch`."""
    before = pitch.copy()
    for index in np.flatnonzero(~np.isnan(before)):
        around = before[max(0, index - _AROUND) : index + _AROUND + 1]
        middle = float(np.nanmedian(around))
        if abs(float(cents(before[index], middle))) < _OCTAVE or np.isnan(around).sum() > _AROUND:
            continue
        low, high = max(lowest, middle / 1.2), min(highest, middle * 1.2)
        match = _autocorrelations(frames[index : index + 1], math.ceil(sample_rate / low) + 2)[0]
        again = _pitch(match, sample_rate, low, high)
        if not math.isnan(again):
            pitch[index] = again


def _autocorrelations(frames: Array, longest: int) -> Array:
    """[n, _FINER * longest]: at each lag a frame against itself, 1 where the overlapping parts are alike.

    Divided by the energies of those two parts, so that a decaying note still reaches 1 at its period.
    """
    frames = frames - frames.mean(axis=1, keepdims=True)
    length = frames.shape[1]
    longest = min(longest, length)
    size = 1 << (length + longest - 1).bit_length()
    power = np.abs(np.fft.rfft(frames, size)) ** 2
    finer = np.fft.irfft(power, size * _FINER)[:, : _FINER * longest] * _FINER
    energy = np.concatenate([np.zeros((len(frames), 1)), np.cumsum(frames**2, axis=1)], axis=1)
    lags = np.arange(_FINER * longest) / _FINER
    head, tail = _between(energy, length - lags), energy[:, -1:] - _between(energy, lags)
    return np.asarray(finer / np.maximum(np.sqrt(head * tail), 1e-12))


def _between(rows: Array, position: Array) -> Array:
    """Each row read at fractional positions, by linear interpolation."""
    left = np.minimum(position.astype(np.intp), rows.shape[1] - 2)
    share = position - left
    return np.asarray(rows[:, left] * (1 - share) + rows[:, left + 1] * share)


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
