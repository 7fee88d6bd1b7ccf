"""How a piece is to be played: checked in one place for the API and the command, before torch is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InputError
from .editing import edited
from .notes import Piece

SAMPLE_RATES = (44_100, 48_000)
RANGES = {"tempo": (0.1, 10.0), "gain": (-60.0, 40.0), "temperature": (0.0, 2.0), "start": (0.0, math.inf)}
MOST_KEYS = 48  # up or down
MOST_HOURS = 6  # a stereo .wav holds 6.7


@dataclass(frozen=True)
class Playing:
    """Factors, keys, seconds of the piece as it is written, decibels, and the seed of the band's noise."""

    tempo: float = 1.0
    transpose: int = 0
    start: float = 0.0
    end: float | None = None
    gain: float = 0.0
    sample_rate: int = SAMPLE_RATES[0]
    seed: int = 0
    temperature: float | None = None  # None: what the band was made for

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if value is not None or name != "temperature":
                _check_number(name, value, least, most)
        if isinstance(self.transpose, bool) or not isinstance(self.transpose, int) or abs(self.transpose) > MOST_KEYS:
            keys = str(self.transpose)[:40]
            raise InputError(
                f"transpose must be a whole number of keys from -{MOST_KEYS} to {MOST_KEYS}, got {keys!r}."
            )
        if self.end is not None:
            _check_number("end", self.end, 0, math.inf)
            if self.end <= self.start:
                raise InputError(f"end must lie behind start, got {self.start:g} s to {self.end:g} s.")
        if self.sample_rate not in SAMPLE_RATES:
            rates = " or ".join(map(str, SAMPLE_RATES))
            raise InputError(f"sample_rate must be {rates}, got {str(self.sample_rate)[:40]!r}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**64:
            raise InputError(f"seed must be an integer 0..2^64-1, got {str(self.seed)[:40]!r}.")

    def edit(self, piece: Piece) -> Piece:
        """The stretch of a piece that is to be played, at its tempo and height."""
        changed = edited(piece, self.tempo, self.transpose, self.start, self.end)
        if changed.seconds > 3600 * MOST_HOURS:
            hours = changed.seconds / 3600
            raise InputError(
                f"the piece lasts {hours:.1f} hours, {MOST_HOURS} are the most: choose a stretch by start and end."
            )
        return changed


def _check_number(name: str, value: object, least: float, most: float) -> None:
    ordinary = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not ordinary or not least <= value <= most:  # type: ignore[operator]
        bounds = f"of at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise InputError(f"{name} must be a number {bounds}, got {str(value)[:40]!r}.")
