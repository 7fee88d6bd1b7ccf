"""Recordings -> what the voice's WaveNet is trained on: classes of the excitation, conditions, the phase of F0.

All recordings stand in one long stream, those to validate on at its end. Between two of them there is silence, as
before and after each sentence, so a window may begin anywhere. Three files and an index:

    tokens.npy      [samples]     uint8, mu-law classes of the excitation
    frames.npy      [frames, 42]  float32, see `analysis.frames`
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
from . import analysis, periods
from .analysis import BANDS, HOP, MEL, VOICING, WIDTH
from .vocoder import VocoderSettings

FORMAT = 1
INDEX = "vocoder.json"
CLASSES = 256


@dataclasses.dataclass(frozen=True)
class Recording:
    """A sound at 16 kHz [time], with its F0 where that is known, and the frames it shall be spoken from.

    Frames that an acoustic model has predicted for this recording make a vocoder that knows their faults: the
    excitation is then what the filter of these frames needs to give the recording.
    """

    wave: npt.NDArray[np.floating]
    f0: npt.NDArray[np.floating] | None = None  # [ceil(time / 200)], Hz, 0 where unvoiced
    held_out: bool = False
    frames: npt.NDArray[np.floating] | None = None  # [ceil(time / 200), 42]; None: those of the sound


def prepare(recordings: Iterable[Recording], folder: str | os.PathLike[str], settings: VocoderSettings) -> None:
    """Write the training data of a vocoder."""
    excitations, frames, held_out = [], [], []
    for recording in recordings:
        wave = np.zeros(MEL.frames(len(recording.wave)) * HOP)
        wave[: len(recording.wave)] = recording.wave
        frames.append(_frames(recording, wave))
        excitations.append(lpc.residual(wave, lpc.predictors(frames[-1][:, :BANDS], MEL, settings.lpc)).astype("f4"))
        held_out.append(recording.held_out)
    if not any(not out for out in held_out):
        raise InputError("there is no recording to train on.")
    order = sorted(range(len(frames)), key=held_out.__getitem__)  # stable: those held out come last
    sign = _polarity(excitations, frames)
    codec = MuLaw(CLASSES)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    tokens = [codec.encode(torch.from_numpy(excitations[i] / settings.scale)).to(torch.uint8).numpy() for i in order]
    _save(target / "tokens.npy", np.concatenate(tokens))
    _save(target / "frames.npy", np.concatenate([frames[i] for i in order]))
    _save(target / "phase.npy", np.concatenate([periods.aligned(excitations[i], frames[i], sign) for i in order]))
    trained = sum(len(frames[i]) for i in order if not held_out[i])
    index = {"format": FORMAT, "frames": sum(map(len, frames)), "trained_frames": trained, "recordings": len(order)}
    with replacing(target / INDEX) as temporary:
        temporary.write_text(json.dumps({**index, "settings": settings.to_dict()}, indent=2) + "\n")


def _frames(recording: Recording, wave: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    if recording.frames is None:
        return analysis.frames(wave, recording.f0)
    if recording.frames.shape != (len(wave) // HOP, WIDTH):
        raise InputError(f"{len(wave) // HOP} frames of {WIDTH} are needed, got {list(recording.frames.shape)}.")
    return np.asarray(recording.frames, dtype=np.float32)


class VocoderData:
    """A folder that `prepare` has written; the arrays are mapped, so only what is asked for is read."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            self.index: dict[str, Any] = json.loads((self.folder / INDEX).read_text())
            self.frames, self.trained_frames = int(self.index["frames"]), int(self.index["trained_frames"])
            self.settings = VocoderSettings.from_dict(self.index["settings"])
            parts = [np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in ("tokens", "frames", "phase")]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.folder} holds no training data of a vocoder ({error}): prepare them.") from error
        self._tokens, self._frames, self._phase = parts
        if (
            len(self._tokens) != self.frames * HOP
            or len(self._frames) != self.frames
            or len(self._phase) != self.frames
        ):
            raise InputError(f"{self.folder} is damaged, its files are of different lengths: prepare the data again.")

    def tokens(self, first: int, frames: int, silence: int) -> npt.NDArray[np.int64]:
        """Of so many frames from frame `first` on, [frames * 200]; silence beyond the ends of the stream."""
        result = np.full(frames * HOP, silence, dtype=np.int64)
        low, high = max(first, 0), min(first + frames, self.frames)
        result[(low - first) * HOP : (high - first) * HOP] = self._tokens[low * HOP : high * HOP]
        return result

    def rows(self, first: int, frames: int) -> npt.NDArray[np.float32]:
        """The frames, [frames, 42]; the edge frames repeat."""
        return np.asarray(self._frames[np.clip(np.arange(first, first + frames), 0, self.frames - 1)])

    def sines(self, first: int, frames: int) -> npt.NDArray[np.float32]:
        """Sine and cosine of the phase, [frames * 200, 2]."""
        rows = np.clip(np.arange(first, first + frames + 1), 0, self.frames - 1)
        return periods.sines(self._phase[rows], self._frames[rows, VOICING], 0, frames * HOP)

    def digest(self) -> str:
        """Another one for other data."""
        whole = hashlib.blake2b(json.dumps(self.index).encode(), digest_size=8)
        for part in (self._tokens, self._frames, self._phase):
            whole.update(np.ascontiguousarray(part[:: max(1, len(part) // 65_536)]).tobytes())
        return whole.hexdigest()


def _polarity(excitations: list[npt.NDArray[np.float32]], frames: list[npt.NDArray[np.float32]]) -> int:
    """That of most recordings."""
    signs = []
    for excitation, rows in zip(excitations, frames, strict=True):
        voiced = np.repeat(rows[:, VOICING] > 0.5, HOP)
        if voiced.any():
            signs.append(periods.polarity(excitation[voiced]))
    return 1 if sum(signs) >= 0 else -1


def _save(path: Path, values: npt.NDArray[Any]) -> None:
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, values)
