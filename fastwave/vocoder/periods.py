"""The phase of F0: where in its period each sample is. It enters the voice's WaveNet at sample rate, as two sines.

A phase is counted in periods. That of frame i is that of sample i*hop, and between frames it runs in a straight line.
In training it is read off a recording, so that pulses of the excitation stand at whole numbers; in synthesis it is the
running sum of F0, so that pulses come where F0 says.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .frames import Frames

CHANNELS = 2  # sine and cosine
HARMONICS = 8  # that vote on the place of the pulses
PLACES = 64  # in a period, where a pulse may stand
_REACH = 0.025  # seconds on each side of a frame that it hears
_SLOW = 200.0  # what a jump of half a period from one frame to the next costs, in votes

Array = npt.NDArray[np.float64]


def running(log_f0: npt.NDArray[np.floating], layout: Frames) -> Array:
    """ln F0 of every frame -> the running sum of F0 in periods, 0 at the first frame, [frames]."""
    f0 = np.exp(np.asarray(log_f0, dtype=np.float64)) * (layout.hop / layout.sample_rate)
    return np.concatenate([[0.0], np.cumsum((f0[:-1] + f0[1:]) / 2)])


def aligned(
    excitation: npt.NDArray[np.floating], rows: npt.NDArray[np.floating], layout: Frames, polarity: int = 1
) -> Array:
    """The phase of every frame of a recording, whose excitation has its pulses at whole numbers, [frames].

    It is the running sum of F0, moved in each frame to where the harmonics of the excitation agree on a pulse. A path
    through the frames is chosen that moves as little as it can. `polarity` is the sign of the pulses, see `polarity`.
    """
    phase = running(rows[:, layout.log_f0], layout)
    votes = _votes(excitation * polarity, phase, rows[:, layout.voicing], layout)
    moves = _best_path(votes)
    return phase + moves


def sines(
    phase: npt.NDArray[np.floating], voicing: npt.NDArray[np.floating], first: int, count: int, hop: int
) -> npt.NDArray[np.float32]:
    """Sine and cosine of the phase times voicing at samples first .. first+count-1, [count, 2].

    phase and voicing are those of frames. Before the first frame and after the last one both keep their value.
    """
    place = np.arange(first, first + count) / hop
    number = np.arange(len(phase))
    angle = 2 * np.pi * np.interp(place, number, phase)
    strength = np.interp(place, number, voicing)
    return np.stack([np.sin(angle) * strength, np.cos(angle) * strength], axis=1).astype(np.float32)


def sines_of(rows: npt.NDArray[np.floating], layout: Frames) -> npt.NDArray[np.float32]:
    """The sines that frames [F, width] ask for, from their first sample on, [F * hop, 2]."""
    voicing = np.clip(rows[:, layout.voicing], 0, 1)
    return sines(running(rows[:, layout.log_f0], layout), voicing, 0, len(rows) * layout.hop, layout.hop)


def polarity(excitation: npt.NDArray[np.floating]) -> int:
    """The sign of the larger peaks, by the skewness: +1 or -1. It is a habit of a recording chain, the same in all."""
    return 1 if float(np.mean(excitation**3)) >= 0 else -1


def _votes(
    excitation: npt.NDArray[np.floating], phase: Array, voicing: npt.NDArray[np.floating], layout: Frames
) -> Array:
    """[frames, PLACES]: how much the harmonics around each frame want its phase to be moved by place / PLACES."""
    count, hop = len(phase), layout.hop
    width = 2 * round(_REACH * layout.sample_rate)
    samples = np.arange(count * hop) / hop
    angle = 2 * np.pi * np.interp(samples, np.arange(count), phase)
    wave = np.zeros(count * hop)
    wave[: len(excitation)] = np.clip(excitation, -8, 8)[: count * hop]
    window = np.hanning(width + 1)[:-1]
    places = 2 * np.pi * np.arange(PLACES) / PLACES
    votes = np.zeros((count, PLACES))
    for harmonic in range(1, HARMONICS + 1):
        turned = np.pad(wave * np.exp(-1j * harmonic * angle), width // 2)
        around = np.lib.stride_tricks.sliding_window_view(turned, width)[::hop][:count]
        votes += ((around @ window)[:, None] * np.exp(-1j * harmonic * places)).real
    return votes * (voicing[:, None] > 0)


def _best_path(votes: Array) -> Array:
    """[frames, PLACES] -> moves [frames] in periods, without jumps: the phase to add so that pulses stand at 0."""
    distance = np.arange(PLACES) / PLACES
    distance = np.minimum(distance, 1 - distance)
    cost = _SLOW * (2 * distance) ** 2
    step = cost[(np.arange(PLACES)[:, None] - np.arange(PLACES)) % PLACES]  # [to, from]
    score, sources = votes[0], []
    for row in votes[1:]:
        reached = score[None, :] - step
        source = reached.argmax(axis=1)
        sources.append(source)
        score = reached[np.arange(PLACES), source] + row
    path = [int(score.argmax())]
    for source in reversed(sources):
        path.append(int(source[path[-1]]))
    return np.unwrap(np.array(path[::-1]) / PLACES, period=1.0)
