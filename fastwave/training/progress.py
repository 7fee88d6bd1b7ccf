"""What a training run has learned so far: weights, their average, the optimiser, and the few numbers that decide."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import checkpoint
from ..config import WaveNetConfig
from ..errors import CheckpointError
from ..model import WaveNet

PARTS = ("parameter", "average", "moment", "square")
RECENT, BEFORE = 10, 100  # losses: an explosion is seen when the last ones stand far above those before


@dataclasses.dataclass
class Counters:
    """Everything but tensors; in the checkpoint, so that a resumed run decides as the unbroken one."""

    step: int = 0
    updates: int = 0  # steps that were not skipped
    seen: int = 0  # targets
    elapsed: float = 0.0  # seconds
    learning_rate_scale: float = 1.0
    rollbacks: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    micro_batch: int = 0  # windows that memory was found to hold at a time in one process; 0: not found out
    data: str = ""  # the digest of what it learns from
    bits: list[float] = dataclasses.field(default_factory=list)  # the last losses

    def note(self, bits: float) -> None:
        """Remember a loss."""
        self.bits = [*self.bits, bits][-RECENT - BEFORE :]

    def exploded(self) -> bool:
        """Whether the mean of the last losses is further above those before than chance or a hard batch explains."""
        if len(self.bits) < 2 * RECENT:
            return False
        recent, before = self.bits[-RECENT:], self.bits[:-RECENT]
        mean = sum(before) / len(before)
        spread = math.sqrt(sum((bits - mean) ** 2 for bits in before) / len(before))
        return sum(recent) / RECENT > mean + 1 + 4 * spread


class Progress:
    """A model in training."""

    def __init__(
        self, config: WaveNetConfig, backend: str, device: torch.device, seed: int, recompute: bool = False
    ) -> None:
        self.config, self.seed = config, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = WaveNet(config, backend, recompute)
        self.model.to(device)
        # one layer has residual weights of no elements: nothing to learn, and no gradient
        self.parameters = {name: p for name, p in self.model.named_parameters() if p.numel()}
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        biases = [p for name, p in self.parameters.items() if name.endswith("bias")]
        weights = [p for name, p in self.parameters.items() if not name.endswith("bias")]
        self.optimiser = torch.optim.AdamW([{"params": weights}, {"params": biases}], fused=True)
        for p in self.parameters.values():  # now, not at the first step, so that a checkpoint always has them
            moments = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            self.optimiser.state[p] = {"step": torch.zeros((), device=device), **moments}
        self.counters = Counters()

    def averaged(self) -> WaveNet:
        """A model of the averaged weights, on the host."""
        model = WaveNet(self.config, "reference")
        missing = model.load_state_dict({name: value.cpu() for name, value in self.average.items()}, strict=False)
        assert all(not model.get_parameter(name).numel() for name in missing.missing_keys)
        return model

    @torch.no_grad()
    def update(self, learning_rate: float, betas: tuple[float, float], decay: float, average: float) -> None:
        """One step of AdamW from the gradients, then the average follows."""
        c = self.counters
        c.updates += 1
        for group, decays in zip(self.optimiser.param_groups, (decay, 0.0), strict=True):
            group |= {"lr": learning_rate, "betas": betas, "weight_decay": decays}
        self.optimiser.step()
        keep = min(average, (1 + c.updates) / (10 + c.updates))  # the start is soon forgotten
        for name, value in self.average.items():
            value.lerp_(self.parameters[name].detach(), 1 - keep)

    def finite(self) -> bool:
        """Whether every weight is a number."""
        return all(bool(torch.isfinite(p).all()) for p in self.parameters.values())

    # In and out

    def _tensors(self) -> dict[str, Tensor]:
        moments: list[dict[str, Tensor]] = [
            {name: self.optimiser.state[p][key] for name, p in self.parameters.items()}
            for key in ("exp_avg", "exp_avg_sq")
        ]
        groups: list[Mapping[str, Tensor]] = [self.parameters, self.average, *moments]
        return {
            f"{part}.{name}": value.detach()
            for part, group in zip(PARTS, groups, strict=True)
            for name, value in group.items()
        }

    def save(self, folder: Path, keep: int) -> Path:
        """Write checkpoints/step-N.safetensors whole or not at all, and let only the last `keep` be."""
        path = folder / f"step-{self.counters.step:08}.safetensors"
        told = {"config": json.dumps(self.config.to_dict()), "counters": json.dumps(dataclasses.asdict(self.counters))}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            checkpoint.write_tensors(path, self._tensors(), told)
            for old in checkpoints(folder)[keep:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"cannot write {path}: {error.strerror or error}. The checkpoints before it are intact; mend that and "
                "run the same command to go on."
            ) from error
        return path

    def forget_after(self, folder: Path) -> None:
        """Remove checkpoints of later steps than this."""
        try:
            for path in checkpoints(folder):
                if step_of(path) > self.counters.step:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(f"cannot remove {path}: {error.strerror or error}.") from error

    def load(self, path: Path) -> None:
        """Go on from a checkpoint. Nothing changes if it cannot be trusted."""
        shapes = {name: tuple(value.shape) for name, value in self._tensors().items()}
        tensors, told = checkpoint.read_tensors(path, lambda _: shapes)
        try:
            counters = _counters(json.loads(told["counters"]))
            same = json.loads(told["config"]) == self.config.to_dict()
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} is damaged: its counters cannot be read ({error}).") from error
        if not same:
            raise CheckpointError(f"{path} is of a model with another config.")
        with torch.no_grad():
            for name, value in self._tensors().items():
                value.copy_(tensors[name])
            for parameter in self.parameters.values():
                self.optimiser.state[parameter]["step"].fill_(counters.updates)
        self.counters = counters


def checkpoints(folder: Path) -> list[Path]:
    """The newest first."""
    found = (path for path in folder.glob("step-*.safetensors") if step_of(path) >= 0)  # copies have other names
    return sorted(found, key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """By its name."""
    found = re.fullmatch(r"step-(\d+)", path.stem)
    return int(found[1]) if found else -1


def _counters(values: dict[str, Any]) -> Counters:
    counters = Counters(**values)
    for field in dataclasses.fields(Counters):
        given, usual = getattr(counters, field.name), getattr(Counters(), field.name)
        if type(given) is not type(usual) or (isinstance(given, (int, float)) and not given >= 0):
            raise ValueError(f"{field.name} is {str(given)[:40]}")
    if not all(isinstance(bits, float) for bits in counters.bits):
        raise ValueError("a loss is not a number")
    return counters
