"""What a sound is like, in words, from its measures: the thresholds stand here and nowhere else; numpy only.

`str(verdict.of(wave, sample_rate))` is "silent", "stuck on one sound", "sounds ordinary" and the like.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from . import measures
from .measures import Measures

SILENT_SHARE = 0.95  # from this share of silent frames on a sound is silent
FAINT_DB = -45.0  # a sound whose loud frames are below this level is heard at full volume only
NOISE_VOICED, NOISE_FLATNESS = 0.05, 0.3  # noise is voiced less than this, and its spectrum is flatter
STUCK_SECONDS = 1.0  # no voice or instrument holds one sample value for a second
STUCK_REPETITION = 0.95  # a loop, or one tone
STUCK_SHARE = 0.6  # of the sound without any change
SHORTEST_STUCK = 2.0  # seconds: a shorter sound may well be one note
CLIPPED_RUNS = 1.0  # a second

ORDINARY = "sounds ordinary"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is wrong with a sound, the worst first; nothing where it sounds ordinary."""

    problems: tuple[str, ...]

    @property
    def ordinary(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        return "; ".join(self.problems) or ORDINARY


def of(wave: NDArray[np.floating], sample_rate: int) -> Verdict:
    """Judge wave [time], full scale 1: 3 seconds take less than 0.3 s."""
    return of_measures(measures.of(wave, sample_rate))


def of_measures(measured: Measures) -> Verdict:
    """Judge a sound by its measures."""
    if measured.silent_share >= SILENT_SHARE:
        return Verdict(("silent",))
    problems = []
    if measured.voiced_share < NOISE_VOICED and measured.flatness > NOISE_FLATNESS:
        problems.append("noise: no pitch and a flat spectrum")
    elif _is_stuck(measured):
        problems.append("stuck on one sound")
    if measured.clipped_runs >= max(1.0, CLIPPED_RUNS * measured.seconds):
        problems.append("clipped")
    if measured.loud_db < FAINT_DB:
        problems.append("very quiet")
    return Verdict(tuple(problems))


def _is_stuck(measured: Measures) -> bool:
    if measured.held_seconds >= STUCK_SECONDS:
        return True
    unchanging = measured.repetition >= STUCK_REPETITION or measured.steady_share >= STUCK_SHARE
    return measured.seconds >= SHORTEST_STUCK and unchanging
