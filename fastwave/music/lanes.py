"""Notes to lanes: a lane plays one note after the other, and as many lanes run side by side as the notes need.

Notes are taken in the order of their onsets, one at a time, so that a piece need not be known to its end; what is kept
is one number a lane.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from ..errors import InputError
from .band import Part
from .notes import Note


class Allotment(NamedTuple):
    """A note, the index of its part, and the lane that plays it."""

    note: Note
    part: int
    lane: int


Tail = Callable[[Note, int], float]  # seconds for which a note of a part rings on after its key is let go


class Lanes:
    """Gives each note the lane that has been free for longest, or a new one where none is free.

    No fewer lanes could play the notes: a new one is made only while all others sound.
    """

    def __init__(self) -> None:
        self._free: list[tuple[float, int]] = []  # a heap: when a lane is free again, and its number
        self._onset = 0.0

    @property
    def count(self) -> int:
        """The lanes so far."""
        return len(self._free)

    def take(self, note: Note, tail: float = 0.0) -> int:
        """The lane of the next note, whose onset is not before that of the last one."""
        if note.onset < self._onset:
            raise InputError(f"notes come in the order of their onsets, got {note.onset} s after {self._onset} s.")
        self._onset = note.onset
        free_again = note.end + tail
        if self._free and self._free[0][0] <= note.onset:
            lane = self._free[0][1]
            heapq.heapreplace(self._free, (free_again, lane))
        else:
            lane = len(self._free)
            heapq.heappush(self._free, (free_again, lane))
        return lane


def allot(parts: Sequence[Part], tail: float | Tail = 0.0) -> Iterator[Allotment]:
    """The notes of all parts in the order of time, each with its lane. Any lane plays notes of any part."""
    lanes = Lanes()
    rings: Tail = tail if callable(tail) else lambda *_: tail
    for note, part in heapq.merge(
        *(_of(part, index) for index, part in enumerate(parts)), key=lambda each: each[0].onset
    ):
        yield Allotment(note, part, lanes.take(note, rings(note, part)))


def count(parts: Sequence[Part], tail: float | Tail = 0.0) -> int:
    """The lanes that the parts need: the most notes that sound at one moment, with what they ring on."""
    return max((allotment.lane + 1 for allotment in allot(parts, tail)), default=0)


def _of(part: Part, index: int) -> Iterable[tuple[Note, int]]:
    return ((note, index) for note in part.notes)
