"""A run as its log tells it: what happened, and curves of what was measured."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from . import journal

# How a run ended, as its log says it: the last one is followed by the time that was up
DONE, INTERRUPTED, STOPPED = "done", "interrupted", "stopped"
QUIET_SECONDS = 1800.0  # without a line in the log: the run was killed, or its machine is off
MOST_POINTS = 1000  # of a curve: no screen shows more

Array = npt.NDArray[np.float64]


@dataclasses.dataclass
class History:
    """What a run has done, without the steps that a resume or a rollback made void."""

    start: dict[str, Any] = dataclasses.field(default_factory=dict)
    train: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    validation: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    samples: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    events: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    step: int = 0
    elapsed: float = 0.0  # seconds
    ended: str = ""  # the reason, if nothing came after it
    final: float | None = None  # the loss on held-out data that the end says, if the run has ended
    verdict: str = ""  # what the last samples are like, if the run has ended
    changed: float = 0.0  # when the log was last written, in seconds since 1970

    def add(self, line: dict[str, Any]) -> None:
        """The next line of the log."""
        event, step = line["event"], int(line["step"])
        if event in ("start", "resume", "rollback"):
            target = number(line.get("to"))
            step = step if target is None else int(target)
            for lines in (self.train, self.validation, self.samples):
                while lines and lines[-1]["step"] > step:
                    lines.pop()
        if event == "start":
            self.start = line
        kinds = {"train": self.train, "validation": self.validation, "sample": self.samples}
        if event in kinds:
            kinds[event].append(line)
        elif event not in ("start", "checkpoint"):
            self.events.append(line)
        self.step = step
        self.elapsed = number(line.get("elapsed")) or self.elapsed
        self.ended = str(line.get("reason", DONE)) if event == "end" else ""
        self.final = number(line.get(self.loss_name)) if event == "end" else None
        self.verdict = str(line.get("verdict", "")) if event == "end" else ""

    def part(self, name: str) -> dict[str, Any]:
        """`config`, `settings`, `data` or `plan` of the run, as far as the log has it."""
        part = self.start.get(name)
        return part if isinstance(part, dict) else {}

    @property
    def plan(self) -> list[str]:
        """The plan of the run in sentences, where it has one."""
        plan = self.part("plan").get("lines")
        return [str(line) for line in plan] if isinstance(plan, list) else []

    @property
    def is_on(self) -> bool:
        """Whether the run may still be on: it has not ended, and wrote to its log not long ago."""
        return not self.ended and time.time() - self.changed < QUIET_SECONDS

    @property
    def loss_name(self) -> str:
        """The key of the loss in the log, which is bits for a WaveNet."""
        return str(self.start.get("loss_name", "bits"))

    @property
    def unit(self) -> str:
        """What a target is called."""
        return "character" if self.part("config").get("sample_rate") == 0 else "sample"


def read(run: Path) -> History:
    """Read the log of a run; lines that a kill cut short are passed over."""
    path = run / journal.FILE
    history = History()
    try:
        with open(path, "rb") as file:
            history.changed = os.fstat(file.fileno()).st_mtime
            for raw in file:
                with contextlib.suppress(ValueError):
                    line = json.loads(raw)
                    if isinstance(line, dict) and "event" in line and number(line.get("step")) is not None:
                        history.add(line)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}. Give the folder that `fastwave train --out` made."
        ) from error
    if (run / "run.json").exists():  # newer than the start: a resumed run may have more steps and another command
        with contextlib.suppress(OSError, ValueError, TypeError):
            history.start = {**history.start, **json.loads((run / "run.json").read_bytes())}
    return history


def points(lines: Iterable[Mapping[str, Any]], name: str) -> Array:
    """[2, n <= MOST_POINTS]: steps and values; more lines become the means of stretches of equal length."""
    pairs = [(line["step"], value) for line in lines if (value := number(line.get(name))) is not None]
    whole = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    count = whole.shape[1]
    if count <= MOST_POINTS:
        return whole
    edges = np.linspace(0, count, MOST_POINTS + 1).astype(np.int64)
    means: Array = np.add.reduceat(whole, edges[:-1], axis=1) / np.diff(edges)
    return means


def number(value: object) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value
