"""How a note begins: after a delay its level rises in a straight line. Frames of 6.25 ms are too coarse for that.

Both are learned from each note, and the harmonics are what is left when this gain is divided out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LEAST, MOST = 32, 320  # samples of a rise, 2 to 20 ms: no click, and what is slower is seen by the frames
LATEST = 1_600  # samples of a delay, 100 ms
LEVEL = 48  # samples of the level that tells both, 3 ms
WITHIN = 4_000  # samples from the onset in which a note is at its loudest
FAINT, HALF = 0.1, 0.5  # of the loudest: where a straight rise is measured

Array = npt.NDArray[np.float64]


class Attack(NamedTuple):
    """In samples: where the rise begins, and how long it takes."""

    begin: float
    rise: float

    def gain(self, samples: int) -> Array:
        """0 until it begins, 1 when it has ended, [samples]."""
        return np.clip((np.arange(samples) - self.begin) / self.rise, 0, 1)

    def at_once(self) -> Attack:
        """The same beginning, and the shortest rise: that of breath, bow and hammer."""
        return self._replace(rise=LEAST)


def of(wave: Array, onset: int) -> Attack:
    """The attack of a note whose key goes down at sample `onset`."""
    level = np.sqrt(np.maximum(np.convolve(wave**2, np.full(LEVEL, 1 / LEVEL), "same"), 0))[onset:]
    top = level[:WITHIN].max(initial=0.0)
    faint, half = (int(np.argmax(level >= part * top)) for part in (FAINT, HALF))
    rise = max(LEAST, (half - faint) / (HALF - FAINT))
    return Attack(onset + float(np.clip(faint - FAINT * rise, 0, LATEST)), float(min(rise, MOST)))
