"""From a folder and a time to a trained model: prepare the data, plan the run, train."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..config import WaveNetConfig
from ..data.prepare import levels_in_words, prepare
from ..data.shards import INDEX, Data
from ..errors import InputError, TrainingError
from ..model import WaveNet
from ..runtime.dispatch import choose
from . import loop, planning, recovery
from .choices import PRESET, Choices, keep_level, settle
from .lock import locked
from .parallel import Group
from .progress import newest_counters
from .saying import say
from .settings import DEFAULT_MINUTES, Settings
from .wavenet import WaveNetTask

FINE_TUNING_RATE = 8e-4  # the default beside `start`: a tenth of the usual, which would undo what the model knows


@dataclasses.dataclass(frozen=True)
class Machine:
    """What computes."""

    device: str = "auto"
    backend: str = "auto"  # of the training kernels
    threads: int | None = None  # of torch, in each process
    workers: int | None = None  # processes that prepare the data


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A run that has ended."""

    folder: Path
    config: WaveNetConfig
    bits: float  # a sample of the held-out data; NaN without any
    first: bool  # whether this process is the one that writes files and speaks

    @property
    def model(self) -> WaveNet:
        """The averaged weights, as `WaveNet.from_pretrained` loads them."""
        return WaveNet.from_pretrained(self.folder)

    @property
    def report(self) -> Path:
        """The page with losses, sounds and settings."""
        return self.folder / "report.html"


def train(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    minutes: float | None = None,
    *,
    preset: str | None = None,
    changes: Mapping[str, Any] | None = None,
    device: str = "auto",
    backend: str = "auto",
    threads: int | None = None,
    workers: int = 1,
    progress: bool = True,
    **options: Any,
) -> TrainedRun:
    """Train a model on a folder of sound or text, in the folder `out`; called again, it resumes the run there.

    The same as `fastwave train FOLDER --out OUT --minutes M`, with the same promises. `preset` and `changes` name the
    model's shape and fields of its config; `options` are those of the command: how files are read (`sample_rate`,
    `features`, `speakers`, `channel`, `trim`, `held_out`, ...) and settings (`steps`, `batch`, `window`,
    `learning_rate`, `seed`, ...). With `start`, the folder of a model, that is trained further and its config is kept.
    More `workers` than one prepare data in processes of their own, which in a script needs
    `if __name__ == "__main__":` around the call.
    """
    names = {field.name for field in dataclasses.fields(Choices)} - {"folder", "preset", "changes"}
    settings = {field.name for field in dataclasses.fields(Settings)}
    unknown = sorted(options.keys() - names - settings)
    if unknown:
        raise TypeError(f"train() got an unexpected keyword argument {unknown[0]!r}")
    chosen = {name: value for name, value in options.items() if name in settings and value is not None}
    if minutes is not None:
        chosen["minutes"] = minutes
    read = {name: value for name, value in options.items() if name in names}
    choices = Choices(os.fspath(folder), preset, changes or {}, **read)
    machine = Machine(device, backend, threads, workers)
    return run(choices, Path(out), chosen, machine, command=f"fastwave.train({str(folder)!r}, ...)", show=progress)


def run(
    choices: Choices,
    out: Path,
    chosen: Mapping[str, Any],
    machine: Machine,
    prepared: str | None = None,
    command: str = "",
    show: bool = False,
    other_data: bool = False,
) -> TrainedRun:
    """Train in the folder `out`, or resume there. `chosen` are the settings that the user chose, by name.

    A run resumes on other data than it began with only where `other_data` allows it.
    """
    if machine.threads is not None:
        if machine.threads < 1:
            raise InputError(f"--threads must be at least 1, got {machine.threads}.")
        torch.set_num_threads(machine.threads)
    chosen = {name: value for name, value in chosen.items() if (name, value) != ("precision", "auto")}
    Settings(**chosen)  # refuses what makes no sense, before the data are prepared
    folder = Path(choices.folder)
    if out.resolve() == folder.resolve():
        raise InputError(f"--out {out} is the folder of the data: its sounds would be learned from. Give another.")
    choose("training", machine.backend)  # refuses a backend that cannot run, before the data are prepared
    group, held = Group(machine.device), contextlib.ExitStack()
    try:
        choose("training", machine.backend, device=group.device.type)  # proves a GPU's kernels before anything is timed
        before = recovery.read_run(out)
        if before is None:
            chosen = {"batch": group.world, **chosen}
        if before is not None and choices.start is None:
            choices = dataclasses.replace(choices, start=before.get("plan", {}).get("start"))
        elif before is None and choices.start is not None:
            chosen = {"learning_rate": FINE_TUNING_RATE, **chosen}
        free = before is None and choices.preset is None and choices.start is None and "steps" not in chosen
        if before is not None and choices.preset is None and choices.start is None:
            choices = dataclasses.replace(choices, preset=before.get("plan", {}).get("preset"))
        choices = keep_level(choices, Path(prepared or out / "data"), before)
        config, preparation = settle(choices)
        held.enter_context(locked(out, group.first))
        place = folder if preparation is None else Path(prepared or out / "data")
        if preparation is not None and group.first:
            index = prepare(folder, place, preparation, machine.workers, progress=show)
            report_skipped(index["skipped"], place)
            if show and config.sample_rate:
                say(levels_in_words(index))
        group.wait()
        begun = time.monotonic()
        planner = _Planner(Data(place), config, machine.backend, group, begun, choices.start)
        if before is not None:
            task = planner.resumed(before, chosen, out)
        elif "steps" in chosen:
            task = planner.task(Settings(**chosen))
        else:
            task = planner.new(choices, chosen, free)
        task.other_data = other_data
        bits = loop.train(task, out, group, command, show, planner.plan, time.monotonic() - begun)
    finally:
        held.close()
        group.leave()
    if failure := task.failure(bits):
        raise TrainingError(failure)
    return TrainedRun(out, task.model_config, bits, group.first)


