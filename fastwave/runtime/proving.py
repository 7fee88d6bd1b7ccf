"""Once for each GPU, driver, version and dtype: have the kernels proved, keep the verdicts, and rule by them.

The first process to need a verdict proves, and the others wait for it. Nothing that happens here stops the caller:
where no verdict can be had, the ruling says why, and `auto` takes another backend.
"""

from __future__ import annotations

import contextlib
import io
import sys
import threading
import time
from collections.abc import Mapping
from typing import IO

import torch.distributed as distributed

from . import gpu, kept
from .prover import FULL, QUICK, Prover
from .verdict import CURE, SUBJECTS, Ruling, Subject, Verdict, needed, rule

if sys.platform != "win32":  # which has no such locks: there, two processes prove at the same time
    import fcntl

PROVER = Prover(QUICK, "quick")
THOROUGH_PROVER = Prover(FULL, "full")
NOT_SHARED = "its verdict cannot be kept, so the processes of torchrun cannot share one: make the cache folder writable"
WAIT_SECONDS = 60.0  # for the verdict of another process
_POLL_SECONDS = 0.1

Verdicts = dict[Subject, Verdict]

_known: dict[tuple[tuple[Subject, ...], int], Verdicts | str] = {}  # in this process; or why there are none
_one_at_a_time = threading.Lock()


def ruling(role: str, backend: str, dtype: str, may_prove: bool) -> Ruling:
    """Whether `auto` may use a backend on torch's current GPU in this dtype. Without a verdict yet, its kernels are
    proved first, if they may be.
    """
    subjects = needed(role, backend, dtype)
    try:
        device = gpu.current_device()
        found = _known.get((subjects, device)) or _find(subjects, device, may_prove)
    except (OSError, RuntimeError) as error:  # also FastwaveErrors of the native library, and torch's of CUDA
        found = f"its GPU cannot be identified: {error}"
    return Ruling(found) if isinstance(found, str) else rule(found, role, backend, dtype)


def prove_again(role: str, quick: bool = False) -> Verdicts:
    """Prove every dtype, whatever is known already, and keep the verdicts: in full, or as on first use."""
    device = gpu.current_device()
    identity = gpu.identity(role, device)
    groups = [needed(role, *each) for each in dict.fromkeys((each.backend, each.dtype) for each in SUBJECTS[role])]
    verdicts: Verdicts = {}
    for subjects in groups if quick else [SUBJECTS[role]]:
        verdicts |= (PROVER if quick else THOROUGH_PROVER).prove(subjects, device)
    kept.write(identity, verdicts)
    for subjects in groups:  # known here even where they cannot be kept
        _known[subjects, device] = {subject: verdicts[subject] for subject in subjects}
    return verdicts


def forget() -> None:
    """Ask the kept verdicts again."""
    _known.clear()


def _find(subjects: tuple[Subject, ...], device: int, may_prove: bool) -> Verdicts | str:
    with _one_at_a_time:
        if (subjects, device) in _known:
            return _known[subjects, device]
        identity = gpu.identity(subjects[0].role, device)
        found: Verdicts | str = _kept(identity, subjects)
        if not found and not may_prove:
            return f"not proved on this {identity['device']} yet: first use proves it, or fastwave doctor --prove"
        if not found:
            find = _from_first_process if _local_rank() else _prove_once
            found = find(identity, subjects, device)
        _known[subjects, device] = found
        return found


def _kept(identity: Mapping[str, str], subjects: tuple[Subject, ...]) -> Verdicts:
    """The verdicts on these subjects; empty unless all are there."""
    verdicts = kept.read(identity)
    return {subject: verdicts[subject] for subject in subjects} if set(subjects) <= set(verdicts) else {}


def _prove_once(identity: Mapping[str, str], subjects: tuple[Subject, ...], device: int) -> Verdicts | str:
    """Prove while no other process of this user does; the verdict of one that did is taken."""
    try:
        lock = _open_lock(identity)
    except (OSError, RuntimeError):  # nowhere to keep a verdict
        return NOT_SHARED if _under_torchrun() else _prove(identity, subjects, device)
    with lock:
        if not _take(lock.fileno()):
            return f"another process has been proving it for {WAIT_SECONDS:g} s; {CURE}"
        return _kept(identity, subjects) or _prove(identity, subjects, device)


def _prove(identity: Mapping[str, str], subjects: tuple[Subject, ...], device: int) -> Verdicts | str:
    role, dtype = subjects[0].role, subjects[0].dtype
    with contextlib.suppress(OSError, ValueError):  # standard error may be closed
        print(
            f"fastwave: first {role} in {dtype} on this {identity['device']}: its kernels are checked once, in a "
            f"process of their own, for up to {QUICK.total:g} s ...",
            file=sys.stderr or io.StringIO(),
            flush=True,
        )
    before = kept.read(identity)
    verdicts = PROVER.prove([subject for subject in subjects if subject not in before], device)
    written = kept.write(identity, verdicts)
    verdicts |= {subject: before[subject] for subject in subjects if subject in before}
    return verdicts if written or not _under_torchrun() else NOT_SHARED


def _from_first_process(identity: Mapping[str, str], subjects: tuple[Subject, ...], device: int) -> Verdicts | str:
    """Under torchrun: what the first process of this machine has found."""
    try:
        _open_lock(identity).close()
    except (OSError, RuntimeError):
        return NOT_SHARED
    end = time.monotonic() + WAIT_SECONDS
    while not (found := _kept(identity, subjects)):
        if time.monotonic() > end:
            return f"the first process of torchrun on this machine left no verdict within {WAIT_SECONDS:g} s; {CURE}"
        time.sleep(_POLL_SECONDS)
    return found


def _under_torchrun() -> bool:
    return distributed.is_available() and distributed.is_torchelastic_launched()


def _local_rank() -> int:
    """Which of torchrun's processes on this machine this is; 0 elsewhere."""
    return distributed.get_node_local_rank(0) if _under_torchrun() else 0


def _open_lock(identity: Mapping[str, str]) -> IO[str]:
    path = kept.path_of(identity)
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path.with_suffix(".lock"), "a")


def _take(descriptor: int) -> bool:
    """Lock a file that this process has open, for as long as it is; False where another process keeps it too long."""
    if sys.platform == "win32":
        return True
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(_POLL_SECONDS)
        except OSError:  # a network folder without locks: better to prove twice than not at all
            return True
