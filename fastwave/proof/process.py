"""The process of a proof: runs the candidates that `runtime.prover` asks for, and says what came of each."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import IO, Any

import torch

from ..errors import BackendUnavailable
from ..runtime.verdict import GOOD, Rates, Subject
from .candidates import Candidate, candidate
from .closeness import NotProved

_LONGEST_DETAIL = 500  # a compiler's message may have pages
_GRACE_SECONDS = 5.0  # after the time that the parent gives


def main(arguments: Sequence[str], make: Callable[[Subject, str], Candidate] = candidate) -> None:
    """arguments: seconds, device, depth, and subjects in words. One line of JSON for each, after one for the start."""
    seconds, device, depth, *names = arguments
    lines = _take_standard_output()
    _end_after(float(seconds) + _GRACE_SECONDS)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(device))
    _say(lines, {})
    for name in names:
        outcome, detail, rates = prove(Subject(*name.split()), depth, make)
        _say(lines, {"outcome": outcome, "detail": " ".join(detail.split())[:_LONGEST_DETAIL], "rates": rates})
        if outcome not in GOOD:
            return


def prove(subject: Subject, depth: str, make: Callable[[Subject, str], Candidate]) -> tuple[str, str, Rates]:
    """Outcome, detail and rates of a verdict."""
    try:
        wanted = make(subject, depth)
        figures = [check() for check in wanted.checks]
        return "passed", figures[-1], wanted.contest()
    except NotProved as error:
        return "wrong", str(error), {}
    except BackendUnavailable as error:
        return "refused", str(error), {}
    except torch.OutOfMemoryError as error:  # another program may hold the memory of the device
        return "unfinished", f"the GPU had no room: {error}", {}
    except Exception as error:  # whatever it is, it is said and the process ends
        return "failed", f"{type(error).__name__}: {error}", {}


def _take_standard_output() -> IO[str]:
    """The parent reads it; whatever else prints here, compilers and drivers, prints to standard error from now on."""
    lines = os.fdopen(os.dup(1), "w")
    sys.stdout.flush()
    os.dup2(2, 1)
    return lines


def _say(lines: IO[str], values: dict[str, Any]) -> None:
    lines.write(json.dumps(values) + "\n")
    lines.flush()


def _end_after(seconds: float) -> None:
    """By the system's own alarm, which also ends a process that hangs in native code when its parent is gone."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
