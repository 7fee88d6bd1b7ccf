"""What voice leading forbids, step by step: used to check lines as they are composed, and to measure pieces."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from .chorale import REST

Column = Sequence[int]  # the key that each voice sounds, soprano first; REST where it is silent

RANGES = ((59, 81), (53, 76), (47, 69), (36, 64))  # soprano b to a'', alto f to e'', tenor B to a', bass C to e'
_TRIADS = ((0, 4, 7), (0, 3, 7), (0, 3, 6), (0, 4, 8))
_FULL_SEVENTHS = ((0, 4, 7, 10), (0, 3, 7, 10), (0, 3, 6, 10), (0, 3, 6, 9), (0, 4, 7, 11))
_SEVENTHS = (*_FULL_SEVENTHS, (0, 4, 10), (0, 3, 10), (0, 4, 11))  # the fifth may be left out
_PAIRS = [(upper, lower) for lower in range(4) for upper in range(lower)]


def _on_every_root(shapes: Sequence[tuple[int, ...]]) -> frozenset[frozenset[int]]:
    return frozenset(frozenset((root + note) % 12 for note in shape) for root in range(12) for shape in shapes)


TRIADS, SEVENTHS = _on_every_root(_TRIADS), _on_every_root(_SEVENTHS)  # sets of pitch classes


def pitch_classes(column: Column) -> frozenset[int]:
    """The different notes that sound, wherever they lie."""
    return frozenset(key % 12 for key in column if key != REST)


def is_home(column: Column, tonic: int | None, minor: bool) -> bool:
    """Whether the tonic's chord sounds with its root in the bass; that of a minor key may be major."""
    if tonic is None or column[3] == REST or column[3] % 12 != tonic:
        return False
    notes, thirds = pitch_classes(column), ((4, 3) if minor else (4,))
    return len(notes) > 1 and any(notes <= {tonic, (tonic + third) % 12, (tonic + 7) % 12} for third in thirds)


def parallels(before: Column, after: Column, interval: int) -> int:
    """Pairs of voices that move from one perfect fifth (7) or octave (0) to another."""
    count = 0
    for upper, lower in _PAIRS:
        a, b, c, d = before[upper], before[lower], after[upper], after[lower]
        if REST in (a, b, c, d) or a == c or b == d:
            continue
        count += (a - b) % 12 == interval and (c - d) % 12 == interval
    return count


def crossings(column: Column) -> int:
    """Neighbouring voices of which the lower one sounds above the upper one."""
    return sum(upper < lower for upper, lower in itertools.pairwise(column) if upper != REST and lower != REST)


def out_of_range(column: Column) -> int:
    """Voices outside the range that singers of that part have."""
    return sum(not low <= key <= high for key, (low, high) in zip(column, RANGES, strict=True) if key != REST)


def fault(before: Column | None, after: Column) -> str:
    """What a composer must not do in this step; empty for nothing."""
    if out_of_range(after):
        return "a voice leaves its range"
    if crossings(after):
        return "two voices cross"
    if before is not None and parallels(before, after, 7) + parallels(before, after, 0):
        return "two voices move in parallel fifths or octaves"
    return ""
