"""The learning rate of a run as straight lines between knots: warm up, stay, cool down.

A knot is (step, share of the highest learning rate). Warming up, a long constant phase and a short cooling tail are one
such line; so are a run whose end is moved while it is on, and a finished run that goes on for longer. A cosine has to
know its end from the first step; the constant phase does not, and cooling gains at its end what a cosine gains.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

Knots = tuple[tuple[int, float], ...]

WARMUP, COOLING = 0.03, 0.25  # shares of a run's steps


def share_at(knots: Knots, step: float) -> float:
    """Share of the highest learning rate at a step, which may lie between two."""
    if step <= knots[0][0]:
        return knots[0][1]
    for (first, low), (last, high) in itertools.pairwise(knots):
        if step < last:
            return low + (high - low) * (step - first) / (last - first)
    return knots[-1][1]


def trapezoid(steps: int, warmup: int | None = None) -> Knots:
    """Warm up, stay at the highest rate, and cool down to 0 at the last step."""
    return extended(((0, 0.0),), 0, steps, warmup)


def extended(knots: Knots, step: int, steps: int, warmup: int | None = None) -> Knots:
    """The knots up to `step`, then a new trapezoid from the rate of that step, which ends at `steps`."""
    length = steps - step
    now = share_at(knots, step)
    rise = max(1, round(WARMUP * length)) if warmup is None else warmup
    rise = min(rise, max(0, length - 1)) if now < 1 else 0
    cooling = max(step + rise, steps - max(1, round(COOLING * length)))
    return _joined([*_before(knots, step), (step, now), (step + rise, 1.0), (cooling, 1.0), (steps, 0.0)])


def stretched(knots: Knots, step: int, steps: int) -> Knots:
    """The same knots, those after `step` moved in proportion, so that the last one is at `steps`."""
    length, wanted = knots[-1][0] - step, steps - step
    later = [(step + round((knot - step) * wanted / length), value) for knot, value in knots if knot > step]
    return _joined([*_before(knots, step), (step, share_at(knots, step)), *later])


def _before(knots: Knots, step: int) -> list[tuple[int, float]]:
    return [knot for knot in knots if knot[0] < step]


def _joined(knots: Sequence[tuple[int, float]]) -> Knots:
    """Knots at growing steps: of several at one step the last counts."""
    return tuple(dict(knots).items())
