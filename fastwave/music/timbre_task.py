"""Training the timbre network of a band, as a task of the training loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import checkpoint
from ..training.settings import Settings
from ..training.task import Task
from . import harmonics
from .analysis import BEGIN, FRAMES, RISE, TONE
from .corpus import Recorded
from .notes import hertz
from .timbre import Shape, Timbre, inputs_of, relative

FILE = "timbre.safetensors"
AUDIBLE = -0.4  # a level, 70 dB below full scale: F0 of what is quieter does not count
ROWS = 4_096  # of a batch of validation
# how much errors count: a band of the residual, ln F0, voicing, the attack, and a harmonic from silent to full scale
BAND, LOG_F0, VOICING, ATTACK, FAINT, LOUD = 0.5, 4.0, 1.0, 2.0, 0.3, 2.3


class Rows(NamedTuple):
    """instrument, key and the number of harmonics [N] int64; inputs [N, INPUTS]; wanted [N, WIDTH]."""

    instrument: Tensor
    key: Tensor
    harmonics: Tensor
    inputs: Tensor
    wanted: Tensor

    def rows(self, first: int, last: int) -> Rows:
        """Rows first .. last-1."""
        return Rows(*(part[first:last] for part in self))

    def picked(self, index: Tensor) -> Rows:
        """These rows."""
        return Rows(*(part[index] for part in self))

    def to(self, device: torch.device) -> Rows:
        """The same on a device."""
        return Rows(*(part.to(device) for part in self))


class TimbreTask(Task):
    """Every row of every note, in an order of its own in each pass."""

    kind: ClassVar[str] = "timbre"
    loss_name: ClassVar[str] = "decibels"
    loss_unit: ClassVar[float] = 1 / 50
    explosion_margin: ClassVar[float] = 5.0

    def __init__(
        self, notes: list[tuple[Recorded, np.ndarray]], names: list[str], digest: str, shape: Shape, settings: Settings
    ) -> None:
        super().__init__(dataclasses.asdict(shape), settings)
        self.shape, self.digest = shape, digest
        self.training = rows_of_notes([each for each in notes if not each[0].held_out], names)
        held_out = [each for each in notes if each[0].held_out]
        self.held_out = rows_of_notes(held_out, names) if held_out else None
        self._order: tuple[int, Tensor] = (-1, torch.zeros(0))  # of the last pass over the rows

    def build(self) -> Timbre:
        """An untrained network."""
        return Timbre(self.shape)

    def batch(self, step: int, rows: slice) -> tuple[Rows, int]:
        """Rows of all notes, mixed."""
        size, count = self.settings.batch, len(self.training.key)
        places = torch.arange(step * size, (step + 1) * size)
        index = torch.cat([self._pass(int(number))[places[places // count == number] % count]
                           for number in torch.unique(places // count)])  # fmt: skip
        return self.training.picked(index[rows]), size

    def loss(self, model: Timbre, batch: Rows, targets: int) -> Tensor:  # type: ignore[override]
        """Absolute errors, of loud harmonics most; a mean over the values of a row."""
        error = (model(batch.instrument, batch.key, batch.inputs) - batch.wanted).abs() * weights(batch)
        loss: Tensor = error.sum() / (targets * error.shape[1])
        return loss

    def validation(self, rank: int, processes: int) -> Iterator[tuple[Rows, int]]:
        """The notes that are held out."""
        if self.held_out is not None:
            for first in range(rank * ROWS, len(self.held_out.key), processes * ROWS):
                part = self.held_out.rows(first, first + ROWS)
                yield part, len(part.key)

    def export(self, average: Mapping[str, Tensor], folder: Path) -> None:
        """The weights."""
        checkpoint.write_tensors(folder / FILE, average, {})

    def data_digest(self) -> str:
        """That of the notes."""
        return self.digest

    def data_summary(self) -> dict[str, Any]:
        """How much there is."""
        return {"rows": len(self.training.key)}

    def _pass(self, number: int) -> Tensor:
        if self._order[0] != number:
            generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + number)
            self._order = number, torch.randperm(len(self.training.key), generator=generator)
        return self._order[1]


def rows_of_notes(notes: list[tuple[Recorded, np.ndarray]], names: list[str]) -> Rows:
    """All rows of notes [frames, WIDTH], one after another."""
    lengths = [len(rows) for _, rows in notes]

    def spread(values: list[int]) -> Tensor:
        return torch.from_numpy(np.repeat(np.array(values, dtype=np.int64), lengths))

    return Rows(
        spread([names.index(note.instrument) for note, _ in notes]),
        spread([note.key for note, _ in notes]),
        spread([harmonics.count(hertz(note.key), note.stretch) for note, _ in notes]),
        torch.from_numpy(np.concatenate([inputs_of(note.velocity, note.held, len(rows)) for note, rows in notes])),
        torch.from_numpy(np.concatenate([relative(rows, note.key) for note, rows in notes])),
    )


def weights(batch: Rows) -> Tensor:
    """How much each value of each row counts, [N, WIDTH]."""
    levels = batch.wanted[:, TONE:]
    there = torch.arange(levels.shape[1]) < batch.harmonics[:, None]
    result = torch.full_like(batch.wanted, BAND)
    result[:, FRAMES.log_f0] = LOG_F0 * (levels.amax(dim=1) > AUDIBLE)
    result[:, FRAMES.voicing] = VOICING
    result[:, [BEGIN, RISE]] = ATTACK
    result[:, TONE:] = there * (FAINT + (LOUD - FAINT) * ((levels + 1) / 1.5).clamp(0, 1))
    return result
