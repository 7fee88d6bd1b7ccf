"""From a folder of recordings and a time to a student, with a teacher or without: prepare its data, plan, train."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..model import WaveNet
from ..training import loop, planning, recovery
from ..training.parallel import Group
from ..training.progress import newest_counters
from ..training.saying import say, saying
from ..training.settings import DEFAULT_MINUTES, Settings
from . import data as student_data
from .config import StudentConfig
from .data import StudentData
from .distillation import DITHER, DistillationTask, Weights, student_of
from .task import StudentTask

WINDOW = 16_384  # samples: long enough for eight of the longest window of the distance
USUAL: dict[str, Any] = {"window": WINDOW, "learning_rate": 0.004}  # at 0.01 a run of 20 minutes was best after 5
# The power distance has shorter windows; whether a KL can be learned in bfloat16 was not tried
DISTILLING: dict[str, Any] = {**USUAL, "window": 8192, "precision": "float32"}

TaskOf = Callable[[StudentData, StudentConfig, Settings, str], StudentTask]


def train(
    recordings: str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: StudentConfig | None = None,
    **options: Any,
) -> float:
    """Train in the folder `out`, or resume there -> the distance on held-out data, as `StudentTask` computes it.

    `options` are those of `_train`, and settings of the run; without `steps`, all else follows from `minutes`.
    """
    before = recovery.read_run(Path(out))
    if before is not None and before.get("kind") == StudentTask.kind:
        config = StudentConfig.from_dict(before["config"])
    return _train(recordings, Path(out), config or StudentConfig(), StudentTask, USUAL, **options)


@saying("distill")
def distill(
    teacher: WaveNet,
    recordings: str | os.PathLike[str],
    out: str | os.PathLike[str],
    weights: Weights | None = None,
    dither: float = DITHER,
    **options: Any,
) -> float:
    """The same for a student that a Gaussian WaveNet teaches -> its loss on held-out data."""
    task_of = functools.partial(DistillationTask, teacher=teacher, weights=weights)
    return _train(recordings, Path(out), student_of(teacher, dither), task_of, DISTILLING, **options)


def _train(
    recordings: str | os.PathLike[str],
    target: Path,
    config: StudentConfig,
    task_of: TaskOf,
    usual: dict[str, Any],
    *,
    held_out: float = 0.05,
    backend: str = "auto",
    command: str = "",
    show: bool = False,
    group: Group | None = None,
    **chosen: Any,
) -> float:
    """The recordings are prepared once, into `target`/data. `chosen` are settings of the run."""
    begun, group = time.monotonic(), group or Group()
    if target.resolve() == Path(recordings).resolve():
        raise InputError(f"--out {target} is the folder of the data: its sounds would be learned from. Give another.")
    place, before = target / "data", recovery.read_run(target)
    kind = DistillationTask.kind if config.flow else StudentTask.kind
    if before is not None and before.get("kind") != kind:
        raise InputError(f"{target} is a run of kind {before.get('kind')!r}, not of a {kind}: give another --out.")
    if group.first and not (place / student_data.INDEX).exists():
        options = config.frames, config.normalize, held_out, config.dither
        for reason in student_data.prepare(recordings, place, *options):
            say(f"left out: {reason}")
    group.wait()
    data, plan = StudentData(place), {}

    def seconds_per_step(settings: Settings) -> float:
        return planning.seconds_per_step(task_of(data, config, settings, backend), group)

    if before is not None:
        counters = newest_counters(target / "checkpoints")
        settings = Settings.from_dict(before["settings"])
        run = planning.resumed(settings, chosen, counters.step, counters.elapsed, seconds_per_step)
    else:
        chosen = {"batch": group.world, **usual, **chosen}
        run = Settings(**({"minutes": DEFAULT_MINUTES, **chosen} if "steps" not in chosen else chosen))
        if "steps" not in chosen:
            run, seconds = planning.fastest(run, chosen, seconds_per_step)
            run = group.from_first(planning.planned(run, seconds, time.monotonic() - begun, chosen))
            samples = run.batch * run.window
            plan = {
                "lines": [
                    f"{run.steps:,} steps of {samples:,} samples in {run.minutes:.3g} minutes, in {run.precision}."
                ]
            }
    task = task_of(data, config, run, backend)
    return loop.train(task, target, group, command, show, plan, time.monotonic() - begun)
