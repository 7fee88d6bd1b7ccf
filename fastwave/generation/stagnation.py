"""The watch over an output that is stuck on one value."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..errors import StagnationWarning

STUCK_SECONDS = 1.0  # no voice or instrument holds one sample value for a second
STUCK_CHARACTERS = 200


class StagnationWatch:
    """Warns once a stream when its output has stayed on one value for too long."""

    def __init__(self, sample_rate: int, batch: int) -> None:
        self._limit = round(STUCK_SECONDS * sample_rate) if sample_rate else STUCK_CHARACTERS
        self._last: list[float | None] = [None] * batch
        self._length = [0] * batch

    def see(self, rows: Sequence[int], drawn: Tensor) -> None:
        """Take in drawn [len(rows), n], the next samples of these streams, on the CPU."""
        for row, values in zip(rows, drawn.numpy(), strict=True):
            changed = np.flatnonzero(values != values[-1])
            tail = len(values) - (int(changed[-1]) + 1 if len(changed) else 0)
            same = not len(changed) and self._last[row] == values[-1]
            before, self._length[row] = self._length[row], tail + (self._length[row] if same else 0)
            self._last[row] = float(values[-1])
            if self._length[row] >= self._limit and not (same and before >= self._limit):
                warnings.warn(
                    f"stream {row} has repeated the value {values[-1]} {self._length[row]} times: the output is likely "
                    "stuck. Raise the temperature, or train longer.",
                    StagnationWarning,
                    stacklevel=4,
                )
