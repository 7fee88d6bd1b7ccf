"""Continuous batching: the streams of one model run together, and each sounds as if it were alone."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from .. import philox
from ..codec import remembers
from ..conditioning import Condition
from ..distributions import DRAWS, Sampling
from ..engine.engine import Engine
from ..engine.state import State
from ..generation.request import Request
from ..generation.result import Result
from ..runtime import library
from .streams import Block, Stream
from .worker import Worker

ROUND_SECONDS = 0.04  # a round is about so long: a stream that joins waits for the end of one
FEWEST, MOST = 32, 2048  # samples of a stream in a round
AHEAD_SECONDS = 1.0  # of sound, made before they are heard
AHEAD_LETTERS = 256
MOST_BEGINNINGS = 64  # states before the first sample that are kept, one for each speaker

Key = tuple[float, int, float]  # streams with the same one draw in the same way: temperature, top-k, top-p


class GeneratedStream(Stream):
    """What one request generates. Its samples are those of `fastwave.generate` with the same options."""

    def __init__(self, request: Request) -> None:
        rate = request.sample_rate
        super().__init__(round(AHEAD_SECONDS * rate) if rate else AHEAD_LETTERS)
        self.request, self.length = request, request.lengths[0]
        self.state: State | None = None  # while it is not part of a joined one
        self.past = request.past

    @property
    def missing(self) -> int:
        """Samples that are still to be made."""
        return self.length - self.made


class Batch(Worker[GeneratedStream]):
    """The streams of one engine. Those that draw in the same way are one run; each has random numbers of its own."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self._is_native = library.missing("cpu") is None
        self._rate = 20_000.0  # samples a second, of all streams together, measured as it runs
        self._begun: dict[tuple[float, ...], State] = {}  # by speaker: what a stream remembers before its first sample
        self._joined: dict[Key, tuple[list[GeneratedStream], State]] = {}  # what ran together in the last round
        super().__init__(name)

    def advance(self, streams: Sequence[GeneratedStream]) -> None:
        groups: dict[Key, list[GeneratedStream]] = {}
        for stream in streams:
            groups.setdefault(_key(stream.request.sampling), []).append(stream)
        for key, (before, _) in list(self._joined.items()):
            if groups.get(key) != before:
                self._part(key)
        for key, group in groups.items():
            started = [stream for stream in group if self._is_started(stream, key)]
            if started:
                count = int(self._rate * ROUND_SECONDS / (len(started) * len(groups)))
                count = min(max(count, FEWEST), MOST, *(stream.missing for stream in started))
                self._advance_together(key, started, count)

    def _part(self, key: Key) -> None:
        """Give every stream of a joined state its own again."""
        streams, state = self._joined.pop(key)
        for row, stream in enumerate(streams):
            if not stream.is_over:
                stream.state = state.take([row])

    def _is_started(self, stream: GeneratedStream, key: Key) -> bool:
        """Give a new stream its state. One that is complete, or cannot begin, ends here."""
        if not stream.missing:
            stream.end()
            return False
        if stream.state is None and key not in self._joined:
            try:
                stream.state = self._start(stream.request)
            except Exception as error:
                stream.end(error)
                return False
        return True

    def _start(self, request: Request) -> State:
        if request.prime is not None:
            return self.engine.start(1, prime=request.prime, condition=request.prepared)
        speaker = request.prepared.speaker
        key = () if speaker is None else tuple(speaker.flatten().tolist())
        if key not in self._begun:
            if len(self._begun) >= MOST_BEGINNINGS:
                self._begun.clear()
            self._begun[key] = self.engine.start(1, condition=request.prepared)
        return self._begun[key].copy()

    def _advance_together(self, key: Key, group: list[GeneratedStream], count: int) -> None:
        if key in self._joined:
            state = self._joined[key][1]
        else:
            states = [stream.state for stream in group if stream.state is not None]
            state = states[0].join(*states[1:])
        try:
            drawn = self._drawn(group, state, count)
        except Exception as error:
            self._joined.pop(key, None)
            if len(group) == 1:
                group[0].end(error)
                return
            for row, stream in enumerate(group):  # one of them has failed, and must not take others with it
                stream.state = state.take([row])
                self._advance_together(key, [stream], count)
                if key in self._joined:
                    self._part(key)
            return
        self._joined[key] = (group, state)
        for stream, block in zip(group, _blocks(group, drawn), strict=True):
            stream.state = None
            stream.put(block)
            if not stream.missing:
                stream.end()

    def _drawn(self, group: Sequence[GeneratedStream], state: State, count: int) -> torch.Tensor:
        """The next samples of all; the state moves on unless this fails."""
        noise = self._noise([stream.request.seed for stream in group], state.time.tolist(), count)
        condition = _together([stream.request.prepared for stream in group])
        begun = time.perf_counter()
        drawn = self.engine.run(state, count, noise=noise, condition=condition, **vars(group[0].request.sampling))
        self._rate = count * len(group) / (time.perf_counter() - begun)
        return drawn.cpu()

    def _noise(self, seeds: Sequence[int], times: Sequence[int], count: int) -> torch.Tensor:
        """What stream 0 of each of these seeds draws from each of these times on: [streams, count, draws]."""
        draws = DRAWS[self.engine.config.output]
        if not self._is_native:
            rows = zip(seeds, times, strict=True)
            return torch.stack([philox.noise(seed, 0, first, count, draws) for seed, first in rows])
        noise = torch.empty(len(seeds), count, draws)
        for row, (seed, first) in enumerate(zip(seeds, times, strict=True)):
            library.noise(seed, 0, first, count, draws, noise[row].data_ptr())
        return noise


def _key(sampling: Sampling) -> Key:
    return (sampling.temperature, sampling.top_k or 0, sampling.top_p or 0.0)


def _together(conditions: Sequence[Condition]) -> Condition:
    """The speakers of several streams. What is served follows no frames."""
    speakers = [condition.speaker for condition in conditions if condition.speaker is not None]
    return Condition(len(conditions), speaker=torch.cat(speakers) if speakers else None)


def _blocks(group: Sequence[GeneratedStream], drawn: torch.Tensor) -> list[Block]:
    """Tokens [streams, n] as samples, or as the letters of a text."""
    codec, rate = group[0].request.codec, group[0].request.sample_rate
    if not codec.is_audio:
        return list(drawn.to(torch.uint8).numpy())
    if not remembers(codec):
        waves: torch.Tensor = codec.decode(drawn)
        return list(waves.numpy())
    blocks = []
    for stream, tokens in zip(group, drawn, strict=True):
        part = Result(tokens[None], (len(tokens),), codec, rate, stream.past)
        stream.past = part.memory
        blocks.append(part.samples[0].numpy())
    return blocks
