"""Training the WaveNet of a vocoder on the excitation of recordings, as a task of the training loop."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..config import WaveNetConfig
from ..files import replacing
from ..model import WaveNet
from ..sound import audio, lpc
from ..training.settings import Settings
from ..training.task import Sample
from ..training.wavenet import CPU_TARGETS, MATRICES
from . import vocoder
from .data import VocoderData
from .frame_task import FrameTask, Place

SETTINGS_FILE = "vocoder.json"


class Batch(NamedTuple):
    """tokens [B, context + window]; conditions [B, F + 1, width]; sines [B, context + window, 2]; counted
    [B, window].
    """

    tokens: Tensor
    conditions: Tensor
    sines: Tensor
    counted: Tensor

    def rows(self, first: int, last: int) -> Batch:
        """Rows first .. last-1."""
        return Batch(*(part[first:last] for part in self))

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(part.to(device) for part in self))


class VocoderTask(FrameTask):
    """Windows of the excitation, scored in bits a sample."""

    kind: ClassVar[str] = "vocoder"
    loss_name: ClassVar[str] = "bits"
    loss_unit: ClassVar[float] = math.log(2)
    data: VocoderData

    def __init__(
        self,
        data: VocoderData,
        config: WaveNetConfig,
        settings: Settings,
        backend: str = "auto",
        start: WaveNet | None = None,
    ) -> None:
        super().__init__(data, config.to_dict(), settings)
        self.model_config, self.backend, self.start = config, backend, start
        self.context = -(-config.receptive_field // self.layout.hop)  # frames

    def build(self) -> WaveNet:
        """A WaveNet on the chosen backend, untrained or with the weights of `start`."""
        model = WaveNet(self.model_config, self.backend, self.settings.recompute)
        if self.start is not None:
            model.load_state_dict(self.start.state_dict())
        return model

    def loss(self, model: WaveNet, batch: Batch, targets: int) -> Tensor:  # type: ignore[override]
        """Nats of the targets, over `targets`."""
        return model.loss(batch.tokens, batch.conditions, weight=batch.counted / targets, excitation=batch.sines)

    def export(self, average: Mapping[str, Tensor], folder: Path) -> None:
        """A checkpoint folder with the vocoder's settings beside the WaveNet."""
        self._model_of(average).save_pretrained(folder)
        with replacing(folder / SETTINGS_FILE) as temporary:
            temporary.write_text(json.dumps(self.data.settings.to_dict(), indent=2) + "\n")

    def sample(self, average: Mapping[str, Tensor], run: Path, step: int, seconds_allowed: float) -> list[Sample]:
        """The start of the held-out recordings, spoken from their frames."""
        (first, count), rate = self.excerpt(), self.layout.sample_rate
        rows = self.data.rows(first, count)
        wave = vocoder.Vocoder(self._model_of(average), self.data.settings)(rows, seed=self.settings.seed)
        folder = run / "samples"
        folder.mkdir(exist_ok=True)
        name, real = f"samples/step-{step:08}.wav", "samples/real.wav"
        audio.save(run / name, wave, rate)
        audio.save(run / real, self._recording(first, count), rate)
        return [Sample(name, "made from the frames of a recording", real, 0, rate, torch.from_numpy(wave), rate)]

    def matrices(self) -> Collection[str]:
        """Those of every WaveNet."""
        return MATRICES

    def usual_micro_batch(self, device: torch.device) -> int:
        """About 8,000 targets at a time on a CPU."""
        return max(1, CPU_TARGETS // (self.window * self.layout.hop)) if device.type == "cpu" else 0

    def read(self, places: Sequence[Place]) -> Batch:
        """The batch of these windows, a row each."""
        silence = int(self.model_config.codec_object.silence)
        starts, length = [place.first - self.context for place in places], self.context + self.window
        tokens = np.stack([self.data.tokens(start, length, silence) for start in starts])
        frames = [self.layout.conditions(self.data.rows(start, length + 1)) for start in starts]
        sines = np.stack([self.data.sines(start, length) for start in starts])
        counted = torch.ones(len(places), self.window * self.layout.hop)
        return Batch(torch.from_numpy(tokens), torch.stack(frames), torch.from_numpy(sines), counted)

    def _recording(self, first: int, count: int) -> Any:
        """The recording itself, out of its classes."""
        codec, settings = self.model_config.codec_object, self.data.settings
        excitation = codec.decode(torch.from_numpy(self.data.tokens(first, count, 0))).numpy() * settings.scale
        rows = self.data.rows(first, count)[:, : self.layout.bands]
        synthesis = lpc.Synthesis(lpc.predictors(rows, self.layout.mel, settings.lpc))
        return np.clip(synthesis(excitation), -1, 1)

    def _model_of(self, average: Mapping[str, Tensor]) -> WaveNet:
        model = WaveNet(self.model_config, "reference")
        model.load_state_dict(average, strict=False)
        return model
