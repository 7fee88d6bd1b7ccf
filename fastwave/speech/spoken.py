"""What a voice said: sound, and when each word and phone begins and ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..codec import Pcm
from ..errors import InputError
from ..files import replacing
from ..generation.result import Result
from .phones import Sentence, Word


@dataclass(frozen=True)
class PhoneTiming:
    """When a phone sounds, in seconds from the beginning of the sound."""

    symbol: str  # one of phones.SYMBOLS
    start: float
    end: float


@dataclass(frozen=True)
class WordTiming:
    """When a word sounds, in seconds, and where it stands in the text."""

    text: str  # as it stands in the text, "1999"
    start: float
    end: float
    first_character: int  # in the text,
    end_character: int  # and the one after its last
    phones: tuple[PhoneTiming, ...]


@dataclass(frozen=True)
class Spoken(Result):
    """A result whose tokens are the samples of one stream, with the timings of its words."""

    timings: tuple[WordTiming, ...] = ()
    notes: tuple[str, ...] = ()  # what was asked for in the text and left out, such as an unknown element of SSML

    @property
    def seconds(self) -> float:
        """How long the sound is."""
        return self.lengths[0] / self.sample_rate

    def save_timings(self, path: str | os.PathLike[str]) -> None:
        """Write the timings as JSON."""
        write_timings(path, self.timings)


def spoken(wave: Any, sample_rate: int, timings: Sequence[WordTiming] = (), notes: Sequence[str] = ()) -> Spoken:
    """A result of samples [T], float32 in [-1, 1]."""
    tokens: Tensor = torch.as_tensor(wave, dtype=torch.float32)[None]
    return Spoken(tokens, (tokens.shape[1],), Pcm(), sample_rate, timings=tuple(timings), notes=tuple(notes))


def joined(parts: Sequence[Spoken], sample_rate: int) -> Spoken:
    """Parts that follow each other in time as one."""
    tokens = torch.cat([torch.zeros(1, 0), *(part.tokens for part in parts)], dim=1)
    timings = [timing for part in parts for timing in part.timings]
    return spoken(tokens[0], sample_rate, timings, [note for part in parts for note in part.notes])


def timings_of(sentence: Sentence, durations: Sequence[int], frame_seconds: float, begin: float) -> list[WordTiming]:
    """The words of a sentence whose units last so many frames, and which begins at `begin` seconds."""
    phones: dict[int, list[PhoneTiming]] = {}
    frames = 0
    for unit, count in zip(sentence.units(), durations, strict=True):
        start, frames = frames, frames + count
        timing = PhoneTiming(unit.symbol, _seconds(begin, start, frame_seconds), _seconds(begin, frames, frame_seconds))
        phones.setdefault(unit.part, []).append(timing)
    return [
        WordTiming(part.text, group[0].start, group[-1].end, part.start, part.end, tuple(group))
        for index, part in enumerate(sentence.parts)
        if isinstance(part, Word) and (group := phones.get(index))
    ]


def timing_values(timings: Sequence[WordTiming]) -> Iterator[dict[str, Any]]:
    """Timings as values of JSON."""
    return map(asdict, timings)


def write_timings(path: str | os.PathLike[str], timings: Sequence[WordTiming]) -> None:
    """Write {"words": [...]}, whole or not at all."""
    content = json.dumps({"words": list(timing_values(timings))}, indent=1, ensure_ascii=False)
    try:
        with replacing(path) as temporary:
            # half a surrogate pair, which a str may hold and UTF-8 may not, is written as JSON escapes it
            temporary.write_bytes((content + "\n").encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise InputError(f"cannot write {Path(path)}: {error.strerror or error}.") from error


def _seconds(begin: float, frames: int, frame_seconds: float) -> float:
    return round(begin + frames * frame_seconds, 6)
