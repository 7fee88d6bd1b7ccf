"""Prepared data on disk: an index and memory-mapped shards, of which a window reads only its own stretch."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .preparation import Preparation

FORMAT = 1
INDEX = "prepared.json"
MAX_INDEX_BYTES = 1 << 30

Array = npt.NDArray[Any]


class Data:
    """A folder of prepared data. The index is read at once, tokens and frames when they are asked for."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.index = _read_index(self.folder / INDEX)
        try:
            self.preparation = Preparation(**self.index["preparation"])
            self.files: list[dict[str, Any]] = self.index["files"]
            self.speakers: list[str] = self.index["speakers"]
        except (KeyError, TypeError) as error:
            raise InputError(f"{self.folder / INDEX} is damaged ({error}): prepare the data again.") from error
        self._mapped: dict[str, Array] = {}

    def summary(self) -> dict[str, Any]:
        """The figures of the data that a report shows."""
        held_out = sum(file.get("held_out_samples", 0) for file in self.files)
        return {
            "source": self.index["source"],
            "files": len(self.files),
            "samples": sum(file["samples"] for file in self.files),
            "held_out_samples": held_out,
            "sample_rate": self.preparation.sample_rate,
            "white_noise_bits": self.index["white_noise_bits"],
            "order0_bits": self.index["order0_bits"],
            "skipped": self.index["skipped"],
        }

    def digest(self) -> str:
        """A digest of the data: another one for other files, other settings, or another held-out side."""
        contents = json.dumps([self.files, self.index["preparation"]])
        return hashlib.blake2b(contents.encode(), digest_size=8).hexdigest()

    def tokens(self, file: int, first: int, last: int) -> Array:
        """Stored tokens first .. last-1 of a file."""
        entry = self.files[file]
        whole = self._map(entry, "tokens", self.preparation.dtype, entry["at"] + entry["samples"])
        return whole[entry["at"] + first : entry["at"] + last]

    def frames(self, file: int, rows: Array) -> Array:
        """Frames of a file by number; the edge frames repeat."""
        entry, width = self.files[file], self.preparation.feature_channels
        whole = self._map(entry, "frames", np.dtype(np.float32), (entry["first_frame"] + entry["frames"]) * width)
        result: Array = whole.reshape(-1, width)[entry["first_frame"] + np.clip(rows, 0, entry["frames"] - 1)]
        return result

    def _map(self, entry: dict[str, Any], kind: str, dtype: np.dtype[Any], needed: int) -> Array:
        """The memory-mapped shard that holds a file; it must have at least `needed` elements."""
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
