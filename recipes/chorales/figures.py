"""What can be counted in chorales: chords, ranges, parallels, crossings, endings, and runs copied from others."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from fastwave.music.composer import rules
from fastwave.music.composer.chorale import GRIDS, HELD, REST, Chorale


@dataclasses.dataclass
class Figures:
    """Shares are 0..1; faults are counted for a hundred beats."""

    chorales: int
    beats: int
    triads: float  # beats on which exactly the three notes of a triad sound
    sevenths: float  # those of a seventh chord, whose fifth may be left out
    open: float  # one or two different notes
    out_of_range: float  # of all notes sounding on a step
    fifths: float
    octaves: float
    crossings: float
    moving: float  # steps between the beats on which a voice moves
    home: float  # chorales that end on their tonic, in a triad with its root in the bass
    longest_chord: float  # beats of the longest stretch without a new note
    together: float  # voice moves by at most a whole tone, of all moves


def measure(chorales: list[Chorale]) -> Figures:
    """Figures of some chorales together."""
    beats = triads = sevenths = bare = fifths = octaves = crossed = outside = sounding = 0
    home = between = moving = small = moves = 0
    longest = 0.0
    for chorale in chorales:
        rows, grid = chorale.sounding(), GRIDS[chorale.form.grid]
        for row in rows[::grid]:
            notes = rules.pitch_classes(row)
            beats += 1
            triads += notes in rules.TRIADS
            sevenths += notes in rules.SEVENTHS
            bare += len(notes) < 3
        for before, after in itertools.pairwise(rows):
            fifths += rules.parallels(before, after, 7)
            octaves += rules.parallels(before, after, 0)
            steps = [abs(a - b) for a, b in zip(before, after, strict=True) if REST not in (a, b) and a != b]
            small, moves = small + sum(step <= 2 for step in steps), moves + len(steps)
        crossed += sum(map(rules.crossings, rows))
        outside += sum(map(rules.out_of_range, rows))
        sounding += sum(key != REST for row in rows for key in row)
        struck = [any(sign != HELD for sign in step) for step in chorale.steps]
        between += sum(1 for index in range(len(struck)) if index % grid)
        moving += sum(new for index, new in enumerate(struck) if index % grid)
        longest = max(longest, _longest_stretch(struck) / grid)
        home += rules.is_home(rows[-1], chorale.form.tonic, chorale.form.minor)
    hundred = max(beats, 1) / 100
    return Figures(
        len(chorales), beats, triads / max(beats, 1), sevenths / max(beats, 1), bare / max(beats, 1),
        outside / max(sounding, 1), fifths / hundred, octaves / hundred, crossed / hundred, moving / max(between, 1),
        home / max(len(chorales), 1), longest, small / max(moves, 1),
    )  # fmt: skip


def _longest_stretch(struck: list[bool]) -> int:
    """Steps of the longest chord in which no voice moves."""
    longest = now = 0
    for new in struck:
        now = 1 if new else now + 1
        longest = max(longest, now)
    return longest


class Copies:
    """Finds the longest run of steps that stands in other chorales too, in any key: an exact search."""

    def __init__(self, others: list[Chorale]) -> None:
        self._words: dict[tuple[int, ...], int] = {}
        self._others = [self._coded(chorale) for chorale in others]
        self._known: dict[int, set[bytes]] = {}

    def longest(self, chorale: Chorale) -> float:
        """Beats of the longest run of what sounds that is found in the others; re-struck notes count as the same."""
        mine = self._coded(chorale)
        low, high = 0, len(mine[0])  # a run of `low` steps is found, one of more than `high` is not
        while low < high:
            middle = (low + high + 1) // 2
            if any(run in self._runs(middle) for run in _windows(mine, middle)):
                low = middle
            else:
                high = middle - 1
        return low / GRIDS[chorale.form.grid]

    def _runs(self, length: int) -> set[bytes]:
        if length not in self._known:
            self._known[length] = {run for coded in self._others for run in _windows(coded, length)}
        return self._known[length]

    def _coded(self, chorale: Chorale) -> tuple[np.ndarray, np.ndarray]:
        """For every step the chord as seen from its bass, and how the bass came there."""
        rows = chorale.sounding()
        shapes = [tuple(key - row[3] if key != REST else -99 for key in row[:3]) for row in rows]
        words = [self._words.setdefault(shape, len(self._words)) for shape in shapes]
        moves = [0, *(after[3] - before[3] for before, after in itertools.pairwise(rows))]
        return np.array(words, np.int32), np.array(moves, np.int16)


def _windows(coded: tuple[np.ndarray, np.ndarray], length: int) -> list[bytes]:
    """Every run of so many steps, without how the bass came to the first."""
    words, moves = coded
    return [
        words[at : at + length].tobytes() + moves[at + 1 : at + length].tobytes()
        for at in range(len(words) - length + 1)
    ]
