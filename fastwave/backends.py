"""The only place that chooses a backend, and says why."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Literal

from torch import Tensor

from . import reference
from .errors import BackendUnavailable, InputError

Role = Literal["training", "generation"]

# In the order `auto` prefers them.
CANDIDATES: dict[Role, tuple[str, ...]] = {
    "training": ("triton", "cpu", "reference"),
    "generation": ("cuda", "cpu", "reference"),
}
ENVIRONMENT = "FASTWAVE_BACKEND"  # stands in for `auto`


@dataclasses.dataclass(frozen=True)
class Status:
    """Whether one backend can run here in one role; `reason` says why not, and is empty when it can."""

    role: Role
    name: str
    reason: str

    @property
    def available(self) -> bool:
        """True when there is no reason against it."""
        return not self.reason


@dataclasses.dataclass(frozen=True)
class Choice:
    """The backend that will run, and in one sentence why it is that one."""

    name: str
    why: str


def _why_not(role: Role, name: str) -> str:
    if name == "reference":
        return ""
    kernels = {"training": "training kernels", "generation": "generation engine"}[role]
    return f"this version of fastwave has no {name} {kernels} yet"


def backends() -> list[Status]:
    """Every backend in every role: what is available, and why something is not."""
    return [Status(role, name, _why_not(role, name)) for role, names in CANDIDATES.items() for name in names]


def choose(role: Role, name: str = "auto") -> Choice:
    """The backend for a role. `auto` takes the fastest that is available; a named one never falls back."""
    if name == "auto":
        name = _from_environment(role)
    if name != "auto":
        return _named(role, name)
    passed_over: list[str] = []
    for candidate in CANDIDATES[role]:
        reason = _why_not(role, candidate)
        if not reason:
            return Choice(candidate, "; ".join(["auto took the fastest available", *passed_over]))
        passed_over.append(f"{candidate}: {reason}")
    raise AssertionError("the reference is always available")


def _from_environment(role: Role) -> str:
    wanted = os.environ.get(ENVIRONMENT, "") or "auto"
    known = {"auto"}.union(*CANDIDATES.values())
    if wanted not in known:
        raise InputError(f"{ENVIRONMENT}={wanted} is not a backend; choose one of {', '.join(sorted(known))}.")
    return wanted if wanted in CANDIDATES[role] else "auto"  # FASTWAVE_BACKEND=cuda says nothing about training


def _named(role: Role, name: str) -> Choice:
    if name not in CANDIDATES[role]:
        raise InputError(f"{role} backend {name!r} is not known; choose auto or one of {', '.join(CANDIDATES[role])}.")
    reason = _why_not(role, name)
    if reason:
        usable = [other for other in CANDIDATES[role] if not _why_not(role, other)]
        raise BackendUnavailable(f"{name}: {reason}. Use backend={usable[0]!r}, or backend='auto'.")
    return Choice(name, "asked for by name")


def residual_stack(name: str) -> Callable[..., tuple[Tensor, list[Tensor]]]:
    """The function with the signature of `reference.residual_stack` that trains on this backend."""
    return {"reference": reference.residual_stack}[name]
