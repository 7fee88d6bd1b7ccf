"""Texts that are said for several listeners by turns, a few frames of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from ..generation.result import Result
from .batch import AHEAD_SECONDS
from .streams import Stream
from .worker import Worker


class Says(Protocol):
    """What serving asks of a voice, which it does not know."""

    sample_rate: int

    def stream(self, text: str, *, speed: float, seed: int) -> Iterator[Result]:
        """The sound of a text in parts as they are made. What is wrong with the text is said at once."""


class SaidStream(Stream):
    """One text as it is said, by `voice.stream(text, **options)`."""

    def __init__(self, text: str, options: Mapping[str, Any], sample_rate: int) -> None:
        super().__init__(round(AHEAD_SECONDS * sample_rate))
        self.text, self.options = text, options
        self.parts: Iterator[Result] | None = None  # of the copy of the voice that says it


class Talk(Worker[SaidStream]):
    """The texts of one copy of a voice, which computes in this thread alone."""

    def __init__(self, voice: Says, name: str) -> None:
        self.voice = voice
        super().__init__(name)

    def advance(self, streams: Sequence[SaidStream]) -> None:
        for stream in streams:
            try:
                if stream.parts is None:
                    stream.parts = self.voice.stream(stream.text, **stream.options)
                part = next(stream.parts, None)
            except Exception as error:
                stream.end(error)
                continue
            if part is None:
                stream.end()
            else:
                stream.put(part.samples[0].numpy())
