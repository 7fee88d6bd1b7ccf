"""How a text is to be spoken, and how long a voice is trained: for the API and the command. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InputError

RANGES = {
    "speed": (0.25, 4.0),
    "pitch": (0.5, 2.0),
    "volume": (0.0, 10.0),
    "temperature": (0.0, 2.0),
    "sentence_silence": (0.0, 60.0),
}
DEFAULT_MINUTES = 90.0  # for making a voice of recordings


@dataclass(frozen=True)
class Delivery:
    """Factors of speed, pitch and volume; the seed of the voice's noise; seconds of silence between sentences."""

    speed: float = 1.0
    pitch: float = 1.0
    volume: float = 1.0
    seed: int = 0
    temperature: float | None = None  # None: what the voice was made for
    sentence_silence: float = 0.2

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if value is None and name == "temperature":
                continue
            ordinary = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if not ordinary or not least <= value <= most:
                raise InputError(f"{name} must be a number from {least:g} to {most:g}, got {str(value)[:40]!r}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**64:
            raise InputError(f"seed must be an integer 0..2^64-1, got {str(self.seed)[:40]!r}.")
