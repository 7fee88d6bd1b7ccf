"""How fast several programs do the same work: timed in turn, so that a busy machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

ROUNDS = 3


def race(programs: Mapping[str, Callable[[], int]], rounds: int = ROUNDS) -> dict[str, float]:
    """Samples a second of each: the median of the rounds after one that warms up. A program returns how many samples
    it made, and returns only when they are there.
    """
    for program in programs.values():
        program()
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            begun = time.perf_counter()
            samples = program()
            rates[name].append(samples / (time.perf_counter() - begun))
    return {name: statistics.median(each) for name, each in rates.items()}
