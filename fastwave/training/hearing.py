"""Levels of a sample in numbers, and what is wrong with it in words."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..sound import verdict
from ..sound.plots import MINUS, Array

STUCK_CHARACTERS = 200  # of one kind


class Levels(NamedTuple):
    """Of a sound, in dB from full scale, where a square wave of 1 has an RMS of 0 dB."""

    peak_db: float
    rms_db: float
    clipped: float  # share of samples at full scale

    def __str__(self) -> str:
        parts = (f"peak {_decibels(self.peak_db)}", f"RMS {_decibels(self.rms_db)}", f"{self.clipped:.2%} clipped")
        return "silence" if self.peak_db == -math.inf else ", ".join(parts)


def levels(wave: Array) -> Levels:
    """The levels of a sound [T]; nothing at all is silence."""
    if not len(wave):
        return Levels(-math.inf, -math.inf, 0.0)
    loud = np.abs(wave)
    peak, rms = (20 * math.log10(each) if each else -math.inf for each in (loud.max(), math.sqrt((wave**2).mean())))
    return Levels(peak, rms, float((loud >= 1 - 2**-14).mean()))


def problems(wave: Array, sample_rate: int) -> tuple[str, ...]:
    """What is wrong with a sound; nothing where it sounds ordinary."""
    return verdict.of(wave, sample_rate).problems if len(wave) else ("silent",)


def problems_of_text(text: str) -> tuple[str, ...]:
    """What is wrong with a text."""
    if not text.strip():
        return ("empty",)
    end = text[-STUCK_CHARACTERS:]
    return ("stuck on one character",) if len(end) == STUCK_CHARACTERS and len(set(end)) == 1 else ()


def _decibels(value: float) -> str:
    return f"{value:.1f} dB".replace("-", MINUS)
