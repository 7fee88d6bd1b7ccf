"""What the training loop asks of a task: a model, its batches and its loss, and what is saved, validated and sampled.

`loop.train` keeps its promises (kills, rollbacks, many processes, micro-batches) for every task that keeps this one:
a batch depends on the settings and the step alone, and a loss on the model's parameters and the batch alone. Random
numbers that a loss needs travel in the batch, and buffers of the model are constants: neither is in the checkpoint.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from .settings import Settings


class Batch(Protocol):
    """Usually a NamedTuple of tensors whose first dimension counts rows."""

    def rows(self, first: int, last: int) -> Batch:
        """Rows first .. last-1."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""


class Sample(NamedTuple):
    """A file that a model in training has made. Paths are relative to the run; a sound may go to TensorBoard too."""

    file: str
    label: str = ""  # which one of a step's samples it is, in words
    real: str = ""  # a file of the data to compare with
    prime: int = 0  # samples or characters of data at the start of the file, which the model continues
    samples_per_second: float = 0.0
    wave: Tensor | None = None  # [T]
    sample_rate: int = 0


class Task(abc.ABC):
    """Something to train.

    `config` describes the model in JSON values. It is stored in run.json and in every checkpoint, and a run resumes
    only with the same one. Losses are divided by `loss_unit` and logged as `loss_name`. A run rolls back when its loss
    has risen by more than `explosion_margin`, in that unit, and four standard deviations.
    """

    kind: ClassVar[str]
    loss_name: ClassVar[str] = "loss"
    loss_unit: ClassVar[float] = 1.0
    explosion_margin: ClassVar[float] = 1.0
    other_data = False  # whether a run may go on with other data than those it has learned from

    def __init__(self, config: Mapping[str, Any], settings: Settings) -> None:
        self.config, self.settings = dict(config), settings

    @abc.abstractmethod
    def build(self) -> nn.Module:
        """The untrained model. The loop has seeded torch's generator and moves the model to its device.

        Parameters that require a gradient are trained; weight decay leaves out those whose names end in "bias".
        """

    @abc.abstractmethod
    def batch(self, step: int, rows: slice) -> tuple[Batch, int]:
        """These rows of a step's batch of `settings.batch` rows, and the targets in all rows.

        It is called in another thread, one step ahead.
        """

    @abc.abstractmethod
    def loss(self, model: nn.Module, batch: Batch, targets: int) -> Tensor:
        """The sum of the losses of a batch's targets, divided by `targets`: over parts of a batch it adds up."""

    @abc.abstractmethod
    def export(self, average: Mapping[str, Tensor], folder: Path) -> None:
        """Save the model of the averaged weights, which are on the CPU, so that it can be used without this run."""

    def validation(self, rank: int, processes: int) -> Iterable[tuple[Batch, int]]:
        """This process's share of the held-out batches, always the same ones, each with its number of targets."""
        return ()

    def last_validation(self, rank: int, processes: int) -> Iterable[tuple[Batch, int]] | None:
        """The same for the end of a run, where more can be heard; None where that is all already."""
        return None

    def sample(self, average: Mapping[str, Tensor], run: Path, step: int, seconds_allowed: float) -> list[Sample]:
        """Write what the averaged weights make into RUN/samples, in about so many seconds at most.

        The first sample is the one that later steps are compared by.
        """
        return []

    def matrices(self) -> Collection[str]:
        """Names of the parameters between layers, [..., inputs, outputs], which the Muon optimiser may move."""
        return ()

    def usual_micro_batch(self, device: torch.device) -> int:
        """Rows to compute at a time where the settings name no number; 0 is all."""
        return 0

    def native(self, device: torch.device) -> bool:
        """Whether native code computes nearly all of a loss and its gradient on this device."""
        return False

    def out_of_memory_advice(self) -> str:
        """What does not fit when one row does not, and what to change."""
        return "one row: make the rows or the model smaller."

    def failure(self, loss: float) -> str:
        """Why a model of this loss on held-out data is of no use, and what to do; empty where it may be of use."""
        return ""

    def data_digest(self) -> str:
        """A digest that changes when the data change."""
        return ""

    def data_summary(self) -> dict[str, Any]:
        """What the report says about the data."""
        return {}


def matrices_of(task: Task) -> Collection[str]:
    """Names of the parameters that Muon moves in this run."""
    return task.matrices() if task.settings.optimiser == "muon" else ()
