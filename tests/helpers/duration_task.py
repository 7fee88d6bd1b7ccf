"""A task that is no WaveNet: how long each of a few made-up phones lasts, learned from pairs of phone and speaker rate.

As a script it trains, alone or under torchrun, and is killed on request:

python tests/helpers/duration_task.py RUN --steps 12 --kill 7
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fastwave import checkpoint
from fastwave.training.loop import train
from fastwave.training.parallel import Group
from fastwave.training.settings import Settings
from fastwave.training.task import Sample, Task

PHONES, PAIRS = 12, 40  # pairs in a row


class Pairs(NamedTuple):
    """[B, PAIRS] each. `noise` is what the loss draws from: a resumed step draws the same."""

    phone: Tensor
    rate: Tensor
    seconds: Tensor
    noise: Tensor

    def rows(self, first: int, last: int) -> Pairs:
        return Pairs(*(part[first:last] for part in self))

    def to(self, device: torch.device) -> Pairs:
        return Pairs(*(part.to(device) for part in self))


class Durations(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(PHONES, width)
        self.hidden = nn.Linear(width + 1, width)
        self.out = nn.Linear(width, 1)
        self.scale = nn.Parameter(torch.full((1,), 0.1), requires_grad=False)  # like a teacher: held, not trained

    def forward(self, phone: Tensor, rate: Tensor) -> Tensor:
        x = torch.cat([self.embedding(phone), rate[..., None]], dim=-1)
        return self.scale * self.out(torch.tanh(self.hidden(x)))[..., 0].exp()


class DurationTask(Task):
    """Squared errors in hundredths of a second."""

    kind: ClassVar[str] = "durations"
    loss_name: ClassVar[str] = "squared_error"
    loss_unit: ClassVar[float] = 1e-4
    explosion_margin: ClassVar[float] = 5.0

    def __init__(self, settings: Settings, width: int = 8) -> None:
        super().__init__({"width": width, "phones": PHONES}, settings)
        self.width = width

    def build(self) -> Durations:
        return Durations(self.width)

    def batch(self, step: int, rows: slice) -> tuple[Pairs, int]:
        batch = make_pairs((self.settings.seed, 0, step), self.settings.batch)
        return batch.rows(rows.start, rows.stop), self.settings.batch * PAIRS

    def loss(self, model: nn.Module, batch: Any, targets: int) -> Tensor:
        predicted = model(batch.phone, batch.rate + 0.01 * batch.noise)
        return ((predicted - batch.seconds) ** 2).sum() / targets

    def export(self, average: Mapping[str, Tensor], folder: Path) -> None:
        checkpoint.write_tensors(folder / "durations.safetensors", average, {})

    def validation(self, rank: int, processes: int) -> Iterator[tuple[Pairs, int]]:
        for number in range(rank, 4, processes):
            yield make_pairs((self.settings.seed, 1, number), 3), 3 * PAIRS

    def sample(self, average: Mapping[str, Tensor], run: Path, step: int, seconds_allowed: float) -> list[Sample]:
        model = self.build()
        model.load_state_dict(average, strict=False)
        (run / "samples").mkdir(exist_ok=True)
        with torch.no_grad():
            seconds = model(torch.arange(PHONES), torch.zeros(PHONES)).tolist()
        path = run / "samples" / f"step-{step:08}.txt"
        path.write_text("".join(f"phone {phone}: {each:.3f} s\n" for phone, each in enumerate(seconds)))
        return [Sample(f"samples/{path.name}")]


def make_pairs(key: tuple[int, ...], rows: int) -> Pairs:
    """Phone n lasts 40 + 10 n ms, shorter at a higher rate."""
    random = np.random.default_rng(key)
    phone = random.integers(0, PHONES, (rows, PAIRS))
    rate, noise = random.standard_normal((2, rows, PAIRS)).astype(np.float32)
    seconds = ((0.04 + 0.01 * phone) * np.exp(-0.2 * rate)).astype(np.float32)
    return Pairs(*map(torch.from_numpy, (phone, rate, seconds, noise)))


def duration_settings(**changes: Any) -> Settings:
    quick: dict[str, Any] = {
        "steps": 12, "batch": 4, "learning_rate": 1e-2, "warmup": 2, "validate_every": 6, "sample_every": 6,
        "save_every": 4, "log_every": 1, "average": 0.9,
    }  # fmt: skip
    return Settings(**{**quick, **changes})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--kill", type=int, help="the step in which the process is killed")
    options = parser.parse_args()
    torch.set_num_threads(1)

    class Killed(DurationTask):
        def loss(self, model: nn.Module, batch: Any, targets: int) -> Tensor:
            if options.kill is not None and not torch.is_inference_mode_enabled():
                calls.append(1)
                if len(calls) == options.kill:
                    os.kill(os.getpid(), signal.SIGKILL)
            return super().loss(model, batch, targets)

    calls: list[int] = []
    group = Group("cpu")
    try:
        train(Killed(duration_settings(steps=options.steps)), options.out, group)
    finally:
        group.leave()


if __name__ == "__main__":
    sys.exit(main())
