"""Hyper-parameters of a checkpoint: what its shapes cannot tell. None is guessed: a missing one is refused by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import CheckpointError
from .notes import Notes

_MOST_NUMBERS = 10_000
_ABSENT: Any = object()


class Hyperparameters:
    """Values by name, from several places of which later ones win: `places` are (where it is, its values)."""

    def __init__(
        self, places: Iterable[tuple[str, Mapping[str, Any]]], notes: Notes, sample_rate: int | None = None
    ) -> None:
        self._places = list(places)
        self._notes = notes
        self._sample_rate = sample_rate

    def __contains__(self, key: str) -> bool:
        return self._find(key)[1] is not _ABSENT

    def get(self, key: str, otherwise: Any = None) -> Any:
        """A value as it stands."""
        value = self._find(key)[1]
        return otherwise if value is _ABSENT else value

    def integer(self, key: str, low: int = 1, high: int = 2**31, assumed: int | None = None, why: str = "") -> int:
        """A whole number. `assumed` is taken where it is missing, and the report says so and `why`."""
        where, value = self._value(key, "a whole number", assumed, why)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._wrong(where, key, f"a whole number {low}..{high}", value)
        return value

    def number(self, key: str, assumed: float | None = None, why: str = "") -> float:
        """A finite number."""
        where, value = self._value(key, "a number", assumed, why)
        if not _is_finite(value):
            raise self._wrong(where, key, "a number", value)
        return float(value)

    def flag(self, key: str, assumed: bool | None = None, why: str = "") -> bool:
        """True or false."""
        where, value = self._value(key, "true or false", assumed, why)
        if value not in (True, False):
            raise self._wrong(where, key, "true or false", value)
        return bool(value)

    def text(self, key: str, choices: Sequence[str] = (), assumed: str | None = None, why: str = "") -> str:
        """A text, one of `choices` where there are some."""
        expected = f"one of {', '.join(choices)}" if choices else "a text"
        where, value = self._value(key, expected, assumed, why)
        if not isinstance(value, str) or (choices and value not in choices):
            raise self._wrong(where, key, expected, value)
        return value

    def numbers(self, key: str, assumed: Sequence[float] | None = None, why: str = "") -> tuple[float, ...]:
        """A list of finite numbers."""
        where, value = self._value(key, "a list of numbers", assumed, why)
        usable = isinstance(value, (list, tuple)) and len(value) <= _MOST_NUMBERS
        if not usable or not all(map(_is_finite, value)):
            raise self._wrong(where, key, "a list of numbers", value)
        return tuple(value)

    def integers(self, key: str, assumed: Sequence[int] | None = None, why: str = "") -> tuple[int, ...]:
        """A list of whole numbers."""
        values = self.numbers(key, assumed, why)
        if not all(float(value).is_integer() for value in values):
            raise self._wrong(self._find(key)[0], key, "a list of whole numbers", values)
        return tuple(int(value) for value in values)

    def stacks(self, layers: int) -> int:
        """In how many stacks of equal length the layers are, each of which begins with a dilation of 1."""
        stacks = self.integer("stacks", 1, layers)
        if layers % stacks or layers // stacks > 24:
            raise CheckpointError(
                f"stacks = {stacks} does not divide the {layers} layers: give the number it was made with."
            )
        return stacks

    def sample_rate(self, *keys: str) -> int:
        """The first of the keys that is there, else --sample-rate; the two must not contradict each other."""
        for key in keys:
            if key in self and self.get(key) is not None:
                rate = self.integer(key, 1, 768_000)
                if self._sample_rate not in (None, rate):
                    raise CheckpointError(
                        f"--sample-rate is {self._sample_rate}, but {key} is {rate} in {self._find(key)[0]}: leave the "
                        f"one out, or give --set {key}={self._sample_rate}."
                    )
                return rate
        if self._sample_rate is not None:
            return self._sample_rate
        raise CheckpointError(
            "the checkpoint does not say its sample rate, and neither does a file beside it: give --sample-rate"
            + (f", or --set {keys[0]}=..." if keys else "")
            + " (sample_rate= of import_model)."
        )

    def expect(self, key: str, actual: Any, tensor: str) -> None:
        """Refuse a value that contradicts what the shape of a tensor says."""
        where, value = self._find(key)
        if value is _ABSENT or value is None:
            return
        same = (
            list(value) == list(actual) if isinstance(value, (list, tuple)) and actual is not None else value == actual
        )
        if not same:
            raise CheckpointError(
                f"{key} is {str(value)[:80]} in {where}, but the shape of {tensor} says {str(actual)[:80]}: these are "
                "the hyper-parameters of another model."
            )

    def _check_against_checkpoint(self, key: str, where: str, value: Any) -> None:
        """Refuse a value that contradicts what the checkpoint itself, the first place, says."""
        inside, said = self._find(key, self._places[:1])
        if said is not _ABSENT and said is not None and said != value:
            raise CheckpointError(
                f"{key} is {str(value)[:80]} in {where}, but {str(said)[:80]} in {inside}, the checkpoint itself: "
                "these are the hyper-parameters of another model."
            )

    def _find(self, key: str, places: Sequence[tuple[str, Mapping[str, Any]]] | None = None) -> tuple[str, Any]:
        """Where a value stands, and the value. A dotted key may stand in nested dictionaries."""
        for where, values in reversed(self._places if places is None else places):
            if key in values:
                return where, values[key]
            value: Any = values
            for part in key.split("."):
                value = value.get(part, _ABSENT) if isinstance(value, Mapping) else _ABSENT
            if value is not _ABSENT:
                return where, value
        return "", _ABSENT

    def _value(self, key: str, expected: str, assumed: Any, why: str) -> tuple[str, Any]:
        where, value = self._find(key)
        if value is not _ABSENT and value is not None:
            self._check_against_checkpoint(key, where, value)
            return where, value
        if assumed is None:
            places = ", ".join(where for where, values in self._places if values) or "no file"
            raise CheckpointError(
                f"the hyper-parameter {key!r} ({expected}) is missing, and the shapes of the tensors do not tell it "
                f"(looked in {places[:300]}): give --set {key}=..., or --hparams FILE."
            )
        self._notes.assume(f"{key} = {assumed}" + (f": {why}" if why else ""))
        return "what was assumed", assumed

    def _wrong(self, where: str, key: str, expected: str, value: Any) -> CheckpointError:
        return CheckpointError(f"{key} in {where} must be {expected}, got {str(value)[:80]!r}.")


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 2**64 if isinstance(value, int) else math.isfinite(value)