class _Planner:
    """Finds the settings of a run, and with them its task. `plan` goes into run.json."""

    def __init__(
        self, data: Data, config: WaveNetConfig, backend: str, group: Group, begun: float, start: str | None = None
    ) -> None:
        self.data, self.config, self.backend, self.group, self.begun = data, config, backend, group, begun
        self.start = start
        self.plan: dict[str, Any] = {}

    def task(self, settings: Settings) -> WaveNetTask:
        return WaveNetTask(self.data, self.config, settings, self.backend, self.start)

    def new(self, choices: Choices, chosen: Mapping[str, Any], free: bool) -> WaveNetTask:
        """A run whose length follows from the time, and its shape too where the user left that free."""
        minutes: float = chosen.get("minutes", DEFAULT_MINUTES)
        preset = choices.preset or choices.start or PRESET
        settings, seconds = planning.fastest(Settings(**{**chosen, "minutes": minutes}), chosen, self._seconds)
        if free:
            measured = {preset: (self.config, seconds)}

            def targets_of(name: str) -> float:
                if name not in measured:
                    self.config = settle(dataclasses.replace(choices, preset=name))[0]
                    measured[name] = self.config, self._seconds(settings)
                return 60 * minutes / measured[name][1] * settings.batch * settings.window

            preset = planning.shape_for(targets_of(preset), targets_of)
            self.config, seconds = measured[preset]
        if "window" not in chosen and planning.is_short(60 * minutes / seconds):
            settings = dataclasses.replace(settings, window=planning.SHORT_WINDOW)
            seconds = self._seconds(settings)
        if self.group.first:
            settings = planning.planned(settings, seconds, self._used(), chosen)
        settings = self.group.from_first(settings)
        task = self.task(settings)
        named = {"preset": preset} if self.start is None else {"start": self.start}
        self.plan = {**named, "lines": _sentences(task, preset, seconds, self.group)}
        if self.group.first:
            say(*self.plan["lines"])
        return task

    def resumed(self, before: Mapping[str, Any], chosen: Mapping[str, Any], out: Path) -> WaveNetTask:
        """The run that run.json describes, with what the user has changed."""
        settings = Settings.from_dict(before["settings"])
        counters = newest_counters(out / "checkpoints")
        settings = planning.resumed(settings, chosen, counters.step, counters.elapsed, self._seconds)
        return self.task(settings)

    def _seconds(self, settings: Settings) -> float:
        """Of a step."""
        return planning.seconds_per_step(self.task(settings), self.group)

    def _used(self) -> float:
        return time.monotonic() - self.begun


def _sentences(task: WaveNetTask, preset: str, seconds: float, group: Group) -> list[str]:
    """The plan in four lines."""
    s, config = task.settings, task.model_config
    unit = "samples" if config.sample_rate else "characters"
    targets = s.steps * s.batch * task.training.window
    field = f"{config.receptive_field_ms:,.0f} ms" if config.receptive_field_ms else f"{config.receptive_field} {unit}"
    threads = torch.get_num_threads()
    device = f"{threads} {'thread' if threads == 1 else 'threads'}" if group.device.type == "cpu" else str(group.device)
    rate = f"the learning rate is at most {s.learning_rate:g}, on the {s.schedule} schedule"
    if s.knots:
        rate = f"the learning rate rises to {s.learning_rate:g} in {s.warmup:,} steps, stays, and falls to 0 over the "
        rate += "last quarter; the end is moved if this machine gets slower or faster"
    return [
        f"plan for {s.minutes:g} minutes on {device}: model {preset!r}, {config.parameter_count:,} weights, which "
        f"looks back {field}",
        f"{s.steps:,} steps of {s.batch} x {task.training.window:,} {unit}, {seconds:.2g} s each: {targets / 1e6:,.1f} "
        f"million {unit}, {targets / max(1, task.training.targets):.1f} times through the data",
        f"in {s.precision}, {rate}",
        f"first sound after about {max(1, s.first_sample * seconds + 5):.0f} s; {s.steps // s.validate_every} "
        f"validations; the page of the run is written with every sound",
    ]


def report_skipped(skipped: list[Any], place: Path) -> None:
    """Say which files could not be used, and why."""
    if not skipped:
        return
    print(f"fastwave: {len(skipped)} files were skipped (all in {place / INDEX}):", file=sys.stderr)
    for name, reason in skipped[:10]:
        print(f"  {name}: {reason}", file=sys.stderr)
