"""What a proof said about a kernel on this GPU, and what follows from it for `auto`."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

# What can come of a proof. Only a kernel that passed is used by `auto`, and only where it is faster.
OUTCOMES = {
    "passed": "as close to float64 as PyTorch",
    "wrong": "it computes wrong numbers here",
    "failed": "it failed",
    "crashed": "it crashed",
    "hung": "it did not end",
    "refused": "it cannot run here",
    "unfinished": "its proof did not come to an end",  # which says nothing against it: tried again on another day
}
GOOD = ("passed", "refused")  # after any other, the device may be in a bad state
CURE = "`fastwave doctor --prove` checks again"


class Subject(NamedTuple):
    """What is proved: one kernel of a backend in one dtype."""

    role: str
    backend: str
    kernel: str  # of library.KERNELS, or "stack": the whole residual stack
    dtype: str

    def __str__(self) -> str:
        return " ".join(self)


# In the order in which they are proved, as the time may not reach for all.
SUBJECTS = {
    "generation": (
        Subject("generation", "cuda", "general", "float32"),
        Subject("generation", "cuda", "cluster", "bfloat16"),
        Subject("generation", "cuda", "general", "bfloat16"),
    ),
    "training": (
        Subject("training", "triton", "stack", "float32"),
        Subject("training", "triton", "stack", "bfloat16"),
        Subject("training", "triton", "stack", "tf32"),
    ),
}

PROVED = {subject.backend for subjects in SUBJECTS.values() for subject in subjects}

Rates = dict[str, dict[str, float]]  # case -> backend -> samples a second; the first case decides


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What came of the proof of one subject."""

    outcome: str  # of OUTCOMES
    detail: str  # the figures of a proof that passed; what was wrong with another
    rates: Rates = dataclasses.field(default_factory=dict)
    seconds: float = 0.0  # that the proof took
    made: float = dataclasses.field(default_factory=time.time, compare=False)

    def objection(self, backend: str) -> str:
        """Why `auto` does not use the kernel of this backend; nothing where it does."""
        if self.outcome != "passed":
            return f"{OUTCOMES[self.outcome]}: {self.detail}"
        if not self.rates:
            return "it is right, but was not timed"
        case, mine, other, best = self._race(backend)
        if mine > best:
            return ""
        return f"it is right, but {other} is faster: {best:,.0f} samples/s, and it {mine:,.0f} ({case})"

    def evidence(self, backend: str) -> str:
        """How fast the kernel is beside the best of the others, in one clause."""
        case, mine, other, best = self._race(backend)
        return f"{mine / best:.1f} times as fast as {other} ({case})"

    def _race(self, backend: str) -> tuple[str, float, str, float]:
        """The case that decides, the rate of this backend in it, and the fastest other one with its rate."""
        case, rates = next(iter(self.rates.items()))
        other = max((name for name in rates if name != backend), key=rates.__getitem__)
        return case, rates[backend], other, rates[other]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Any, backend: str) -> Verdict:
        """From JSON that is not trusted; a ValueError says what is wrong with it."""
        if not isinstance(values, Mapping) or set(values) != {field.name for field in dataclasses.fields(cls)}:
            raise ValueError("a verdict has other fields")
        outcome, detail, rates, seconds, made = (values[field.name] for field in dataclasses.fields(cls))
        if not isinstance(outcome, str) or outcome not in OUTCOMES or not isinstance(detail, str):
            raise ValueError("a verdict has another outcome")
        if not _is_rate(seconds) or not _is_rate(made):
            raise ValueError("a time of a verdict is none")
        if not isinstance(rates, Mapping) or not all(_are_rates(each, backend) for each in rates.values()):
            raise ValueError("the rates of a verdict are no rates")
        return cls(outcome, detail, {case: dict(each) for case, each in rates.items()}, seconds, made)


def _is_rate(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _are_rates(values: Any, backend: str) -> bool:
    """At least the backend's own rate and another, all of them finite and above zero."""
    return (
        isinstance(values, Mapping)
        and len(values) > 1
        and backend in values
        and all(_is_rate(rate) and rate > 0 for rate in values.values())
    )


def needed(role: str, backend: str, dtype: str) -> tuple[Subject, ...]:
    """The subjects on which it depends whether `auto` uses a backend in a dtype."""
    return tuple(each for each in SUBJECTS[role] if (each.backend, each.dtype) == (backend, dtype))


class Ruling(NamedTuple):
    """What all verdicts say about a backend in one dtype: why it is not used, or how it is."""

    objection: str  # empty where `auto` uses it
    kernel: str = "auto"  # that an engine is made with
    evidence: str = ""


def rule(verdicts: Mapping[Subject, Verdict], role: str, backend: str, dtype: str) -> Ruling:
    """Of several kernels, those are used that passed and are faster. With "cluster" alone, a model that fits no cluster
    cannot run; the engine then takes another backend.
    """
    subjects = needed(role, backend, dtype)
    objections, good = {}, {}
    for subject in subjects:
        verdict = verdicts.get(subject)
        objection = "it was not proved" if verdict is None else verdict.objection(backend)
        if verdict is None or objection:
            objections[subject.kernel] = objection
        else:
            good[subject.kernel] = verdict.evidence(backend)
    if not good:
        one = len(objections) == 1
        parts = (text if one else f"{kernel} kernel: {text}" for kernel, text in objections.items())
        return Ruling(f"{', '.join(parts)}; {CURE}")
    evidence = ", ".join(text if len(subjects) == 1 else f"{kernel} kernel {text}" for kernel, text in good.items())
    (kernel, *others) = good
    return Ruling("", "auto" if others or role == "training" else kernel, evidence)
