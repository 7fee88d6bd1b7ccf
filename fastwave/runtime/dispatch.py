"""The only place that chooses a backend, and says why."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import warnings
from typing import Literal

import torch

from ..errors import BackendUnavailable, FastwaveError, InputError, did_you_mean
from . import library, proving
from .verdict import PROVED

Role = Literal["training", "generation"]

# In the order `auto` prefers them.
CANDIDATES: dict[Role, tuple[str, ...]] = {
    "training": ("triton", "cpu", "reference"),
    "generation": ("cuda", "cpu", "reference"),
}
ENVIRONMENT = "FASTWAVE_BACKEND"  # stands in for `auto`
SLOW = (
    "fastwave has no native library here and computes with the reference alone, 10 to 100 times slower: install a C++ "
    "compiler, then reinstall fastwave."
)


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
    kernel: str = "auto"  # of generation on a GPU: of library.KERNELS


# The dtypes of each, the first by default. In training those of products; the reference trains in whatever torch does.
DTYPES: dict[Role, dict[str, tuple[str, ...]]] = {
    "generation": {
        "cuda": ("float32", "bfloat16"),
        "cpu": ("float32", "bfloat16", "int8"),
        "reference": ("float32", "float64", "bfloat16"),
    },
    "training": {
        "triton": ("float32", "tf32", "bfloat16"),
        "cpu": ("float32", "bfloat16"),
        "reference": ("float32", "tf32", "bfloat16", "float64", "float16"),
    },
}
DEVICES = {"triton": "cuda", "cpu": "cpu"}  # where the tensors of training must be

# What computes the head and its loss in training: by backend, by output, by dtype of the head's weights.
_PYTORCH = {"float32": "PyTorch", "bfloat16": "PyTorch"}
HEADS: dict[str, dict[str, dict[str, str]]] = {
    "triton": dict.fromkeys(("categorical", "mixture-of-logistics", "gaussian"), _PYTORCH),
    "cpu": dict.fromkeys(("categorical", "mixture-of-logistics", "gaussian"), _PYTORCH | {"float32": "C++"}),
    "reference": dict.fromkeys(
        ("categorical", "mixture-of-logistics", "gaussian"), _PYTORCH | {"float64": "PyTorch", "float16": "PyTorch"}
    ),
}


def _why_not(role: Role, name: str, dtype: str | None = None, device: str | None = None) -> str:
    reason = _missing(role, name)
    if not reason and role == "training" and device is not None and DEVICES.get(name, device) != device:
        reason = f"its tensors must be on {DEVICES[name]}, these are on {device}"
    if not reason and dtype is not None and dtype not in DTYPES[role][name]:
        reason = f"it does not compute in {dtype}, but in {', '.join(DTYPES[role][name])}"
    return reason


def _missing(role: Role, name: str) -> str:
    if name == "cpu":
        return library.missing("cpu") or ""
    if name == "triton":
        return _no_triton()
    if name == "cuda":
        return library.missing("cuda") or library.no_cuda_device() or _no_torch_cuda()
    return ""


@functools.cache
def _no_triton() -> str:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed: pip install 'fastwave[triton]' on Linux with an NVIDIA GPU"
    return "" if torch.cuda.is_available() else "torch sees no CUDA GPU here"


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


def choose(
    role: Role,
    name: str = "auto",
    dtype: str | None = None,
    device: str | None = None,
    *,
    may_prove: bool = True,
    passed_over: tuple[str, str] | None = None,
) -> Choice:
    """The backend for a role. `auto` takes the fastest that can do it in this dtype, and in training on tensors of this
    device; a named one never falls back.

    `auto` uses a kernel of a GPU where it was proved right and faster there. The first to choose has it proved, unless
    `may_prove` is false or it is not known yet where the tensors of training are. `passed_over`: a backend that `auto`
    is not to take, and why.
    """
    known = sorted({each for dtypes in DTYPES[role].values() for each in dtypes})
    if dtype is not None and dtype not in known:
        raise InputError(f"dtype {dtype!r} is not known; choose one of {', '.join(known)}.")
    if name == "auto":
        name = _from_environment(role)
    if name != "auto":
        return _named(role, name, dtype, device)
    prove = may_prove and (role == "generation" or device is not None)
    reasons: list[str] = []
    for candidate in CANDIDATES[role]:
        reason, kernel, evidence = _why_not(role, candidate, dtype, device), "auto", ""
        if passed_over is not None and candidate == passed_over[0]:
            reason = reason or passed_over[1]
        if not reason and candidate in PROVED:
            reason, kernel, evidence = proving.ruling(role, candidate, dtype or DTYPES[role][candidate][0], prove)
        if not reason:
            if candidate == "reference" and may_prove:
                _warn_of_slowness()
            taken = "auto took the fastest available" + (f", proved here: {evidence}" if evidence else "")
            return Choice(candidate, "; ".join([taken, *reasons]), kernel)
        reasons.append(f"{candidate}: {reason}")
    # the reference is always available, but not in every dtype
    raise BackendUnavailable(f"no backend here does {role} in {dtype}: {'; '.join(reasons)}. Use another dtype.")


def choices() -> dict[tuple[Role, str], Choice]:
    """What `auto` takes here as things are known now: in generation by dtype, in training where its tensors are."""
    wanted: list[tuple[Role, str | None, str | None]] = [
        ("generation", dtype, None) for dtype in DTYPES["generation"]["cpu"]
    ]
    wanted += [("training", None, device) for device in ("cpu", "cuda")[: 1 + torch.cuda.is_available()]]
    found: dict[tuple[Role, str], Choice] = {}
    for role, dtype, device in wanted:
        try:
            choice = choose(role, "auto", dtype, device, may_prove=False)
        except FastwaveError as error:  # FASTWAVE_BACKEND names one that cannot run
            choice = Choice("none", str(error))
        found[role, dtype or f"on {device}"] = choice
    return found


@functools.cache
def _warn_of_slowness() -> None:
    """Once a process, where `auto` has nothing but the reference: the package was installed without a compiler."""
    if reason := library.missing("cpu"):
        warnings.warn(f"{SLOW} ({reason})", RuntimeWarning, stacklevel=4)


def head_computed_by(backend: str, output: str, dtype: str = "float32") -> str:
    """C++ or PyTorch: what computes the head and its loss in training, the same on every machine."""
    by_dtype = HEADS.get(backend, {}).get(output, {})
    if dtype not in by_dtype:
        able = [name for name, outputs in HEADS.items() if dtype in outputs.get(output, {})]
        cure = f"Use backend={able[-1]!r}." if able else "No backend does."
        raise BackendUnavailable(f"{backend}: it computes no head of a {output} output in {dtype}. {cure}")
    return by_dtype[dtype]


# What torch.compiler.assume_constant_result does, without importing the compiler, which takes a second.
choose._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _from_environment(role: Role) -> str:
    wanted = os.environ.get(ENVIRONMENT, "") or "auto"
    known = {"auto"}.union(*CANDIDATES.values())
    if wanted not in known:
        raise InputError(f"{ENVIRONMENT}={wanted} is not a backend; choose one of {', '.join(sorted(known))}.")
    return wanted if wanted in CANDIDATES[role] else "auto"  # FASTWAVE_BACKEND=cuda says nothing about training


def _named(role: Role, name: str, dtype: str | None, device: str | None) -> Choice:
    if name not in CANDIDATES[role]:
        raise InputError(
            f"{role} backend {name!r} is not known; choose auto or one of {', '.join(CANDIDATES[role])}."
            f"{did_you_mean(name, ('auto', *CANDIDATES[role]))}"
        )
    reason = _why_not(role, name, dtype, device)
    if reason:
        usable = [other for other in CANDIDATES[role] if not _why_not(role, other, dtype, device)]
        raise BackendUnavailable(f"{name}: {reason.rstrip('.')}. Use backend={usable[0]!r}, or backend='auto'.")
    return Choice(name, "asked for by name")
