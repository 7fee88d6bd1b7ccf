"""Prepared data as windows. Which window comes when is a pure function of (seed, step): there is no state to lose.

A window is some targets and the receptive field before them: the past of the first target, or silence at the start of a
file, as in generation. Every process of a parallel run takes its own rows of the same global batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..config import WaveNetConfig
from ..errors import InputError
from ..upsampling import frames_ahead
from .shards import Data

Array = npt.NDArray[Any]


class Place(NamedTuple):
    """A window: targets first .. last-1 of a file."""

    file: int
    first: int
    last: int


class Batch(NamedTuple):
    """A batch of windows.

    tokens [B, context + window]; counted [B, window], 0 where a window reaches beyond its file; frames [B, F, C] and
    speaker [B], each None where the model has no such conditioning.
    """

    tokens: Tensor
    counted: Tensor
    frames: Tensor | None
    speaker: Tensor | None

    def rows(self, first: int, last: int) -> Batch:
        """Rows first .. last-1."""
        return Batch(*(None if part is None else part[first:last] for part in self))  # type: ignore[arg-type]

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(None if part is None else part.to(device) for part in self))  # type: ignore[arg-type]


class Windows:
    """The windows of one side of the data: those to train on, in an order without end, or the held-out ones."""

    def __init__(self, data: Data, config: WaveNetConfig, window: int, seed: int, held_out: bool = False) -> None:
        self.data, self.config, self.seed, self.held_out = data, config, seed, held_out
        hop = config.hop
        self.window = -(-window // hop) * hop  # windows begin where frames do
        self.context = -(-config.receptive_field // hop) * hop
        self.sides: list[Place] = []  # the part of every file that lies on this side
        for number, file in enumerate(data.files):
            border = file["samples"] - file.get("held_out_samples", 0)
            border = -(-border // hop) * hop if border < file["samples"] else border
            first, last = (border, file["samples"]) if held_out else (0, min(border, file["samples"]))
            if first < last:
                self.sides.append(Place(number, first, last))
        self.ends = np.cumsum([-(-(side.last - side.first) // self.window) for side in self.sides], dtype=np.int64)
        self.count = int(self.ends[-1]) if len(self.ends) else 0
        self.targets = sum(side.last - side.first for side in self.sides)

    def places(self, step: int, batch: int) -> list[Place]:
        """The global batch of a training step. Every window comes once before any comes again, then cut elsewhere."""
        if not self.count:
            raise InputError(f"no data to train on: all of {self.data.folder} is held out. Lower --held-out.")
        chosen = []
        for position in range(step * batch, (step + 1) * batch):
            turn, index = divmod(position, self.count)
            shift = _mixed(self.seed, turn, 0) % self.window - self.window // 2
            chosen.append(self._place(shuffled(index, self.count, _mixed(self.seed, turn, 1)), shift))
        return chosen

    def some(self, targets: int) -> list[Place]:
        """A fixed choice of windows that hold about so many targets; all windows where there are fewer."""
        needed = min(self.count, -(-targets // self.window))
        return [self._place(index, None) for index in sorted(shuffled(i, self.count, 1) for i in range(needed))]

    def _place(self, index: int, shift: int | None) -> Place:
        """The index-th window; `shift` moves its cut, so that no target stays at an edge for ever."""
        side_number = int(np.searchsorted(self.ends, index, side="right"))
        side = self.sides[side_number]
        within = index - (int(self.ends[side_number - 1]) if side_number else 0)
        first = side.first + within * self.window
        if shift is not None:
            first = max(side.first, min(first + shift, side.last - self.window))
            first = first // self.config.hop * self.config.hop
        return Place(side.file, first, min(first + self.window, side.last))

    def batch(self, places: Sequence[Place]) -> Batch:
        """Read windows."""
        config, length = self.config, self.context + self.window
        silence = config.codec_object.silence
        tokens = np.full((len(places), length), silence, dtype=np.float32 if config.scalar_input else np.int64)
        counted = np.zeros((len(places), self.window), dtype=np.float32)
        frames = []
        for row, place in enumerate(places):
            start = place.first - self.context
            stored = self.data.tokens(place.file, max(0, start), place.last)
            at = max(0, -start)
            tokens[row, at : at + len(stored)] = stored / np.float32(32768) if config.scalar_input else stored
            counted[row, : place.last - place.first] = 1
            if config.local_channels:  # and a frame more for each stage that interpolates
                more = 2 + len(config.upsample_scales) + max(0, frames_ahead(config.upsample_stages))
                numbers = np.arange(start // config.hop, start // config.hop + length // config.hop + more)
                frames.append(self.data.frames(place.file, numbers))
        speakers = [self.data.files[place.file]["speaker"] for place in places]
        return Batch(
            torch.from_numpy(tokens),
            torch.from_numpy(counted),
            torch.from_numpy(np.stack(frames)) if frames else None,
            torch.tensor(speakers) if config.speakers else None,
        )


def shuffled(index: int, count: int, key: int) -> int:
    """Where `index` stands in a permutation of 0 .. count-1 chosen by `key`: a Feistel network, walked until inside."""
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for turn in range(4):
            left, right = right, left ^ (_mixed(key, turn, right) & mask)
        index = left << half | right
        if index < count:
            return index


def _mixed(*numbers: int) -> int:
    """64 bits that look random."""
    content = b"".join(number.to_bytes(9, "little", signed=True) for number in numbers)
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
