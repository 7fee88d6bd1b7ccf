"""A small convolutional network that names the sound of every frame, trained on paths found before.

It hears 300 ms around a frame, where the hidden Markov models hear 65 ms, so it is surer of where one sound ends.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .. import checkpoint
from ..data.windows import shuffled
from ..errors import InputError
from ..training.settings import Settings
from ..training.task import Task
from .readings import COLUMNS, FINE

CHANNELS = 96
DILATIONS = (1, 2, 4)
WINDOW, BATCH, LEARNING_RATE = 400, 16, 2e-3
HELD_OUT = 0.05  # of the frames, for the loss that the log shows
_ODD = 1_000_003  # keys of the order of windows in one turn and the next are so far apart
WEIGHTS = "model.safetensors"

Floats = npt.NDArray[np.float32]


class SoundNet(nn.Module):
    """Log-mel [B, T, bands] -> ln of the probability of every state of every sound, [B, T, COLUMNS]."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.first = nn.Conv1d(FINE.bands, channels, 5, padding=2)
        self.hidden = nn.ModuleList(
            nn.Conv1d(channels, channels, 5, padding=2 * dilation, dilation=dilation) for dilation in DILATIONS
        )
        self.last = nn.Conv1d(channels, COLUMNS, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """Zeros stand before and after the frames."""
        x = torch.relu(self.first(mel.transpose(1, 2)))
        for layer in self.hidden:
            x = x + torch.relu(layer(x))
        return torch.log_softmax(self.last(x), dim=1).transpose(1, 2)


@dataclasses.dataclass(frozen=True)
class Labelled:
    """The frames of all recordings in one stream, log-mel [N, bands] around 0, and the column of each, [N]."""

    mel: Floats
    columns: npt.NDArray[np.uint8]

    @property
    def trained(self) -> int:
        """Frames to train on; those after them are held out."""
        return max(WINDOW, round(len(self.mel) * (1 - HELD_OUT)))


class Batch(NamedTuple):
    """mel [B, WINDOW, bands], columns [B, WINDOW]."""

    mel: Tensor
    columns: Tensor

    def rows(self, first: int, last: int) -> Batch:
        """Rows first .. last-1."""
        return Batch(*(part[first:last] for part in self))

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(part.to(device) for part in self))


class AlignerTask(Task):
    """Windows of frames, scored in nats a frame."""

    kind: ClassVar[str] = "aligner"
    loss_name: ClassVar[str] = "nats"

    def __init__(self, data: Labelled, settings: Settings, channels: int = CHANNELS) -> None:
        super().__init__({"channels": channels, "columns": COLUMNS, "mel": FINE.to_dict()}, settings)
        if len(data.mel) < 2 * WINDOW:
            raise InputError(f"there is too little to align: {len(data.mel) / 200:.3g} s of sound with text.")
        self.data, self.channels = data, channels
        self.count = data.trained // WINDOW

    def build(self) -> SoundNet:
        """An untrained network."""
        return SoundNet(self.channels)

    def batch(self, step: int, rows: slice) -> tuple[Batch, int]:
        """Every window comes once before any comes again, then cut elsewhere."""
        firsts = []
        for position in range(step * self.settings.batch, (step + 1) * self.settings.batch):
            turn, index = divmod(position, self.count)
            shift = shuffled(turn % WINDOW, WINDOW, self.settings.seed) - WINDOW // 2
            first = shuffled(index, self.count, self.settings.seed + _ODD * turn) * WINDOW + shift
            firsts.append(min(max(first, 0), self.data.trained - WINDOW))
        return self._read(firsts[rows]), len(firsts) * WINDOW

    def loss(self, model: nn.Module, batch: Batch, targets: int) -> Tensor:  # type: ignore[override]
        """Cross entropy with the columns."""
        logits: Tensor = model(batch.mel)
        chosen = logits.gather(2, batch.columns[:, :, None])
        return -chosen.sum() / targets

    def validation(self, rank: int, processes: int) -> Iterator[tuple[Batch, int]]:
        """Windows of the frames that are held out."""
        firsts = range(self.data.trained, len(self.data.mel) - WINDOW + 1, WINDOW)[rank::processes]
        for row in range(0, len(firsts), BATCH):
            part = list(firsts[row : row + BATCH])
            yield self._read(part), len(part) * WINDOW

    def export(self, average: Mapping[str, Tensor], folder: Path) -> None:
        """The weights alone."""
        checkpoint.write_tensors(folder / WEIGHTS, dict(average), {"kind": self.kind})

    def data_digest(self) -> str:
        """Another one for other recordings or other paths."""
        whole = hashlib.blake2b(self.data.columns.tobytes(), digest_size=8)
        whole.update(np.ascontiguousarray(self.data.mel[:: max(1, len(self.data.mel) // 65_536)]).tobytes())
        return whole.hexdigest()

    def data_summary(self) -> dict[str, Any]:
        """How much there is."""
        return {"frames": len(self.data.mel), "held_out_frames": len(self.data.mel) - self.data.trained}

    def _read(self, firsts: list[int]) -> Batch:
        mel = np.stack([self.data.mel[first : first + WINDOW] for first in firsts])
        columns = np.stack([self.data.columns[first : first + WINDOW] for first in firsts])
        return Batch(torch.from_numpy(mel), torch.from_numpy(columns.astype(np.int64)))
