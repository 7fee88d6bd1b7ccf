"""From a folder of recordings and a time to a student: prepare its data, plan the run, train."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..training import loop, planning, recovery
from ..training.parallel import Group
from ..training.progress import newest_counters
from ..training.settings import DEFAULT_MINUTES, Settings
from . import data as student_data
from .config import StudentConfig
from .data import StudentData
from .task import StudentTask

WINDOW = 16_384  # samples: long enough for eight of the longest window of the distance
USUAL: dict[str, Any] = {"window": WINDOW, "learning_rate": 0.004}  # at 0.01 a run of 20 minutes was best after 5


def train(
    recordings: str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: StudentConfig | None = None,
    held_out: float = 0.05,
    backend: str = "auto",
    command: str = "",
    show: bool = False,
    group: Group | None = None,
    **chosen: Any,
) -> float:
    """Train in the folder `out`, or resume there -> the energy distance on held-out data.

    `chosen` are settings of the run; without `steps`, all else follows from `minutes`. The recordings are prepared
    once, into `out`/data.
    """
    begun, group, target = time.monotonic(), group or Group(), Path(out)
    if target.resolve() == Path(recordings).resolve():
        raise InputError(f"--out {out} is the folder of the data: its sounds would be learned from. Give another.")
    place = target / "data"
    before = recovery.read_run(target)
    if before is not None and before.get("kind") != StudentTask.kind:
        raise InputError(f"{target} is a run of kind {before.get('kind')!r}, not of a student: give another --out.")
    config = config or StudentConfig()
    if group.first and not (place / student_data.INDEX).exists():
        for reason in student_data.prepare(recordings, place, config.frames, config.normalize, held_out):
            print(f"fastwave train: left out: {reason}", file=sys.stderr)
    group.wait()
    data, plan = StudentData(place), {}
    if before is not None:
        config, counters = StudentConfig.from_dict(before["config"]), newest_counters(target / "checkpoints")
        run = planning.resumed(
            Settings.from_dict(before["settings"]),
            chosen,
            counters.step,
            counters.elapsed,
            lambda settings: planning.seconds_per_step(StudentTask(data, config, settings, backend), group),
        )
    else:
        chosen = {"batch": group.world, **USUAL, **chosen}
        run = Settings(**({"minutes": DEFAULT_MINUTES, **chosen} if "steps" not in chosen else chosen))
        if "steps" not in chosen:
            seconds = planning.seconds_per_step(StudentTask(data, config, run, backend), group)
            run = group.from_first(planning.planned(run, seconds, time.monotonic() - begun, chosen))
            samples = run.batch * run.window
            plan = {"lines": [f"{run.steps:,} steps of {samples:,} samples in {run.minutes:.3g} minutes."]}
    task = StudentTask(data, config, run, backend)
    return loop.train(task, target, group, command, show, plan, time.monotonic() - begun)
