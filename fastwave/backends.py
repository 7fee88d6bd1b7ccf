"""The only place that chooses a backend, and says why."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from . import native, reference
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


# What each generates in, the first by default.
DTYPES: dict[str, tuple[str, ...]] = {
    "cuda": ("float32", "bfloat16"),
    "cpu": ("float32", "bfloat16", "int8"),
    "reference": ("float32", "float64", "bfloat16"),
}


def _why_not(role: Role, name: str, dtype: str | None = None) -> str:
    if name == "reference" or (role, name) == ("generation", "cpu"):
        reason = (native.missing("cpu") or "") if name == "cpu" else ""
    elif (role, name) == ("generation", "cuda"):
        reason = native.missing("cuda") or native.no_cuda_device() or _no_torch_cuda()
    else:
        kernels = {"training": "training kernels", "generation": "generation engine"}[role]
        reason = f"this version of fastwave has no {name} {kernels} yet"
    if not reason and dtype is not None and dtype not in DTYPES[name]:
        reason = f"it does not compute in {dtype}, but in {', '.join(DTYPES[name])}"
    return reason


def _no_torch_cuda() -> str:
    """Why torch cannot hold a state on a GPU that the native library sees; empty when it can."""
    if torch.cuda.is_available():
        return ""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA; install one with it"
    return f"torch {torch.__version__} sees no GPU: its CUDA {torch.version.cuda} may be newer than the driver"


def backends() -> list[Status]:
    """Every backend in every role: what is available, and why something is not."""
    return [Status(role, name, _why_not(role, name)) for role, names in CANDIDATES.items() for name in names]


def choose(role: Role, name: str = "auto", dtype: str | None = None) -> Choice:
    """The backend for a role. `auto` takes the fastest that can do it in this dtype; a named one never falls back."""
    if dtype is not None and not any(dtype in known for known in DTYPES.values()):
        known = sorted({each for dtypes in DTYPES.values() for each in dtypes})
        raise InputError(f"dtype {dtype!r} is not known; choose one of {', '.join(known)}.")
    if name == "auto":
        name = _from_environment(role)
    if name != "auto":
        return _named(role, name, dtype)
    passed_over: list[str] = []
    for candidate in CANDIDATES[role]:
        reason = _why_not(role, candidate, dtype)
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


def _named(role: Role, name: str, dtype: str | None) -> Choice:
    if name not in CANDIDATES[role]:
        raise InputError(f"{role} backend {name!r} is not known; choose auto or one of {', '.join(CANDIDATES[role])}.")
    reason = _why_not(role, name, dtype)
    if reason:
        usable = [other for other in CANDIDATES[role] if not _why_not(role, other, dtype)]
        raise BackendUnavailable(f"{name}: {reason}. Use backend={usable[0]!r}, or backend='auto'.")
    return Choice(name, "asked for by name")


def residual_stack(name: str) -> Callable[..., tuple[Tensor, list[Tensor]]]:
    """The function with the signature of `reference.residual_stack` that trains on this backend."""
    return {"reference": reference.residual_stack}[name]
