"""What voice leading forbids, step by step: used to check lines as they are composed, and to measure pieces."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from .chorale import REST

Column = Sequence[int]  # the key that each voice sounds, soprano first; REST where it is silent

RANGES = ((59, 81), (53, 76), (47, 69), (36, 64))  # soprano b to a'', alto f to e'', tenor B to a', bass C to e'
_PAIRS = [(upper, lower) for lower in range(4) for upper in range(lower)]


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
