"""The values of SSML's prosody, emphasis and break as factors, marks and seconds."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from fastwave.speech.phones import SILENCE

Note = Callable[[str], None]
RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "default": 1.0, "fast": 1.3, "x-fast": 1.7}
PITCHES = {"x-low": 0.75, "low": 0.88, "medium": 1.0, "default": 1.0, "high": 1.14, "x-high": 1.3}
VOLUMES = {"silent": 0.0, "x-soft": 0.25, "soft": 0.5, "medium": 1.0, "default": 1.0, "loud": 1.4, "x-loud": 2.0}
BOUNDS = {"rate": (0.25, 4.0), "pitch": (0.5, 2.0), "volume": (0.0, 4.0)}
PAUSES: dict[str, tuple[str, float | None]] = {
    "none": ("", None),
    "x-weak": ("", None),
    "weak": (",", None),
    "medium": (",", None),
    "strong": (SILENCE, 0.6),
    "x-strong": (SILENCE, 1.0),
}
LONGEST_PAUSE = 60.0  # seconds


@dataclass(frozen=True)
class Prosody:
    """Factors, 1 for none."""

    rate: float = 1.0
    pitch: float = 1.0
    volume: float = 1.0

    def within(self, inner: Prosody) -> Prosody:
        factors = {name: getattr(self, name) * getattr(inner, name) for name in BOUNDS}
        return Prosody(**{name: min(max(factors[name], low), high) for name, (low, high) in BOUNDS.items()})


PLAIN = Prosody()
EMPHASIS = {
    "strong": Prosody(0.88, 1.08, 1.3),
    "moderate": Prosody(0.93, 1.05, 1.15),
    "reduced": Prosody(1.1, 0.97, 0.85),
    "none": PLAIN,
}


def prosody(attributes: dict[str, str], note: Note) -> Prosody:
    factors = {}
    for name, text in attributes.items():
        factor = None
        if name in BOUNDS:
            factor = _factor(name, text.strip().lower())
        if factor is None:
            note(f'<prosody {name}="{text}"> is not understood and has no effect')
        else:
            factors[name] = factor
    return Prosody(**factors)


def _factor(name: str, text: str) -> float | None:
    """x-slow, 120%, +20%, 1.2, +2st, +6dB."""
    names = {"rate": RATES, "pitch": PITCHES, "volume": VOLUMES}[name]
    if text in names:
        return names[text]
    number = re.fullmatch(r"([+-]?)(\d{1,6}(?:\.\d{1,9})?|\.\d{1,9})(%|st|db)?", text)
    if not number:
        return None
    sign, digits, unit = number.groups()
    value = float(sign + digits)
    if unit == "st":
        return float(2 ** (max(-48.0, min(value, 48.0)) / 12)) if name == "pitch" else None
    if unit == "db":
        return float(10 ** (max(-120.0, min(value, 40.0)) / 20)) if name == "volume" else None
    if unit == "%":
        return max(0.0, 1 + value / 100) if sign else value / 100
    if name == "pitch" or sign:
        return None
    return value / 100 if name == "volume" else value


def emphasis(attributes: dict[str, str], note: Note) -> Prosody:
    level = attributes.get("level", "moderate")
    if level not in EMPHASIS:
        note(f'<emphasis level="{level}"> is not understood and has no effect')
    return EMPHASIS.get(level, PLAIN)


def pause(attributes: dict[str, str], note: Note) -> tuple[str, float | None]:
    """The mark of a break, "" for none, and its seconds where they are given."""
    time = attributes.get("time")
    if time is not None:
        number = re.fullmatch(r"\s*\+?(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})\s*(ms|s)\s*", time.lower())
        if number:
            seconds = float(number[1]) / (1000 if number[2] == "ms" else 1)
            if seconds > LONGEST_PAUSE:
                note(f'<break time="{time}"> is shortened to {LONGEST_PAUSE:g} s')
            return SILENCE, min(seconds, LONGEST_PAUSE)
        note(f'<break time="{time}"> is not understood: write 500ms or 1.5s')
    strength = attributes.get("strength", "medium")
    if strength not in PAUSES:
        note(f'<break strength="{strength}"> is not understood and counts as medium')
    return PAUSES.get(strength, PAUSES["medium"])
