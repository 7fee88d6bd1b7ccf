"""Training a student on recordings by an energy distance, as a task of the training loop."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..sound import audio
from ..training.settings import Settings
from ..training.task import Sample
from ..vocoder.frame_task import FrameTask, Place
from . import objectives
from .config import StudentConfig
from .data import StudentData
from .generator import StudentGenerator
from .network import MATRICES, ParallelWaveNet
from .prior import REACH, Prior, normal, shaped

# The weight of what holds two draws apart, in training. With 1, which is the energy distance itself, a student of this
# size makes up in noise what it cannot place: above 1 kHz it is hoarser than the recordings
APART = 0.4
_VALIDATION_STREAM = 1 << 31  # whose noise training never sees


class Batch(NamedTuple):
    """excitation [B, draws, T], of a flow [B, draws, 3, T]; conditions [B, T / squeeze, width]; filters [B, n, bins];
    wave [B, window].

    The last frame of the filters stands at the end of the wave, one hop before the end of the excitation.
    """

    excitation: Tensor
    conditions: Tensor
    filters: Tensor
    wave: Tensor

    def rows(self, first: int, last: int) -> Batch:
        """Rows first .. last-1."""
        return Batch(*(part[first:last] for part in self))

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(part.to(device) for part in self))


class StudentTask(FrameTask):
    """Windows of recordings, each with two draws of what the student makes of their frames."""

    kind: ClassVar[str] = "student"
    loss_name: ClassVar[str] = "distance"
    explosion_margin: ClassVar[float] = 0.3
    validation_rows: ClassVar[int] = 2
    draws: ClassVar[int] = 2  # of each window: the energy distance holds them apart
    data: StudentData

    def __init__(self, data: StudentData, config: StudentConfig, settings: Settings, backend: str = "auto") -> None:
        super().__init__(data, config.to_dict(), settings)
        self.model_config, self.backend = config, backend
        if config.frames != data.layout or (config.normalize, config.dither) != (data.normalize, data.dither):
            raise InputError("the data were prepared for other frames or another level: prepare them again.")
        self.prior = Prior(config.frames, config.squeeze, config.flow, config.voiced_to)
        hop = self.layout.hop
        self._window = torch.from_numpy(self.prior.window)
        self.ringing = 1 + -(-self.prior.tail // hop)  # frames whose filters are still heard in a window
        self.context = self.ringing + -(-config.receptive_field * config.squeeze // hop)

    def build(self) -> ParallelWaveNet:
        """A student on the chosen backend, untrained."""
        return ParallelWaveNet(self.model_config, self.backend, self.settings.recompute)

    def loss(self, model: ParallelWaveNet, batch: Batch, targets: int) -> Tensor:  # type: ignore[override]
        """The energy distance of each window, with `APART`, times its samples, over `targets`."""
        window, hop = batch.wave.shape[1], self.layout.hop
        conditions, filters = (each.repeat_interleave(self.draws, 0) for each in (batch.conditions, batch.filters))
        refined = model(batch.excitation.flatten(0, 1), conditions).float()
        with torch.autocast(refined.device.type, enabled=False):
            heard = refined[:, -(filters.shape[1] + 1) * hop :]
            made = shaped(heard, filters, self._window.to(refined))[:, -window:].reshape(-1, self.draws, window)
            distances = objectives.energy_distance(batch.wave, made[:, 0], made[:, 1], apart=APART)
        return distances.sum() * (window / targets)

    def export(self, average: Mapping[str, Tensor], folder: Path) -> None:
        """A checkpoint folder of kind "student"."""
        self._model_of(average).save_pretrained(folder)

    def sample(self, average: Mapping[str, Tensor], run: Path, step: int, seconds_allowed: float) -> list[Sample]:
        """The start of the held-out recordings, made from their frames."""
        (first, count), rate, hop = self.excerpt(), self.layout.sample_rate, self.layout.hop
        generator = StudentGenerator(self._model_of(average))
        condition = generator.prepare(torch.from_numpy(self.data.rows(first, count)[0]), None, 1, count * hop)
        state = generator.start(1, condition=condition)
        wave = generator.run(state, count * hop, seed=self.settings.seed, condition=condition)[0]
        (run / "samples").mkdir(exist_ok=True)
        name, real = f"samples/step-{step:08}.wav", "samples/real.wav"
        audio.save(run / name, wave, rate)
        audio.save(run / real, self.data.wave(first, count), rate)
        return [Sample(name, "made from the frames of a recording", real, 0, rate, wave, rate)]

    def matrices(self) -> Collection[str]:
        """Those between the layers. Skip weights start at zero and lead out of the network."""
        return MATRICES

    def usual_micro_batch(self, device: torch.device) -> int:
        """One window at a time on a CPU."""
        return 1 if device.type == "cpu" else 0

    def read(self, places: Sequence[Place]) -> Batch:
        """The batch of these windows, a row each. The number of a window names its noise."""
        hop, count = self.layout.hop, self.context + self.window + 1  # frames of the excitation
        excitations, conditions, filters, waves = [], [], [], []
        for first, number, validates in places:
            stream = _VALIDATION_STREAM if validates else 0
            rows, phase = self.data.rows(first - self.context - 1, count + 3)
            rows = rows[1:-1]
            length = count * hop + 2 * REACH
            noises = [normal(self.settings.seed, stream + draw, number * length, length) for draw in range(self.draws)]
            excitations.append(np.stack([self.prior.inputs(rows, phase, noise) for noise in noises]))
            conditions.append(self.prior.conditions(rows))
            filters.append(self.prior.filters(rows[self.context - self.ringing : -1]).astype(np.complex64))
            waves.append(self.data.wave(first, self.window))
        return Batch(*(torch.from_numpy(np.stack(each)) for each in (excitations, conditions, filters, waves)))

    def _model_of(self, average: Mapping[str, Tensor]) -> ParallelWaveNet:
        model = ParallelWaveNet(self.model_config, "reference")
        model.load_state_dict(average, strict=False)
        return model
