"""Prepared data as windows: which one comes when is a pure function of (seed, step), so that there is no state to lose.

A window is some targets and, before them, one receptive field of what came before, or of silence at the start of a
file, as in generation. Every process of a parallel run takes its own rows of the same global batch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .config import WaveNetConfig
from .errors import InputError
from .prepare import FORMAT, INDEX, Preparation

Array = npt.NDArray[Any]
MAX_INDEX_BYTES = 1 << 30


class Place(NamedTuple):
    """A window: targets first .. last-1 of a file."""

    file: int
    first: int
    last: int


class Batch(NamedTuple):
    """tokens [B, context + window]; counted [B, window], 0 where a file has no target; frames, speaker for a model."""

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


class Data:
    """A folder that `prepare` made. Nothing is read before a window asks for it."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.index = _read_index(self.folder / INDEX)
        try:
            self.how = Preparation(**self.index["preparation"])
            self.files: list[dict[str, Any]] = self.index["files"]
            self.speakers: list[str] = self.index["speakers"]
        except (KeyError, TypeError) as error:
            raise InputError(f"{self.folder / INDEX} is damaged ({error}): prepare the data again.") from error
        self._mapped: dict[str, Array] = {}

    def summary(self) -> dict[str, Any]:
        """What a report says about the data."""
        held_out = sum(file.get("held_out_samples", 0) for file in self.files)
        return {
            "source": self.index["source"],
            "files": len(self.files),
            "samples": sum(file["samples"] for file in self.files),
            "held_out_samples": held_out,
            "sample_rate": self.how.sample_rate,
            "white_noise_bits": self.index["white_noise_bits"],
            "order0_bits": self.index["order0_bits"],
            "skipped": self.index["skipped"],
        }

    def digest(self) -> str:
        """Another one for other files, other settings, or another held-out side."""
        told = json.dumps([self.files, self.index["preparation"]])
        return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()

    def tokens(self, file: int, first: int, last: int) -> Array:
        """Stored tokens first .. last-1 of a file."""
        entry = self.files[file]
        whole = self._map(entry, "tokens", self.how.dtype, entry["at"] + entry["samples"])
        return whole[entry["at"] + first : entry["at"] + last]

    def frames(self, file: int, rows: Array) -> Array:
        """Frames of a file by number; the edge frames repeat."""
        entry, width = self.files[file], self.how.feature_channels
        whole = self._map(entry, "frames", np.dtype(np.float32), (entry["first_frame"] + entry["frames"]) * width)
        result: Array = whole.reshape(-1, width)[entry["first_frame"] + np.clip(rows, 0, entry["frames"] - 1)]
        return result

    def _map(self, entry: dict[str, Any], kind: str, dtype: np.dtype[Any], needed: int) -> Array:
        """The shard of a file, which must hold so many elements."""
        path = self.folder / f"shard-{entry['shard']:05}.{kind}"
        if path.name not in self._mapped:
            try:
                self._mapped[path.name] = np.memmap(path, dtype=dtype, mode="r")
            except (OSError, ValueError) as error:
                raise InputError(f"{path} is missing or damaged ({error}): prepare the data again.") from error
        whole = self._mapped[path.name]
        if len(whole) < needed:
            raise InputError(f"{path} ends after {len(whole)} of {needed} values: prepare the data again.")
        return whole


class Windows:
    """The windows of one side of the data: those to train on, in an order without end, or the held-out ones."""

    def __init__(self, data: Data, config: WaveNetConfig, window: int, seed: int, held_out: bool = False) -> None:
        self.data, self.config, self.seed, self.held_out = data, config, seed, held_out
        hop = config.hop
        self.window = -(-window // hop) * hop  # windows begin where frames do
        self.context = -(-config.receptive_field // hop) * hop
        self.sides: list[Place] = []  # of every file, what lies on this side
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
        """A fixed choice of windows, all of them where they hold no more than about so many targets."""
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
                more = 2 + len(config.upsample_scales)
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
    told = b"".join(number.to_bytes(9, "little", signed=True) for number in numbers)
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "little")


def _read_index(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise InputError(f"{path} is over {MAX_INDEX_BYTES} bytes: not an index of fastwave.")
        index = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}. Make it with `fastwave prepare`.") from error
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): prepare the data again.") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise InputError(f"{path} was made by another version of fastwave: prepare the data again.")
    return index
