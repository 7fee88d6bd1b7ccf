"""The most likely path of a recording through a row of states, for many recordings at once.

The states of a recording stand in the order in which they are spoken. From one frame to the next a path stays in its
state, moves on to the next, or jumps over the states between, where the row allows it: over a pause that is not made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MOST_CELLS = 1 << 24  # frames times states of the recordings that are searched together, at most: 80 MB
NEVER = np.float32(-1e30)

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


class Row(NamedTuple):
    """The states of a recording."""

    emissions: Integers  # [states]: which column of the scores a state is scored by
    jumps: Integers  # [states]: the state from which a path may come directly, beside the one before; -1 for none


class Path(NamedTuple):
    """A path, and the sum of its scores; `NEVER` or less where no path is short enough for the recording."""

    states: npt.NDArray[np.int32]  # [frames]: the place in the row, never falling
    score: float


def best_paths(scores: Sequence[Floats], rows: Sequence[Row]) -> list[Path]:
    """scores [frames, columns] of each recording -> its best path from the first state to the last."""
    paths: list[Path | None] = [None] * len(rows)
    for group in _groups([len(score) for score in scores], [len(row.emissions) for row in rows]):
        found = _search([scores[i] for i in group], [rows[i] for i in group])
        for index, path in zip(group, found, strict=True):
            paths[index] = path
    return [path for path in paths if path is not None]


def _groups(frames: Sequence[int], states: Sequence[int]) -> Iterator[list[int]]:
    """Recordings of about the same length."""
    group: list[int] = []
    widest = 0
    for index in sorted(range(len(frames)), key=lambda i: (frames[i], i)):
        widest = max(widest, states[index])
        if group and frames[index] * widest * (len(group) + 1) > MOST_CELLS:
            yield group
            group, widest = [], states[index]
        group.append(index)
    if group:
        yield group


def _search(scores: Sequence[Floats], rows: Sequence[Row]) -> list[Path]:
    count, lengths = len(rows), [len(score) for score in scores]
    longest, widest = max(lengths), max(len(row.emissions) for row in rows)
    emitted = np.full((longest, count, widest), NEVER, dtype=np.float32)
    jumps = np.full((count, widest), -1)
    for index, (score, row) in enumerate(zip(scores, rows, strict=True)):
        emitted[: len(score), index, : len(row.emissions)] = score[:, row.emissions]
        jumps[index, : len(row.jumps)] = row.jumps
    landing = np.nonzero(jumps >= 0)  # jumps are few: they are looked up one by one
    sources = (landing[0], jumps[landing])
    steps = np.zeros((longest, count, widest), dtype=np.int8)  # 0 stay, 1 move on, 2 jump
    best, moved = np.full((count, widest), NEVER), np.full((count, widest), NEVER)
    best[:, 0] = emitted[0, :, 0]
    totals = np.full(count, NEVER)
    ends = [len(row.emissions) - 1 for row in rows]
    ending = {length - 1: [i for i in range(count) if lengths[i] == length] for length in lengths}
    for frame in range(longest):
        if frame:
            jumped = best[sources]
            np.copyto(moved[:, 1:], best[:, :-1])
            np.greater(moved, best, out=steps[frame], casting="unsafe")
            np.maximum(moved, best, out=best)
            further = jumped > best[landing]
            if further.any():
                places = (landing[0][further], landing[1][further])
                best[places] = jumped[further]
                steps[frame][places] = 2
            best += emitted[frame]
        for index in ending.get(frame, ()):
            totals[index] = best[index, ends[index]]
    return [
        Path(_trace(steps[:length, index], jumps[index], end), float(totals[index]))
        for index, (length, end) in enumerate(zip(lengths, ends, strict=True))
    ]


def _trace(steps: npt.NDArray[np.int8], jumps: Integers, end: int) -> npt.NDArray[np.int32]:
    """Back from the last state of the last frame."""
    states = np.zeros(len(steps), dtype=np.int32)
    state = end
    for frame in range(len(steps) - 1, -1, -1):
        states[frame] = state
        step = steps[frame, state]
        state = state - 1 if step == 1 else int(jumps[state]) if step == 2 else state
    return states
