"""The harmonics of a note: how strong each of them is from frame to frame, and their sum again.

A harmonic is followed by what the wave has in common with a sine of its frequency, under a window around each frame.
What the window hears before the attack does not count, so that a note does not seem to begin early.

The harmonics of a stiff string are stretched, see `stiffness`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..vocoder import periods
from ..vocoder.frames import Frames
from .attacks import Attack

HARMONICS = 64  # at most
TOP = 7_700.0  # Hz, the highest harmonic
FLOOR = 1e-5  # amplitude that counts as silence
_FOLLOWED = 6  # bands around F0 whose phases tell how far the note is off its key
_PERIODS, _SHORTEST, _LONGEST = 6, 0.025, 0.08  # of the window of `follow`: periods of F0, and its limits in seconds
_NEAR = 100.0  # cents that a note may be off its key

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]


def ratios(stretch: float) -> Array:
    """How many times as high as the first each harmonic lies, [HARMONICS]; `stretch` is B of `stiffness`."""
    number = np.arange(1, HARMONICS + 1)
    return np.asarray(number * np.sqrt((1 + stretch * number**2) / (1 + stretch)))


def count(hertz: float, stretch: float = 0.0) -> int:
    """How many harmonics a note of this F0 has."""
    return int(np.searchsorted(ratios(stretch) * hertz, TOP, side="right"))


def levels(amplitudes: npt.NDArray[np.floating]) -> Array:
    """Amplitudes on the scale of mel bands: -1 is silence, 1 is full scale, 0.02 are a decibel."""
    return np.asarray(1 - 2 * np.log(np.maximum(amplitudes, FLOOR)) / np.log(FLOOR))


def amplitudes(values: npt.NDArray[np.floating]) -> Array:
    """The inverse of `levels`; what is within a decibel of silence is silent."""
    return np.asarray(np.where(values > -0.98, FLOOR ** ((1 - np.asarray(values, dtype=np.float64)) / 2), 0.0))


def follow(wave: Array, hertz: float, attack: Attack, layout: Frames, stretch: float = 0.0) -> Complex:
    """The complex amplitude of every harmonic at every frame, [frames, count]; phases are those at sample 0."""
    rate, hop, frames = layout.sample_rate, layout.hop, layout.mel.frames(len(wave))
    width = 2 * round(np.clip(_PERIODS * rate / hertz, _SHORTEST * rate, _LONGEST * rate) / 2)
    window, numbers = np.hanning(width + 1)[:-1], ratios(stretch)[: count(hertz, stretch)]
    around, present = (_stretches(each, width, hop, frames) for each in (wave, attack.gain(len(wave))))
    turn = -2j * np.pi * hertz / rate
    found = (around * window) @ np.exp(turn * np.outer(np.arange(width) - width // 2, numbers))
    weight = np.maximum(present @ window, 0.15 * window.sum())
    return np.asarray(2 * found / weight[:, None] * np.exp(turn * np.outer(np.arange(frames) * hop, numbers)))


def deviation(wave: Array, hertz: float, layout: Frames, stretch: float = 0.0) -> Array:
    """How far every frame of a note is off its key in cents, by how the phases of its first harmonics move."""
    rate, hop, frames = layout.sample_rate, layout.hop, layout.mel.frames(len(wave))
    numbers = ratios(stretch)[: min(_FOLLOWED, count(hertz, stretch))]
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


def rebuilt(harmonics: Complex, hertz: float, attack: Attack, layout: Frames, stretch: float = 0.0) -> Array:
    """The wave that `follow` has heard, with its phases, [frames * hop]."""
    phase = np.arange(len(harmonics)) * (layout.hop * hertz / layout.sample_rate)
    whole = _sum(harmonics, np.outer(phase, ratios(stretch)[: harmonics.shape[1]]), layout.hop)
    return whole * attack.gain(len(whole))


def tone(
    values: npt.NDArray[np.floating],
    log_f0: npt.NDArray[np.floating],
    attack: Attack,
    layout: Frames,
    stretch: float = 0.0,
) -> Array:
    """The sum of harmonics of these levels [frames, count] at this ln F0 [frames], [frames * hop].

    Their phases are Schroeder's, which keep peaks low.
    """
    number = np.arange(1, values.shape[1] + 1)
    first = np.exp(-1j * np.pi * (number * (number - 1) / len(number) + 0.5))
    periods_run = np.outer(periods.running(log_f0, layout), ratios(stretch)[: len(number)])
    whole = _sum(amplitudes(values) * first, periods_run, layout.hop)
    return whole * attack.gain(len(whole))


def _sum(harmonics: npt.NDArray[np.complexfloating], phases: Array, hop: int) -> Array:
    """The real part of harmonics [frames, count] turned by phases in periods, between frames in straight lines both."""
    frames = len(harmonics)
    turned = np.exp(2j * np.pi * phases)
    step = np.exp(2j * np.pi / hop * np.diff(phases, axis=0, append=phases[-1:]))
    now = harmonics * turned
    change = np.diff(harmonics, axis=0, append=harmonics[-1:]) * turned / hop
    result = np.empty((frames, hop))
    for sample in range(hop):  # all frames at once: a power of `step` instead of a sine for every harmonic and sample
        result[:, sample] = now.real.sum(axis=1)
        now += change
        now *= step
        change *= step
    return result.reshape(-1)


def _stretches(values: Array, width: int, hop: int, frames: int) -> Array:
    """`width` samples around each frame, zeros beyond the ends, [frames, width]."""
    padded = np.concatenate([np.zeros(width // 2), values, np.zeros(width // 2 + hop)])
    return np.lib.stride_tricks.sliding_window_view(padded, width)[::hop][:frames]
