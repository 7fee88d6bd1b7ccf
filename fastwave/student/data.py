"""Recordings -> what a student is trained on: waves, and the frames that it makes them from.

All recordings stand in one long stream, those to validate on at its end. Each is filled up with zeros to whole frames.
Two files and an index:

    wave.npy       [samples]          int16
    frames.npy     [frames, width]    float32, see vocoder/analysis.py
    student.json   the layout of frames, level and dither, and the number of frames to train on
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import sources
from ..errors import FastwaveError, InputError
from ..files import replacing
from ..sound import audio, loudness
from ..vocoder import analysis, periods
from ..vocoder.frames import Frames
from .config import dithered

FORMAT = 1
INDEX = "student.json"


def prepare(
    recordings: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    layout: Frames,
    normalize: loudness.Normalize = "loudness",
    held_out: float = 0.05,
    dither: float = 0.0,
) -> list[str]:
    """Write the training data of all sound files of a folder -> why files were left out, a sentence each.

    So many of the files are kept for validation: which ones depends on their names. `dither` is the scale of the noise
    that each of them gets.
    """
    found, _ = sources.find(recordings)
    waves, frames, left_out = [], [], []
    order = sorted(found, key=lambda source: hashlib.blake2b(source.name.encode()).digest())
    kept_back = {source.name for source in order[: round(held_out * len(order))]}
    trained = 0
    for source in sorted(found, key=lambda source: (source.name in kept_back, source.name)):
        try:
            wave = loudness.load(source.path, layout.sample_rate, normalize).numpy()
        except FastwaveError as error:
            left_out.append(str(error))
            continue
        if len(wave) < layout.mel.window or not np.abs(wave).max() > loudness.SILENT:
            left_out.append(f"{source.name}: shorter than a frame, or silent.")
            continue
        whole = np.zeros(layout.mel.frames(len(wave)) * layout.hop, dtype=np.float32)
        whole[: len(wave)] = wave
        whole = dithered(whole, dither)
        waves.append(audio.sixteen_bits(whole))
        frames.append(analysis.frames(whole, layout=layout))
        trained += len(frames[-1]) if source.name not in kept_back else 0
    if not trained:
        raise InputError(f"{recordings} holds no sound to train on: {'; '.join(left_out[:3]) or 'no sound files'}")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, parts in (("wave", waves), ("frames", frames)):
        with replacing(target / f"{name}.npy") as temporary, open(temporary, "wb") as file:
            np.save(file, np.concatenate(parts))
    values = {"format": FORMAT, "frames": sum(map(len, frames)), "trained_frames": trained, "recordings": len(frames)}
    with replacing(target / INDEX) as temporary:
        content = {**values, "layout": dataclasses.asdict(layout), "normalize": normalize, "dither": dither}
        temporary.write_text(json.dumps(content, indent=2) + "\n")
    return left_out


class StudentData:
    """A folder that `prepare` has written; the waves are mapped, so only what is asked for is read."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            self.index: dict[str, Any] = json.loads((self.folder / INDEX).read_text())
            self.frames, self.trained_frames = int(self.index["frames"]), int(self.index["trained_frames"])
            self.layout = Frames.from_dict(self.index["layout"])
            self.normalize: loudness.Normalize = self.index["normalize"]
            self.dither = float(self.index.get("dither", 0.0))  # the first data had none
            self._wave, self._frames = (
                np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in ("wave", "frames")
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.folder} holds no training data of a student ({error}): prepare them.") from error
        if len(self._frames) != self.frames or len(self._wave) != self.frames * self.layout.hop:
            raise InputError(f"{self.folder} is damaged, its files are of different lengths: prepare the data again.")
        self._phase = periods.running(self._frames[:, self.layout.log_f0], self.layout)

    def wave(self, first: int, frames: int) -> npt.NDArray[np.float32]:
        """The samples of so many frames from frame `first` on, both inside the stream."""
        hop = self.layout.hop
        return np.asarray(self._wave[first * hop : (first + frames) * hop], dtype=np.float32) / np.float32(2**15)

    def rows(self, first: int, frames: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """Frames and their phase of F0; beyond the ends of the stream the edge frames repeat."""
        index = np.clip(np.arange(first, first + frames), 0, self.frames - 1)
        return np.asarray(self._frames[index]), self._phase[index]

    def digest(self) -> str:
        """Another one for other data."""
        whole = hashlib.blake2b(json.dumps(self.index).encode(), digest_size=8)
        for part in (self._wave, self._frames):
            whole.update(np.ascontiguousarray(part[:: max(1, len(part) // 65_536)]).tobytes())
        return whole.hexdigest()
