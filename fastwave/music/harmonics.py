"""The harmonics of a note: how strong each of them is from frame to frame, and their sum again.

A harmonic is followed by what the wave has in common with a sine of its frequency, under a window around each frame.
What the window hears before the onset does not count, so that a note does not seem to begin early.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..vocoder import periods
from ..vocoder.frames import Frames

HARMONICS = 40  # at most
TOP = 7_700.0  # Hz, the highest harmonic
FLOOR = 1e-5  # amplitude that counts as silence
RISE = 32  # samples in which a note fades in, 2 ms: no click, and the attack is where it was
_FOLLOWED = 6  # bands around F0 whose phases tell how far the note is off its key
_NEAR = 100.0  # cents that a note may be off its key

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]


def count(hertz: float) -> int:
    """How many harmonics a note of this F0 has."""
    return min(HARMONICS, int(TOP / hertz))


def levels(amplitudes: npt.NDArray[np.floating]) -> Array:
    """Amplitudes on the scale of mel bands: -1 is silence, 1 is full scale, 0.02 are a decibel."""
    return np.asarray(1 - 2 * np.log(np.maximum(amplitudes, FLOOR)) / np.log(FLOOR))


def amplitudes(values: npt.NDArray[np.floating]) -> Array:
    """The inverse of `levels`; what is within a decibel of silence is silent."""
    return np.asarray(np.where(values > -0.98, FLOOR ** ((1 - np.asarray(values, dtype=np.float64)) / 2), 0.0))


def follow(wave: Array, hertz: float, onset: int, layout: Frames) -> Complex:
    """The complex amplitude of every harmonic at every frame, [frames, count]; phases are those at sample 0."""
    rate, hop, frames = layout.sample_rate, layout.hop, layout.mel.frames(len(wave))
    width = 2 * round(np.clip(6 * rate / hertz, 0.04 * rate, 0.08 * rate) / 2)
    window, numbers = np.hanning(width + 1)[:-1], np.arange(1, count(hertz) + 1)
    heard = np.ones(len(wave))
    heard[:onset] = 0
    stretches, present = (_stretches(each, width, hop, frames) for each in (wave, heard))
    turn = -2j * np.pi * hertz / rate
    found = (stretches * window) @ np.exp(turn * np.outer(np.arange(width) - width // 2, numbers))
    weight = np.maximum(present @ window, 0.15 * window.sum())
    return np.asarray(2 * found / weight[:, None] * np.exp(turn * np.outer(np.arange(frames) * hop, numbers)))


def deviation(wave: Array, hertz: float, layout: Frames) -> Array:
    """How far every frame of a note is off its key in cents, by how the phases of its first harmonics move."""
    rate, hop, frames = layout.sample_rate, layout.hop, layout.mel.frames(len(wave))
    numbers = np.arange(1, min(_FOLLOWED, count(hertz)) + 1)
    width = 2 * round(max(400, 4 * rate / hertz) / 2)
    around = _stretches(np.concatenate([np.zeros(hop), wave, np.zeros(hop)]), width, hop, frames + 2)
    turn = -2j * np.pi * hertz / rate
    found = (around * np.hanning(width + 1)[:-1]) @ np.exp(turn * np.outer(np.arange(width), numbers))
    found *= np.exp(turn * np.outer(np.arange(frames + 2) * hop, numbers))
    moved = np.angle(found[2:] * np.conj(found[:-2])) / (2 * np.pi) * rate / (2 * hop) / numbers  # Hz of F0
    power = np.abs(found[1:-1]) ** 2
    loud = power.sum(axis=1)
    share = np.clip((moved * power).sum(axis=1) / np.maximum(loud, 1e-20) / hertz, -0.08, 0.08)
    known = np.flatnonzero(loud > loud.max() * 1e-5) if loud.any() else np.arange(frames)
    smooth = np.interp(np.arange(frames), known, np.clip(1200 * np.log2(1 + share[known]), -_NEAR, _NEAR))
    return np.convolve(np.pad(smooth, 3, mode="edge"), np.hanning(9)[1:-1] / 4, mode="valid")


def rebuilt(harmonics: Complex, hertz: float, onset: int, layout: Frames) -> Array:
    """The wave that `follow` has heard, with its phases, [frames * hop]."""
    time = np.arange(len(harmonics) * layout.hop)
    base = np.exp(2j * np.pi * hertz / layout.sample_rate * time)
    return _sum(harmonics, base, layout.hop) * fade_in(len(time), onset)


def tone(values: npt.NDArray[np.floating], log_f0: npt.NDArray[np.floating], onset: int, layout: Frames) -> Array:
    """The sum of harmonics of these levels [frames, count] at this ln F0 [frames], [frames * hop].

    Their phases are Schroeder's, which keep peaks low.
    """
    frames, number = len(values), np.arange(1, values.shape[1] + 1)
    phase = np.interp(np.arange(frames * layout.hop) / layout.hop, np.arange(frames), periods.running(log_f0, layout))
    first = np.exp(-1j * np.pi * (number * (number - 1) / len(number) + 0.5))
    base = np.exp(2j * np.pi * phase)
    return _sum(amplitudes(values) * first, base, layout.hop) * fade_in(len(base), onset)


def fade_in(samples: int, onset: int) -> Array:
    """0 before the onset, 1 from 2 ms after it on."""
    return np.clip((np.arange(samples) - onset) / RISE, 0, 1)


def _sum(harmonics: npt.NDArray[np.complexfloating], base: Complex, hop: int) -> Array:
    """The real part of harmonics [frames, count], between frames in straight lines, times the powers of `base`."""
    place, frames = np.arange(len(base)) / hop, np.arange(len(harmonics))
    result, power = np.zeros(len(base)), np.ones(len(base), dtype=np.complex128)
    for each in harmonics.T:
        power *= base
        result += np.interp(place, frames, each.real) * power.real - np.interp(place, frames, each.imag) * power.imag
    return result


def _stretches(values: Array, width: int, hop: int, frames: int) -> Array:
    """`width` samples around each frame, zeros beyond the ends, [frames, width]."""
    padded = np.concatenate([np.zeros(width // 2), values, np.zeros(width // 2 + hop)])
    return np.lib.stride_tricks.sliding_window_view(padded, width)[::hop][:frames]
