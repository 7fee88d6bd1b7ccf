"""How a run begins, resumes and rolls back: which checkpoint can be trusted, and what has changed since it was written.

A kill may come between any two writes. So a run resumes from the newest checkpoint that is whole, a rollback writes its
own checkpoint before it removes the ones after it, and settings that would make another run are refused.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import differences
from ..errors import CheckpointError, InputError, TrainingError
from ..files import replacing, sweep
from .journal import Journal
from .parallel import Group
from .progress import RECENT, Progress, checkpoints, remove_after, step_of
from .settings import BEFORE
from .task import Task

MOST_ROLLBACKS = 10
MOST_SKIPPED = 20  # in a row
REFUSED = ("seed", "batch", "window", "precision", "optimiser")  # settings of which another value would be another run


class Recovery:
    """The checkpoints of a run. Process 0 writes them and chooses which one all processes load."""

    def __init__(self, task: Task, out: Path, progress: Progress, group: Group, journal: Journal) -> None:
        self.task, self.out, self.progress, self.group, self.journal = task, out, progress, group, journal
        self.folder = out / "checkpoints"

    def begin(self, command: str) -> None:
        """Resume from the newest checkpoint that can be trusted, or write a first one, which also tries the disk."""
        self._sweep()
        paths = checkpoints(self.folder)
        newest, rejected = self._load_newest(paths)
        if newest is not None:
            self._resume(rejected)
        elif paths:
            raise CheckpointError(f"no checkpoint in {self.folder} can be read. {' '.join(rejected[:1])}")
        else:
            self._start(command)

    def save(self) -> None:
        """Write a checkpoint, and the averaged model."""
        if self.group.first:
            path = self.progress.save(self.folder, self.task.settings.keep)
            self.task.export(self.progress.averaged(), self.out)
            self.journal.write("checkpoint", self.progress.counters, file=f"checkpoints/{path.name}")

    def exploded(self) -> bool:
        """Whether the training has left the path of a falling loss."""
        c = self.progress.counters
        exploded = c.exploded(self.task.explosion_margin) or c.skipped_in_a_row >= MOST_SKIPPED
        return exploded or not self.progress.finite()

    def roll_back(self) -> None:
        """Load an earlier checkpoint, halve the learning rate, and save that, so that a kill does not undo it."""
        before = self.progress.counters
        paths = checkpoints(self.folder)
        # the explosion may have begun before the newest was written
        older = [path for path in paths if step_of(path) <= before.step - 2 * RECENT] or paths[-1:]
        if self._load_newest(older)[0] is None:
            raise TrainingError(
                f"the loss exploded at step {before.step}, and no checkpoint in {self.folder} can be read."
            )
        c = self.progress.counters
        c.elapsed, c.rollbacks, c.skipped = before.elapsed, before.rollbacks + 1, before.skipped
        c.learning_rate_scale = before.learning_rate_scale / 2
        c.micro_batch, c.data, c.skipped_in_a_row, c.bits = before.micro_batch, before.data, 0, []
        reason = f"the loss exploded at step {before.step}"
        self.journal.write("rollback", c, to=c.step, learning_rate_scale=c.learning_rate_scale, reason=reason)
        self.journal.announce(f"{reason}: back to step {c.step}, learning rate times {c.learning_rate_scale:g}")
        if c.rollbacks > MOST_ROLLBACKS:
            raise TrainingError(
                f"the loss has exploded {c.rollbacks} times, whatever the learning rate. Look at the data (fastwave "
                "doctor checks the model), or start anew with a smaller --learning-rate or --precision float32."
            )
        self.save()
        if self.group.first:  # a kill before this line resumes from a later checkpoint, and explodes again
            remove_after(self.folder, c.step)

    def _sweep(self) -> None:
        """Remove the temporary files of a killed process."""
        if not self.group.first:
            return
        try:
            for folder in (self.out, self.folder, self.out / "samples"):
                sweep(folder)
        except OSError as error:
            raise CheckpointError(f"cannot write in {self.out}: {error.strerror or error}.") from error

    def _start(self, command: str) -> None:
        self.progress.counters.data = self.task.data_digest()
        self.journal.write(
            "start",
            self.progress.counters,
            **_description(self.task, command),
            loss_name=self.task.loss_name,
            device=str(self.group.device),
            parameters=sum(parameter.numel() for parameter in self.progress.parameters.values()),
            data=self.task.data_summary(),
        )
        self.save()

    def _resume(self, rejected: list[str]) -> None:
        c = self.progress.counters
        changed = self._data_changed()
        if self.group.first:  # the kill may have come between the checkpoint and the model
            self.task.export(self.progress.averaged(), self.out)
        self.journal.write("resume", c, bad=rejected, **changed)
        steps = self.task.settings.steps
        state = f"resumes from step {c.step} of {steps}"
        if c.step >= steps:
            state = f"all {steps} steps are done already: there is nothing left to train, unless you give more --steps"
        self.journal.announce(*rejected, *changed.values(), state)

    def _load_newest(self, paths: list[Path]) -> tuple[Path | None, list[str]]:
        """Load the first of `paths` that can be trusted -> its path, and why those before it were passed over.

        Process 0 chooses, and the others load the same one or stop: nobody would notice processes at different steps.
        """
        rejected, chosen = [], None
        for path in paths if self.group.first else ():
            try:
                self.progress.load(path)
            except CheckpointError as error:
                rejected.append(f"passed over {path.name}: {error}")
                continue
            chosen = path
            break
        chosen = self.group.from_first(chosen)
        if chosen is not None and not self.group.first:
            self.progress.load(chosen)
        self.group.wait()  # all have loaded it before any file is written or removed
        return chosen, rejected

    def _data_changed(self) -> dict[str, str]:
        """A sentence for the log and the terminal when the data are not those of the checkpoint, which the user must
        have allowed.
        """
        digest, counters = self.task.data_digest(), self.progress.counters
        before, counters.data = counters.data, digest
        if before in ("", digest):
            return {}
        if not self.task.other_data:
            raise InputError(
                f"the data are not those that the run in {self.out} has learned from: files were added, removed or "
                "changed, or they were prepared in another way. Give the same data, or another --out; or allow it "
                "with --other-data, and the run goes on with these."
            )
        return {"data": "the data have changed since the last checkpoint: training continues on the new data"}


def read_run(out: Path) -> dict[str, Any] | None:
    """What run.json says of the run in a folder; None where there is none."""
    path = out / "run.json"
    try:
        description = json.loads(path.read_text()) if path.exists() else None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {error}. Give another --out, or mend it.") from error
    parts = ("config", "settings")
    if description is not None and not (
        isinstance(description, dict) and all(isinstance(description.get(part), dict) for part in parts)
    ):
        raise InputError(f"{path} does not describe a training run. Give another --out, or mend it.")
    return description


def write_run(task: Task, out: Path, command: str, plan: Mapping[str, Any] | None = None) -> None:
    """Write run.json; refuse a folder that holds another run. Without a plan the one in the file stays."""
    path, before = out / "run.json", read_run(out)
    description = _description(task, command)
    if before is not None:
        _check_same_run(out, before, json.loads(json.dumps(description)))
    plan = plan or (before or {}).get("plan")
    if plan:
        description["plan"] = dict(plan)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(description, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error


def _description(task: Task, command: str) -> dict[str, Any]:
    settings = dataclasses.asdict(task.settings)
    return {"command": command, "kind": task.kind, "config": task.config, "settings": settings}


def _check_same_run(out: Path, before: Any, now: dict[str, Any]) -> None:
    pairs = [("kind", before.get("kind", "wavenet"), now["kind"])]  # before there were kinds, all were WaveNets
    pairs += [(name, before["settings"].get(name, BEFORE.get(name)), now["settings"].get(name)) for name in REFUSED]
    changes = [f"{name} was {old}, now {new}" for name, old, new in pairs if old != new]
    changes += differences(now["config"], before["config"])
    if changes:
        raise InputError(
            f"{out} holds another run: {'; '.join(changes[:4])}. Give another --out, or the same settings."
        )
    done = max((step_of(path) for path in checkpoints(out / "checkpoints")), default=0)
    steps = now["settings"]["steps"]
    if done > steps:
        raise InputError(
            f"the run in {out} has done {done} steps already, and --steps is {steps}: give more than {done} to train "
            "it further, or another --out."
        )
