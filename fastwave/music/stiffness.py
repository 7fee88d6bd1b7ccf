"""How stiff the strings of an instrument are, key by key: the stiffer, the further apart its harmonics.

Harmonic k lies k sqrt((1 + B k^2) / (1 + B)) times as high as the first. B is 0 where a bow or breath keeps them
together, and 0.0004 in the middle of a piano, whose 15th harmonic is 75 cents higher than 15 times the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import harmonics

TRIED = np.concatenate([[0.0], np.geomspace(1e-5, 1e-2, 60)])  # values of B
HIGHEST = 0.1  # of B in a file
CENTS = np.arange(-30.0, 31.0, 2.0)  # how far off its key a note may be; a note too high looks like a stiff string
SEEN = 8_192  # samples after the onset
BINS = 4 * SEEN
STIFF = (
    1.08  # times the strength that harmonics of B = 0 have, in the median note: piano 1.33, guitar 1.10, violin 1.06
)
NEAREST = 3  # notes whose median is B of a key

Array = npt.NDArray[np.float64]


class Stiffness(NamedTuple):
    """B of a note, and how many times as strong as at B = 0 its harmonics are found there."""

    stretch: float
    gain: float


def of(wave: Array, hertz: float, onset: int, sample_rate: int) -> Stiffness:
    """B of a note: where its harmonics are strongest, the higher ones counting more, as their places differ more."""
    part = wave[onset : onset + SEEN]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), BINS))
    places = hertz * 2 ** (CENTS[:, None] / 1200) * np.stack([harmonics.ratios(each) for each in TRIED])[:, None, :]
    bins = np.minimum(np.rint(places * BINS / sample_rate).astype(np.int64), BINS // 2)
    counted = np.arange(1, harmonics.HARMONICS + 1) * (places < harmonics.TOP)
    strengths = (spectrum[bins] * counted).sum(axis=2).max(axis=1)  # [TRIED]
    best = int(np.argmax(strengths))
    return Stiffness(float(TRIED[best]), float(strengths[best] / max(strengths[0], 1e-12)))


def of_keys(notes: Sequence[tuple[int, Stiffness]], keys: Iterable[int]) -> dict[int, float]:
    """B of every key of an instrument, from its notes and their keys: 0 for all unless its strings are stiff."""
    if np.median([found.gain for _, found in notes]) < STIFF:
        return dict.fromkeys(keys, 0.0)
    result = {}
    for key in keys:
        nearest = sorted((abs(other - key), found.stretch) for other, found in notes)[:NEAREST]
        result[key] = float(np.median([stretch for _, stretch in nearest]))
    return result


def checked(values: Mapping[str, Sequence[float]], keys: Mapping[str, tuple[int, int]]) -> bool:
    """Whether these are B of every key of some of these instruments."""
    return isinstance(values, Mapping) and all(
        name in keys
        and isinstance(each, (tuple, list))
        and len(each) == keys[name][1] - keys[name][0] + 1
        and all(type(value) in (int, float) and 0 <= value <= HIGHEST for value in each)
        for name, each in values.items()
    )
