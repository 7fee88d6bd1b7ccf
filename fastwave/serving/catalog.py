"""What is served, by name: models that generate, and voices that speak."""

from __future__ import annotations

import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from ..engine.engine import Engine
from ..engine.protocol import Generator
from ..errors import InputError
from ..generation.request import Request
from .batch import Batch, GeneratedStream
from .streams import Stream
from .talk import SaidStream, Says, Talk

MARGIN = 0.8  # of what was measured: the rest is for encoding, connections and other programs
MEASURED_STREAMS, MEASURED_SECONDS = 8, 0.6
TEXT_STREAMS = 8  # of a model of text, which nobody hears in real time
SENTENCE = "The boat came in with the tide, and all of us went down to see it."


class Entry(ABC):
    """One name: what it makes, and how many listeners this machine sustains in real time."""

    kind: ClassVar[str]

    def __init__(self, name: str, sample_rate: int, streams: int) -> None:
        self.name, self.sample_rate, self.streams = name, sample_rate, streams  # sample_rate is 0 for text

    @property
    def share(self) -> float:
        """Of this machine, for one listener."""
        return 1 / self.streams

    @property
    def speakers(self) -> list[str]:
        """The names of a model's speakers, or their numbers."""
        return []

    @property
    @abstractmethod
    def running(self) -> int:
        """How many streams there are."""

    @abstractmethod
    def begin(self, stream: Stream) -> None:
        """Let a stream run that was opened before."""

    @abstractmethod
    def close(self) -> None:
        """End its threads once the last stream is over."""


class ModelEntry(Entry):
    """A model that follows nothing but a speaker. Its streams are one batch."""

    kind = "model"

    def __init__(self, name: str, engine: Generator, streams: int | None = None) -> None:
        # all models of other kinds, which are students, follow features
        if not isinstance(engine, Engine) or engine.config.local_channels or engine.config.excitation_channels:
            raise InputError(f"{name} follows features, which a request cannot bring: serve a model that needs none.")
        if streams is None:
            streams = _sustained(engine) if engine.sample_rate else TEXT_STREAMS
        super().__init__(name, engine.sample_rate, streams)
        self.engine, self._batch = engine, Batch(engine, name)

    @property
    def running(self) -> int:
        return self._batch.running

    @property
    def speakers(self) -> list[str]:
        config = self.engine.config
        return list(config.speaker_names) or [str(number) for number in range(config.speakers)]

    def open(self, seconds: float | None, options: Mapping[str, Any]) -> GeneratedStream:
        """Check a request; `options` are those of `fastwave.generate`."""
        return GeneratedStream(Request(self.engine, seconds, options))  # type: ignore[arg-type]

    def begin(self, stream: Stream) -> None:
        assert isinstance(stream, GeneratedStream)
        self._batch.add(stream)

    def close(self) -> None:
        self._batch.close()


class VoiceEntry(Entry):
    """A voice in several copies, each of which computes in a thread of its own."""

    kind = "voice"

    def __init__(self, name: str, copies: Sequence[Says], streams: int | None = None) -> None:
        if streams is None:
            streams = max(1, int(MARGIN * _speed(copies[0]) * len(copies)))
        super().__init__(name, copies[0].sample_rate, streams)
        self._talks = [Talk(copy, f"{name} {number}") for number, copy in enumerate(copies)]

    @property
    def running(self) -> int:
        return sum(talk.running for talk in self._talks)

    def open(self, text: str, options: Mapping[str, Any]) -> SaidStream:
        """Check a text; `options` are those of a voice: speed, seed."""
        self._talks[0].voice.stream(text, **options)  # refuses what cannot be said, and computes nothing yet
        return SaidStream(text, options, self.sample_rate)

    def begin(self, stream: Stream) -> None:
        assert isinstance(stream, SaidStream)
        min(self._talks, key=lambda talk: talk.running).add(stream)

    def close(self) -> None:
        for talk in self._talks:
            talk.close()


class Catalog:
    """Entries of different names."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        names = [entry.name for entry in entries]
        if len(set(names)) < len(names):
            raise InputError(f"of {', '.join(names)}, two have the same name: rename one.")
        self._entries = list(entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def names(self, kind: type[Entry]) -> list[str]:
        """The names of one kind."""
        return [entry.name for entry in self._entries if isinstance(entry, kind)]

    def streams_of(self, name: str) -> int | None:
        """How many listeners a name can have; None where there is no such name."""
        return next((entry.streams for entry in self._entries if entry.name == name), None)

    def find(self, name: str | None, kind: type[Entry]) -> Entry:
        """An entry by its name, or the first of its kind."""
        known = [entry for entry in self._entries if isinstance(entry, kind)]
        for entry in known:
            if name is None or entry.name == name:
                return entry
        names = ", ".join(self.names(kind)) or "none"
        raise InputError(f"there is no {kind.kind} {str(name)[:80]!r} here; served are: {names}.")

    def close(self) -> None:
        """End every thread once its listeners have heard everything."""
        for entry in self._entries:
            entry.close()


def _sustained(engine: Engine) -> int:
    """How many streams this machine generates in real time, by a run of some."""
    condition = engine.prepare(None, 0 if engine.config.speakers else None, MEASURED_STREAMS, 0)
    state = engine.start(MEASURED_STREAMS, condition=condition)
    rates: list[float] = []
    end = time.perf_counter() + MEASURED_SECONDS
    while time.perf_counter() < end or len(rates) < 4:
        begun = time.perf_counter()
        engine.run(state, 64, condition=condition, in_place=True)
        rates.append(64 * MEASURED_STREAMS / (time.perf_counter() - begun))
    found = statistics.median(rates[len(rates) // 2 :])  # at first an engine tries ways to share the work
    return max(1, int(MARGIN * found / engine.sample_rate))


def _speed(voice: Says) -> float:
    """How many times faster than real time a copy of a voice speaks, by one sentence."""
    begun = time.perf_counter()
    samples = sum(part.lengths[0] for part in voice.stream(SENTENCE, speed=1.0, seed=0))
    return samples / voice.sample_rate / (time.perf_counter() - begun)
