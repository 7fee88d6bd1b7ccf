"""Training the acoustic networks, each as a task of the training loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, pad, smooth_l1_loss

from ... import checkpoint
from ...training.settings import Settings
from ...training.task import Task
from ..analysis import LOG_F0, VOICING
from .data import Utterance, Utterances
from .networks import Durations, Shape, mel_network, pitch_network

POOL = 16  # batches whose sentences are sorted by length, so that rows of a batch are about equally long
ROUNDING = 0.1  # of ln frames: smaller errors are those of whole frames
UNVOICED = 0.05  # the weight of F0 where nothing is voiced, so that it stays near its neighbours
VALIDATION_ROWS = 8


class Sentences(NamedTuple):
    """A batch, padded with zeros. `inside` and `unit` say what is padding."""

    symbols: Tensor  # [B, U] int64
    features: Tensor  # [B, U, UNIT_FEATURES]
    inside: Tensor  # [B, 1, U] 1 inside a sentence
    exact: Tensor  # [B, U] frames
    unit: Tensor  # [B, F] int64, the index of a frame's unit, -1 behind the end
    place: Tensor  # [B, F, FRAME_FEATURES]
    frames: Tensor  # [B, F, 42]

    def rows(self, first: int, last: int) -> Sentences:
        """Rows first .. last-1."""
        return Sentences(*(part[first:last] for part in self))

    def to(self, device: torch.device) -> Sentences:
        """The same batch on a device."""
        return Sentences(*(part.to(device) for part in self))

    @classmethod
    def of(cls, utterances: Sequence[Utterance]) -> Sentences:
        """A batch of these."""
        return cls(
            _padded([each.places.symbols for each in utterances]),
            _padded([each.places.features for each in utterances]),
            _padded([torch.ones(len(each.exact)) for each in utterances])[:, None],
            _padded([each.exact for each in utterances]),
            _padded([each.index + 1 for each in utterances]) - 1,
            _padded([each.frame_features for each in utterances]),
            _padded([each.frames for each in utterances]),
        )


class AcousticTask(Task):
    """What the three have in common. `part` is the name of the network in `Acoustic`."""

    part: ClassVar[str]
    explosion_margin: ClassVar[float] = 0.5

    def __init__(self, data: Utterances, settings: Settings, shape: Shape | None = None) -> None:
        self.data, self.shape = data, shape or Shape()
        self.pitch_mean, self.pitch_deviation = data.pitch_range()
        config = {"shape": dataclasses.asdict(self.shape), "pitch_mean": self.pitch_mean}
        super().__init__({**config, "pitch_deviation": self.pitch_deviation}, settings)
        self._order: tuple[int, list[int]] = (-1, [])  # of the last pass over the data

    @classmethod
    def targets_of(cls, utterances: Sequence[Utterance]) -> int:
        """How many values are learned of these sentences: frames, if not of units."""
        return sum(len(each.frames) for each in utterances)

    def batch(self, step: int, rows: slice) -> tuple[Sentences, int]:
        """Sentences of similar lengths, each once in a pass over the data."""
        size = self.settings.batch
        chosen = [self._at(step * size + row) for row in range(size)]
        return Sentences.of(chosen[rows]), self.targets_of(chosen)

    def validation(self, rank: int, processes: int) -> Iterator[tuple[Sentences, int]]:
        """Held-out sentences of about `settings.validation_targets` frames."""
        chosen, frames = [], 0
        for each in self.data.held_out:
            if frames < self.settings.validation_targets:
                chosen.append(each)
                frames += len(each.frames)
        chosen.sort(key=lambda each: len(each.frames))
        for first in range(rank * VALIDATION_ROWS, len(chosen), processes * VALIDATION_ROWS):
            part = chosen[first : first + VALIDATION_ROWS]
            yield Sentences.of(part), self.targets_of(part)

    def export(self, average: Mapping[str, Tensor], folder: Path) -> None:
        """The network's weights, under the names they have in `Acoustic`."""
        tensors = {f"{self.part}.{name}": value for name, value in average.items()}
        checkpoint.write_tensors(folder / f"{self.part}.safetensors", tensors, {})

    def matrices(self) -> list[str]:
        """The convolutions between layers."""
        names = (name for name, _ in self.build().named_parameters())
        return [name for name in names if name.endswith((".wide.weight", ".narrow.weight", "spread.weight"))]

    def out_of_memory_advice(self) -> str:
        """Shorter sentences."""
        return "one sentence: leave the longest ones out of the data."

    def data_digest(self) -> str:
        """Another one for other sentences."""
        return self.data.digest

    def data_summary(self) -> dict[str, Any]:
        """Sentences and hours."""
        return self.data.summary()

    def _at(self, number: int) -> Utterance:
        """The utterance that comes at this place of training."""
        count, size = len(self.data.training), self.settings.batch
        epoch, place = divmod(number, count)
        if self._order[0] != epoch:
            self._order = epoch, self._pass(epoch, count, size)
        return self.data.training[self._order[1][place]]

    def _pass(self, epoch: int, count: int, size: int) -> list[int]:
        draw = np.random.default_rng((self.settings.seed, epoch))
        order, pool = draw.permutation(count), POOL * size
        batches: list[list[int]] = []
        for first in range(0, count, pool):
            part = sorted(order[first : first + pool].tolist(), key=lambda i: len(self.data.training[i].frames))
            batches += [part[i : i + size] for i in range(0, len(part), size)]
        return [index for batch in draw.permutation(len(batches)).tolist() for index in batches[batch]]


