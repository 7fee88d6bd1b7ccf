"""Runs proofs in processes of their own, with time limits: a hang, a crash or a broken CUDA context stays there.

A process proves one subject after the other, and says on its standard output when each begins and what came of it, a
line of JSON each. After any verdict but a good one the process is replaced: what it did to the device ends with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import IO, Any

from .verdict import GOOD, Subject, Verdict

# The path of this process goes first, so that the new one imports the same fastwave, and nothing from its folder.
_START = (
    "import sys; sys.path[:] = sys.argv[1].split('\\n'); del sys.argv[1]; from fastwave.proof.process import main; "
    "main(sys.argv[1:])"
)
OVER = "the {:g} s for all proofs were over"
_END_SECONDS = 5.0  # that a killed process has to end; one that is stuck in the driver may not


@dataclasses.dataclass(frozen=True)
class Limits:
    """Seconds after which a proof is given up."""

    start: float  # of a process, until it has imported torch
    subject: float  # of one subject
    compiled: float  # of one whose kernels are compiled first, 0.5 to 2 s each
    total: float  # of all

    def of(self, subject: Subject) -> float:
        """For one subject."""
        return self.compiled if subject.backend == "triton" else self.subject


QUICK = Limits(start=20, subject=18, compiled=28, total=28)  # on first use: under 30 s with the ends of processes
FULL = Limits(start=60, subject=150, compiled=600, total=1800)  # `fastwave doctor --prove`


@dataclasses.dataclass(frozen=True)
class Prover:
    """How proofs are run. `command` starts a process; it is called with its time limit, device, depth and subjects."""

    limits: Limits
    depth: str  # quick or full: of `fastwave.proof.candidates`
    command: Sequence[str] = ()  # by default this Python, on `fastwave.proof.process`

    def prove(self, subjects: Sequence[Subject], device: int) -> dict[Subject, Verdict]:
        """A verdict on each. Never raises for anything that a proof does."""
        end = time.monotonic() + self.limits.total
        verdicts: dict[Subject, Verdict] = {}
        while missing := [subject for subject in subjects if subject not in verdicts]:
            left = end - time.monotonic()
            if left <= 0:
                late = Verdict("unfinished", OVER.format(self.limits.total))
                return verdicts | dict.fromkeys(missing, late)
            verdicts |= self._in_one_process(missing, device, end)
        return verdicts

    def _in_one_process(self, subjects: Sequence[Subject], device: int, end: float) -> dict[Subject, Verdict]:
        """The verdicts of one process: on the first subject at least."""
        seconds = max(1.0, end - time.monotonic())
        arguments = [f"{seconds:.1f}", str(device), self.depth, *map(str, subjects)]
        try:
            with tempfile.TemporaryFile() as errors:
                process = subprocess.Popen(
                    [*(self.command or _command()), *arguments],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
                )  # fmt: skip
                try:
                    return _Conversation(process, errors, self.limits, end).verdicts(subjects)
                finally:
                    _end(process)
        except OSError as error:
            return dict.fromkeys(subjects, Verdict("failed", f"no process could be started: {error}"))


class _Silence(Exception):
    """No line came: an outcome of a verdict, and why."""

    def __init__(self, outcome: str, why: str) -> None:
        super().__init__(why)
        self.outcome = outcome


class _Conversation:
    """What a process says, line by line, and how long it takes."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], limits: Limits, end: float) -> None:
        self._process, self._errors, self._limits, self._end = process, errors, limits, end
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def verdicts(self, subjects: Sequence[Subject]) -> dict[Subject, Verdict]:
        """Listen until all subjects have a verdict, or the process ends, or its time is over."""
        try:
            self._next(self._limits.start)  # that torch is imported
        except _Silence as silence:
            outcome = {"crashed": "failed", "hung": "unfinished"}.get(silence.outcome, silence.outcome)
            return dict.fromkeys(subjects, Verdict(outcome, f"it did not start: {silence}"))
        verdicts: dict[Subject, Verdict] = {}
        for subject in subjects:
            begun, times = time.monotonic(), {"seconds": 0.0, "made": time.time()}
            try:
                verdict = Verdict.from_dict(self._next(self._limits.of(subject)) | times, subject.backend)
            except _Silence as silence:
                verdict = Verdict(silence.outcome, str(silence))
            except ValueError as error:
                verdict = Verdict("failed", f"the process of the proof said something else: {error}")
            verdicts[subject] = dataclasses.replace(verdict, seconds=round(time.monotonic() - begun, 2))
            if verdict.outcome not in GOOD:
                break
        return verdicts

    def _next(self, seconds: float) -> dict[str, Any]:
        """What the next line says; _Silence where none comes within so many seconds."""
        left = self._end - time.monotonic()
        try:
            line = self._lines.get(timeout=max(0.0, min(seconds, left)))
        except queue.Empty:
            if _has_ended(self._process):  # and something that it started holds its output
                raise _Silence("crashed", self._last_words()) from None
            if left < seconds:
                raise _Silence("unfinished", OVER.format(self._limits.total)) from None
            raise _Silence("hung", f"stopped after {seconds:g} s") from None
        if line is None:
            raise _Silence("crashed", self._last_words())
        try:
            values = json.loads(line)
        except RecursionError as error:
            raise ValueError("a line is nested too deep") from error
        if not isinstance(values, dict):
            raise ValueError("a line is no object of JSON")
        return values

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(OSError), self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)

    def _last_words(self) -> str:
        """How the process ended, and the last line that it wrote to standard error."""
        end = time.monotonic() + _END_SECONDS
        while not (ended := _has_ended(self._process)) and time.monotonic() < end:
            time.sleep(0.01)
        _end(self._process)
        status = self._process.returncode
        how = f"exit status {status}" if ended else "it closed its output"
        if ended and status < 0:
            with contextlib.suppress(ValueError):
                how = signal.Signals(-status).name
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 4096))
        lines = self._errors.read().decode(errors="replace").split("\n")
        written = [line.strip() for line in lines if line.strip()]
        return f"{how}: {written[-1][:300]}" if written else how


def _command() -> list[str]:
    if getattr(sys, "frozen", False) or not sys.executable:  # sys.executable would be the program itself
        raise OSError("this Python is frozen into a program")
    return [sys.executable, "-c", _START, "\n".join(sys.path)]


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has, without taking its status: until then its number belongs to no other process."""
    if process.returncode is None and hasattr(os, "waitid"):
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return process.poll() is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it with all that it started."""
    if process.returncode is not None:
        return
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
