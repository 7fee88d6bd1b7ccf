"""Sentences that somebody spoke, with the durations of their phones: what the acoustic networks learn from.

The folder has `utterances.jsonl`, one sentence a line: {"id", "text", "symbols": names of SYMBOLS, "words": the index
of the word or pause of each symbol, -1 for the silence in front, "durations": frames of 12.5 ms}, and may have
"exact", durations before rounding, "speed", how much faster than usual it is spoken, and "held_out". The sound of a
sentence is `wavs/ID.wav`; `f0/ID.npy`, Hz a frame and 0 where unvoiced, is tracked where it is missing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from ...errors import InputError
from ...files import replacing
from ...sound import audio
from ..analysis import HOP, LOG_F0, SAMPLE_RATE, VOICING, frames
from ..phones import PAUSES, SYMBOLS, Pause, Sentence, Unit, Word
from .places import Places, frame_features, places

HELD_OUT = 0.05  # of the sentences, where the data do not say which
INDEX = "utterances.jsonl"
FRAMES = "frames.safetensors"  # the analysed sounds, written beside them when they are first needed


@dataclasses.dataclass(frozen=True)
class Utterance:
    """A sentence as it was spoken."""

    name: str
    text: str
    units: tuple[Unit, ...]
    places: Places
    durations: Tensor  # [U] int64, frames
    exact: Tensor  # [U] float32, frames before rounding at the usual speed
    frames: Tensor  # [F, 42]
    speed: float
    held_out: bool

    @property
    def sentence(self) -> Sentence:
        """As a front end has it, without the words' letters."""
        parts: list[Word | Pause] = []
        phones: list[str] = []
        for unit in self.units[1:]:
            phones.append(unit.symbol)
            if unit.last:
                parts.append(Pause(unit.symbol) if unit.symbol in PAUSES else Word("", tuple(phones)))
                phones = []
        return Sentence(tuple(parts))

    @property
    def index(self) -> Tensor:
        """The unit of every frame, [F]."""
        return torch.repeat_interleave(self.durations)

    @property
    def frame_features(self) -> Tensor:
        """[F, FRAME_FEATURES]"""
        return frame_features(self.durations)


@dataclasses.dataclass(frozen=True)
class Utterances:
    """All of a folder, in its order."""

    training: tuple[Utterance, ...]
    held_out: tuple[Utterance, ...]
    digest: str

    @classmethod
    def read(cls, folder: Path) -> Utterances:
        """Read a folder; its sounds are analysed once."""
        path = folder / INDEX
        try:
            text = path.read_text()
            lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}. It lists the sentences of the data.") from error
        except ValueError as error:
            raise InputError(f"{path} is damaged: {error}.") from error
        analysed = _analysed(folder, [str(line["id"]) for line in lines])
        utterances = [_utterance(line, analysed[str(line["id"])], path) for line in lines]
        return cls.of(utterances, hashlib.sha256(text.encode()).hexdigest())

    @classmethod
    def of(cls, utterances: Sequence[Utterance], digest: str) -> Utterances:
        """Those to train on and those to measure on."""
        training = tuple(each for each in utterances if not each.held_out)
        if not training:
            raise InputError("there are no sentences to train on, beside those that are held out.")
        return cls(training, tuple(each for each in utterances if each.held_out), digest)

    def pitch_range(self) -> tuple[float, float]:
        """Mean and standard deviation of log F0 over the voiced frames that are trained on."""
        values = torch.cat([each.frames[each.frames[:, VOICING] > 0.5, LOG_F0] for each in self.training])
        if len(values) < 2:
            raise InputError("no frame of the data is voiced: is it speech?")
        return float(values.mean()), max(0.01, float(values.std()))

    def summary(self) -> dict[str, Any]:
        """For the report."""
        seconds = sum(len(each.frames) for each in self.training) * HOP / SAMPLE_RATE
        return {"sentences": len(self.training), "held-out sentences": len(self.held_out), "hours": seconds / 3600}


def _utterance(line: Mapping[str, Any], analysed: Tensor, path: Path) -> Utterance:
    symbols, words, durations = line["symbols"], line["words"], torch.tensor(line["durations"])
    name = str(line["id"])
    if not len(symbols) == len(words) == len(durations) or set(symbols) - set(SYMBOLS):
        raise InputError(f"{path}: sentence {name} needs one word and one duration for each of its phones.")
    if int(durations.sum()) != len(analysed) or int(durations.min()) < 0:
        raise InputError(f"{path}: sentence {name} has {len(analysed)} frames, its durations {int(durations.sum())}.")
    units = tuple(
        Unit(symbol, word, i == 0 or words[i - 1] != word, i + 1 == len(words) or words[i + 1] != word)
        for i, (symbol, word) in enumerate(zip(symbols, words, strict=True))
    )
    speed = float(line.get("speed", 1.0))
    exact = torch.tensor(line.get("exact", line["durations"]), dtype=torch.float32) * speed
    held_out = line.get("held_out", zlib.crc32(line["text"].encode()) % 10_000 < 10_000 * HELD_OUT)
    return Utterance(name, line["text"], units, places(units), durations, exact, analysed, speed, bool(held_out))


def _analysed(folder: Path, names: Sequence[str]) -> dict[str, Tensor]:
    """The frames of every sound, from the file of them if it is complete."""
    path = folder / FRAMES
    if path.exists():
        known = safetensors.torch.load_file(path)
        if known.keys() >= set(names):
            return known
    tensors = {name: torch.from_numpy(frames(wave, f0)) for name, wave, f0 in _sounds(folder, names)}
    with replacing(path) as temporary:
        safetensors.torch.save_file(tensors, temporary)
    return tensors


def _sounds(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    for name in names:
        wave, _ = audio.load(folder / "wavs" / f"{name}.wav", sample_rate=SAMPLE_RATE)
        track = folder / "f0" / f"{name}.npy"
        yield name, np.asarray(wave), np.load(track) if track.exists() else None