class DurationTask(AcousticTask):
    """How long every unit lasts, in ln frames."""

    kind: ClassVar[str] = "speech-durations"
    part: ClassVar[str] = "duration"
    loss_name: ClassVar[str] = "duration_error"

    def build(self) -> Durations:
        """Units -> ln frames."""
        return Durations(self.shape)

    @classmethod
    def targets_of(cls, utterances: Sequence[Utterance]) -> int:
        """Units."""
        return sum(len(each.exact) for each in utterances)

    def loss(self, model: nn.Module, batch: Any, targets: int) -> Tensor:
        """Errors of ln frames, squared while they are those of rounding."""
        guess = model(batch.symbols, batch.features, batch.inside)
        errors = smooth_l1_loss(guess, batch.exact.clamp(min=0.5).log(), reduction="none", beta=ROUNDING)
        loss: Tensor = (errors * batch.inside[:, 0]).sum() / targets
        return loss


class PitchTask(AcousticTask):
    """Log F0, in standard deviations, and voicing of every frame."""

    kind: ClassVar[str] = "speech-pitch"
    part: ClassVar[str] = "pitch"
    loss_name: ClassVar[str] = "pitch_error"

    def build(self) -> nn.Module:
        """Units and their durations -> log F0 and voicing."""
        return pitch_network(self.shape)

    def loss(self, model: nn.Module, batch: Any, targets: int) -> Tensor:
        """Errors of F0 and of its movement where it is heard, and the cross entropy of voicing."""
        f0, logit = model(batch.symbols, batch.features, batch.inside, batch.unit, batch.place).unbind(1)
        inside = (batch.unit >= 0).to(f0)
        wanted, voicing = self._normalised(batch.frames[..., LOG_F0]), batch.frames[..., VOICING]
        error = f0 - wanted
        weight = inside * (UNVOICED + voicing)
        movement = error.diff(dim=1).abs() * torch.minimum(weight[:, 1:], weight[:, :-1])
        voiced = binary_cross_entropy_with_logits(logit, voicing, reduction="none")
        loss: Tensor = (error.abs() * weight).sum() + 2 * movement.sum() + (voiced * inside).sum()
        return loss / targets

    def _normalised(self, log_f0: Tensor) -> Tensor:
        return (log_f0 - self.pitch_mean) / self.pitch_deviation


class MelTask(PitchTask):
    """Mel bands of every frame, given its F0 and voicing."""

    kind: ClassVar[str] = "speech-mel"
    part: ClassVar[str] = "mel"
    loss_name: ClassVar[str] = "decibels"
    loss_unit: ClassVar[float] = 1 / 50  # a mel value of 1 is 100 dB above one of -1
    explosion_margin: ClassVar[float] = 5.0

    def build(self) -> nn.Module:
        """Units, durations, F0 and voicing -> mel bands."""
        return mel_network(self.shape)

    def loss(self, model: nn.Module, batch: Any, targets: int) -> Tensor:
        """Absolute errors, and half those of the changes from frame to frame, which keep transitions sharp."""
        inside = (batch.unit >= 0).to(batch.frames)[:, None]
        seen = torch.stack([self._normalised(batch.frames[..., LOG_F0]), batch.frames[..., VOICING]], dim=-1)
        others = torch.cat([batch.place, seen * inside.mT], dim=-1)  # an F0 of 0 behind the end is no F0
        bands = model(batch.symbols, batch.features, batch.inside, batch.unit, others)
        error = (bands - batch.frames[..., :LOG_F0].mT) * inside
        changes = error.diff(dim=2).abs() * inside[..., 1:]
        loss: Tensor = error.abs().sum() + 0.5 * changes.sum()
        return loss / float(targets * bands.shape[1])


def _padded(rows: Sequence[Tensor]) -> Tensor:
    longest = max(map(len, rows))
    return torch.stack([pad(row, (0, 0) * (row.ndim - 1) + (0, longest - len(row))) for row in rows])


TASKS: dict[str, type[AcousticTask]] = {task.part: task for task in (DurationTask, PitchTask, MelTask)}
