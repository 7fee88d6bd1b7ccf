"""Recordings -> what a vocoder's WaveNet is trained on: classes of the excitation, conditions, the phase of F0.

All recordings stand in one long stream, those to validate on at its end. Each begins and ends in silence, so a window
may begin anywhere. Three files and an index:

    tokens.npy      [samples]     uint8, mu-law classes of the excitation
    frames.npy      [frames, W]   float32, see `Frames`
    phase.npy       [frames]      float64, periods: pulses of the excitation stand at whole numbers
    vocoder.json    settings, and the number of frames to train on
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..codec import MuLaw
from ..errors import InputError
from ..files import replacing
from ..sound import lpc
from . import periods
from .frames import Frames
from .vocoder import VocoderSettings

FORMAT = 1
INDEX = "vocoder.json"
CLASSES = 256


@dataclasses.dataclass(frozen=True)
class Recording:
    """A sound [time] and the frames it shall be made from.

    Frames that an acoustic model has predicted for this recording make a vocoder that knows their faults: the
    excitation is then what the filter of these frames needs to give the recording.
    """

    wave: npt.NDArray[np.floating]
    frames: npt.NDArray[np.floating]  # [ceil(time / hop), width]
    held_out: bool = False
    source: str = ""  # the polarity of a sound is that of most recordings of its source


def prepare(recordings: Iterable[Recording], folder: str | os.PathLike[str], settings: VocoderSettings) -> None:
    """Write the training data of a vocoder."""
    layout, codec = settings.frames, MuLaw(CLASSES)
    excitations, kept = [], []
    for recording in recordings:
        wave = np.zeros(layout.mel.frames(len(recording.wave)) * layout.hop)
        wave[: len(recording.wave)] = recording.wave
        rows = _checked(recording.frames, len(wave) // layout.hop, layout)
        predictors = lpc.predictors(rows[:, : layout.bands], layout.mel, settings.lpc)
        excitations.append(lpc.residual(wave, predictors).astype("f4"))
        kept.append(dataclasses.replace(recording, wave=np.zeros(0), frames=rows))
    if all(each.held_out for each in kept):
        raise InputError("there is no recording to train on.")
    order = sorted(range(len(kept)), key=lambda i: kept[i].held_out)  # stable: those held out come last
    signs = _polarities(excitations, kept, layout)
    phases = [periods.aligned(excitations[i], kept[i].frames, layout, signs[kept[i].source]) for i in order]
    tokens = [codec.encode(torch.from_numpy(excitations[i] / settings.scale)).to(torch.uint8).numpy() for i in order]
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    _save(target / "tokens.npy", np.concatenate(tokens))
    _save(target / "frames.npy", np.concatenate([kept[i].frames for i in order]))
    _save(target / "phase.npy", np.concatenate(phases))
    lengths = [(len(each.frames), each.held_out) for each in kept]
    trained = sum(frames for frames, held_out in lengths if not held_out)
    index = {"format": FORMAT, "frames": sum(frames for frames, _ in lengths), "trained_frames": trained}
    with replacing(target / INDEX) as temporary:
        content = {**index, "recordings": len(order), "settings": settings.to_dict()}
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def _checked(rows: npt.NDArray[np.floating], count: int, layout: Frames) -> npt.NDArray[np.float32]:
    if rows.shape != (count, layout.width):
        raise InputError(f"{count} frames of {layout.width} are needed, got {list(rows.shape)}.")
    return np.asarray(rows, dtype=np.float32)


class VocoderData:
    """A folder that `prepare` has written; the arrays are mapped, so only what is asked for is read."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            self.index: dict[str, Any] = json.loads((self.folder / INDEX).read_text())
            self.frames, self.trained_frames = int(self.index["frames"]), int(self.index["trained_frames"])
            self.settings = VocoderSettings.from_dict(self.index["settings"])
            self.layout = self.settings.frames
            parts = [np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in ("tokens", "frames", "phase")]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.folder} holds no training data of a vocoder ({error}): prepare them.") from error
        self._tokens, self._frames, self._phase = parts
        if (
            len(self._tokens) != self.frames * self.layout.hop
            or len(self._frames) != self.frames
            or len(self._phase) != self.frames
        ):
            raise InputError(f"{self.folder} is damaged, its files are of different lengths: prepare the data again.")

    def tokens(self, first: int, frames: int, silence: int) -> npt.NDArray[np.int64]:
        """Of so many frames from frame `first` on, [frames * hop]; silence beyond the ends of the stream."""
        hop = self.layout.hop
        result = np.full(frames * hop, silence, dtype=np.int64)
        low, high = max(first, 0), min(first + frames, self.frames)
        result[(low - first) * hop : (high - first) * hop] = self._tokens[low * hop : high * hop]
        return result

    def rows(self, first: int, frames: int) -> npt.NDArray[np.float32]:
        """The frames, [frames, width]; the edge frames repeat."""
        return np.asarray(self._frames[np.clip(np.arange(first, first + frames), 0, self.frames - 1)])

    def sines(self, first: int, frames: int) -> npt.NDArray[np.float32]:
        """Sine and cosine of the phase, [frames * hop, 2]."""
        rows = np.clip(np.arange(first, first + frames + 1), 0, self.frames - 1)
        voicing, hop = self._frames[rows, self.layout.voicing], self.layout.hop
        return periods.sines(self._phase[rows], voicing, 0, frames * hop, hop)

    def digest(self) -> str:
        """Another one for other data."""
        whole = hashlib.blake2b(json.dumps(self.index).encode(), digest_size=8)
        for part in (self._tokens, self._frames, self._phase):
            whole.update(np.ascontiguousarray(part[:: max(1, len(part) // 65_536)]).tobytes())
        return whole.hexdigest()


def _polarities(
    excitations: list[npt.NDArray[np.float32]], recordings: list[Recording], layout: Frames
) -> dict[str, int]:
    """Of each source that of most of its recordings."""
    votes = {recording.source: 0 for recording in recordings}
    for excitation, recording in zip(excitations, recordings, strict=True):
        voiced = np.repeat(recording.frames[:, layout.voicing] > 0.5, layout.hop)
        if voiced.any():
            votes[recording.source] += periods.polarity(excitation[voiced])
    return {source: 1 if vote >= 0 else -1 for source, vote in votes.items()}


def _save(path: Path, values: npt.NDArray[Any]) -> None:
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, values)
