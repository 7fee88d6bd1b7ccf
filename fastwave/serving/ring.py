"""Samples between the thread that makes them and the one that plays them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


class Ring:
    """A circle of so many samples. One thread writes, one other reads, and neither ever waits in here.

    The writer alone moves `written`, the reader alone moves `taken`: each sees the other's counter late at worst, and
    then finds less room, or fewer samples, than there are.
    """

    def __init__(self, samples: int, channels: int = 1) -> None:
        self._memory = np.zeros((samples, channels), dtype=np.float32)
        self.size = samples
        self.written = self.taken = 0  # since the beginning

    @property
    def filled(self) -> int:
        """Samples that were written and not taken yet."""
        return self.written - self.taken

    def write(self, block: Array) -> int:
        """Take as much of a block [time, channels] as there is room for -> how many samples that was."""
        count = min(len(block), self.size - self.filled)
        for place, first, last in self._stretches(self.written, count):
            self._memory[place : place + last - first] = block[first:last]
        self.written += count
        return count

    def read(self, out: Array) -> int:
        """Fill `out` [time, channels] as far as there are samples, the rest with silence -> how many there were."""
        count = min(len(out), self.filled)
        for place, first, last in self._stretches(self.taken, count):
            out[first:last] = self._memory[place : place + last - first]
        out[count:] = 0
        self.taken += count
        return count

    def _stretches(self, begin: int, count: int) -> list[tuple[int, int, int]]:
        """(place, first, last): samples first .. last-1 of a block lie from `place` on, up to the end of the circle."""
        place = begin % self.size
        head = min(count, self.size - place)
        return [(place, 0, head), (0, head, count)]
