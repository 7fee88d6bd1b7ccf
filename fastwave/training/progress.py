"""What a training run has learned so far: weights, their average, the optimiser, and the counters it decides by."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoint
from ..config import differences
from ..errors import CheckpointError
from .optimiser import Optimiser

RECENT, BEFORE = 10, 100  # losses: training has exploded when the last 10 are far above the 100 before


@dataclasses.dataclass
class Counters:
    """Everything but tensors. Checkpoints hold it, so that a resumed run decides as the uninterrupted one does."""

    step: int = 0
    updates: int = 0  # steps that were not skipped
    seen: int = 0  # targets
    elapsed: float = 0.0  # seconds
    learning_rate_scale: float = 1.0
    rollbacks: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    micro_batch: int = 0  # rows at a time that fit in memory; 0: a process has never run out of it
    data: str = ""  # the digest of the data
    bits: list[float] = dataclasses.field(default_factory=list)  # the last losses, in the task's unit

    def add_loss(self, loss: float) -> None:
        """Remember a loss."""
        self.bits = [*self.bits, loss][-RECENT - BEFORE :]

    def exploded(self, margin: float) -> bool:
        """Whether the mean of the last losses is further above those before than chance or a hard batch explains."""
        if len(self.bits) < 2 * RECENT:
            return False
        recent, before = self.bits[-RECENT:], self.bits[:-RECENT]
        mean = sum(before) / len(before)
        deviation = math.sqrt(sum((loss - mean) ** 2 for loss in before) / len(before))
        return sum(recent) / RECENT > mean + margin + 4 * deviation


class Progress:
    """A model in training. `config` describes the model in JSON values; a checkpoint of another config is refused.

    `matrices` are the names of the parameters that Muon moves, if it moves any.
    """

    def __init__(
        self, model: nn.Module, config: Mapping[str, Any], device: torch.device, matrices: Collection[str] = ()
    ) -> None:
        self.model = model.to(device)
        self.config = json.loads(json.dumps(config))
        # in a model of one layer the residual weights are empty and get no gradient
        self.parameters = {name: p for name, p in model.named_parameters() if p.numel() and p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.optimiser = Optimiser(self.parameters, matrices, device)
        self.counters = Counters()

    def averaged(self) -> dict[str, Tensor]:
        """The averaged weights, on the CPU; not to be changed."""
        return {name: value.cpu() for name, value in self.average.items()}

    @torch.no_grad()
    def update(self, learning_rate: float, betas: tuple[float, float], decay: float, average: float) -> None:
        """Take one step of the optimiser with the gradients, then update the average of the weights."""
        c = self.counters
        c.updates += 1
        self.optimiser.step(learning_rate, betas, decay)
        keep = min(average, (1 + c.updates) / (10 + c.updates))  # so that the initial weights are soon forgotten
        for name, value in self.average.items():
            value.lerp_(self.parameters[name].detach(), 1 - keep)

    def finite(self) -> bool:
        """Whether no weight is infinite or NaN."""
        return all(bool(torch.isfinite(p).all()) for p in self.parameters.values())

    # Checkpoints

    def _tensors(self) -> dict[str, Tensor]:
        groups: list[Mapping[str, Tensor]] = [
            self.parameters, self.average, self.optimiser.moments, self.optimiser.squares,
        ]  # fmt: skip
        return {
            f"{part}.{name}": value.detach()
            for part, group in zip(checkpoint.STEP_PARTS, groups, strict=True)
            for name, value in group.items()
        }

    def save(self, folder: Path, keep: int) -> Path:
        """Write step-N.safetensors whole or not at all, then remove all checkpoints but the last `keep`."""
        path = folder / f"step-{self.counters.step:08}.safetensors"
        metadata = {"config": json.dumps(self.config), "counters": json.dumps(dataclasses.asdict(self.counters))}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            checkpoint.write_tensors(path, self._tensors(), metadata)
            for old in checkpoints(folder)[keep:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"cannot write {path}: {error.strerror or error}. The checkpoints before it are intact; remove the "
                "cause, and run the same command to resume."
            ) from error
        return path

    def load(self, path: Path) -> None:
        """Take the state of a checkpoint. Nothing changes if it is damaged, or of another model."""
        shapes = {name: tuple(value.shape) for name, value in self._tensors().items()}
        tensors, metadata = checkpoint.read_tensors(path, lambda _: shapes)
        try:
            counters = _counters(json.loads(metadata["counters"]))
            same = not differences(self.config, json.loads(metadata["config"]))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} is damaged: its counters cannot be read ({error}).") from error
        if not same:
            raise CheckpointError(f"{path} is of a model with another config.")
        with torch.no_grad():
            for name, value in self._tensors().items():
                value.copy_(tensors[name])
            self.optimiser.set_updates(counters.updates)
        self.counters = counters


def checkpoints(folder: Path) -> list[Path]:
    """The newest first. Copies that a user keeps under other names are left out."""
    paths = (path for path in folder.glob("step-*.safetensors") if step_of(path) >= 0)
    return sorted(paths, key=step_of, reverse=True)


def newest_counters(folder: Path) -> Counters:
    """Those of the newest checkpoint that can be read, or new ones."""
    for path in checkpoints(folder):
        with contextlib.suppress(CheckpointError, KeyError, TypeError, ValueError, RecursionError):
            return _counters(json.loads(checkpoint.read_metadata(path)["counters"]))
    return Counters()


def step_of(path: Path) -> int:
    """The step in a checkpoint's name, or -1."""
    match = re.fullmatch(r"step-(\d+)", path.stem)
    return int(match[1]) if match else -1


def remove_after(folder: Path, step: int) -> None:
    """Remove the checkpoints of later steps."""
    try:
        for path in checkpoints(folder):
            if step_of(path) > step:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot remove {path}: {error.strerror or error}.") from error


def _counters(values: dict[str, Any]) -> Counters:
    counters = Counters(**values)
    for field in dataclasses.fields(Counters):
        value, default = getattr(counters, field.name), getattr(Counters(), field.name)
        if type(value) is not type(default) or (isinstance(value, (int, float)) and not value >= 0):
            raise ValueError(f"{field.name} is {str(value)[:40]}")
    if not all(isinstance(loss, float) for loss in counters.bits):
        raise ValueError("a loss is not a number")
    return counters
