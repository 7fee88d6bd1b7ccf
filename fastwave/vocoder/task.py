"""Training the WaveNet of a vocoder on the excitation of recordings, as a task of the training loop."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..config import WaveNetConfig
from ..data.windows import shuffled
from ..errors import InputError
from ..files import replacing
from ..model import WaveNet
from ..sound import audio, lpc
from ..training.settings import Settings
from ..training.task import Sample, Task
from ..training.wavenet import CPU_TARGETS, MATRICES
from . import vocoder
from .data import VocoderData

SETTINGS_FILE = "vocoder.json"
VALIDATION_ROWS = 4
_ODD = 1_000_003  # keys of the order of windows in one turn and the next are so far apart


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


class VocoderTask(Task):
    """Windows of the excitation, scored in bits a sample."""

    kind: ClassVar[str] = "vocoder"
    loss_name: ClassVar[str] = "bits"
    loss_unit: ClassVar[float] = math.log(2)

    def __init__(
        self,
        data: VocoderData,
        config: WaveNetConfig,
        settings: Settings,
        backend: str = "auto",
        start: WaveNet | None = None,
    ) -> None:
        super().__init__(config.to_dict(), settings)
        self.data, self.model_config, self.backend, self.start = data, config, backend, start
        self.layout, hop = data.layout, data.layout.hop
        self.window = -(-settings.window // hop)  # frames
        self.context = -(-config.receptive_field // hop)
        self.count = data.trained_frames // self.window
        if not self.count:
            seconds = data.trained_frames * hop / self.layout.sample_rate
            raise InputError(f"there is too little to train on: {seconds:.3g} s.")

    def build(self) -> WaveNet:
        """A WaveNet on the chosen backend, untrained or with the weights of `start`."""
        model = WaveNet(self.model_config, self.backend, self.settings.recompute)
        if self.start is not None:
            model.load_state_dict(self.start.state_dict())
        return model

    def batch(self, step: int, rows: slice) -> tuple[Batch, int]:
        """Every window comes once before any comes again, then cut elsewhere."""
        firsts = []
        for position in range(step * self.settings.batch, (step + 1) * self.settings.batch):
            turn, index = divmod(position, self.count)
            shift = shuffled(turn % self.window, self.window, self.settings.seed) - self.window // 2
            first = shuffled(index, self.count, self.settings.seed + _ODD * turn) * self.window + shift
            firsts.append(min(max(first, 0), self.data.trained_frames - self.window))
        return self._read(firsts[rows]), len(firsts) * self.window * self.layout.hop

    def loss(self, model: WaveNet, batch: Batch, targets: int) -> Tensor:  # type: ignore[override]
        """Nats of the targets, over `targets`."""
        return model.loss(batch.tokens, batch.conditions, weight=batch.counted / targets, excitation=batch.sines)

    def export(self, average: Mapping[str, Tensor], folder: Path) -> None:
        """A checkpoint folder with the vocoder's settings beside the WaveNet."""
        self._model_of(average).save_pretrained(folder)
        with replacing(folder / SETTINGS_FILE) as temporary:
            temporary.write_text(json.dumps(self.data.settings.to_dict(), indent=2) + "\n")

    def validation(self, rank: int, processes: int) -> Iterator[tuple[Batch, int]]:
        """Windows spread evenly over the held-out recordings."""
        border, window, hop = self.data.trained_frames, self.window, self.layout.hop
        count = min((self.data.frames - border) // window, -(-self.settings.validation_targets // (window * hop)))
        firsts = [border + i * (self.data.frames - border) // count // window * window for i in range(count)]
        firsts = [min(first, self.data.frames - window) for first in firsts][rank::processes]
        for row in range(0, len(firsts), VALIDATION_ROWS):
            part = firsts[row : row + VALIDATION_ROWS]
            yield self._read(part), len(part) * window * hop

    def sample(self, average: Mapping[str, Tensor], run: Path, step: int, seconds_allowed: float) -> list[Sample]:
        """The start of the held-out recordings, spoken from their frames."""
        first = self.data.trained_frames if self.data.trained_frames < self.data.frames else 0
        rate = self.layout.sample_rate
        count = min(self.data.frames - first, round(self.settings.sample_seconds * rate / self.layout.hop))
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

    def data_digest(self) -> str:
        """Another one for other data or settings."""
        return self.data.digest()

    def data_summary(self) -> dict[str, Any]:
        """How much there is."""
        hop, held_out = self.layout.hop, self.data.frames - self.data.trained_frames
        return {
            "samples": self.data.frames * hop,
            "held_out_samples": held_out * hop,
            "sample_rate": self.layout.sample_rate,
        }

    def _read(self, firsts: list[int]) -> Batch:
        silence = int(self.model_config.codec_object.silence)
        starts, length = [first - self.context for first in firsts], self.context + self.window
        tokens = np.stack([self.data.tokens(start, length, silence) for start in starts])
        frames = [self.layout.conditions(self.data.rows(start, length + 1)) for start in starts]
        sines = np.stack([self.data.sines(start, length) for start in starts])
        counted = torch.ones(len(firsts), self.window * self.layout.hop)
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
