"""Continuous batching: the streams of one model run together, and each sounds as if it were alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch

from .. import philox
from ..conditioning import Condition
from ..distributions import DRAWS, Sampling
from ..engine.engine import Engine
from ..engine.state import State
from ..generation.request import Request
from ..generation.result import Result
from .streams import Stream
from .worker import Worker

ROUND_SECONDS = 0.04  # a round is about so long: a stream that joins waits for the end of one
FEWEST, MOST = 32, 2048  # samples of a stream in a round
AHEAD_SECONDS = 1.0  # of sound, made before they are heard
AHEAD_LETTERS = 256


class GeneratedStream(Stream):
    """What one request generates. Its samples are those of `fastwave.generate` with the same options."""

    def __init__(self, request: Request) -> None:
        rate = request.sample_rate
        super().__init__(round(AHEAD_SECONDS * rate) if rate else AHEAD_LETTERS)
        self.request, self.length = request, request.lengths[0]
        self.state: State | None = None  # made in the worker's thread, since an engine runs one thing at a time
        self.past = request.past

    @property
    def missing(self) -> int:
        """Samples that are still to be made."""
        return self.length - self.made


class Batch(Worker[GeneratedStream]):
    """The streams of one engine. Those that draw in the same way are one run; each has random numbers of its own."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self._rate = 20_000.0  # samples a second, of all streams together, measured as it runs
        super().__init__(name)

    def advance(self, streams: Sequence[GeneratedStream]) -> None:
        alive = [stream for stream in streams if self._is_started(stream)]
        alive.sort(key=lambda stream: _key(stream.request.sampling))
        groups = [list(group) for _, group in groupby(alive, key=lambda stream: _key(stream.request.sampling))]
        for group in groups:
            count = int(self._rate * ROUND_SECONDS / (len(group) * len(groups)))
            self._advance_together(group, min(max(count, FEWEST), MOST, *(stream.missing for stream in group)))

    def _is_started(self, stream: GeneratedStream) -> bool:
        """Give a new stream its state. One that is complete, or cannot begin, ends here."""
        if not stream.missing:
            stream.end()
            return False
        if stream.state is None:
            request = stream.request
            try:
                stream.state = self.engine.start(1, prime=request.prime, condition=request.prepared)
            except Exception as error:
                stream.end(error)
                return False
        return True

    def _advance_together(self, group: Sequence[GeneratedStream], count: int) -> None:
        try:
            drawn = self._drawn(group, count)
        except Exception as error:
            if len(group) == 1:
                group[0].end(error)
                return
            for stream in group:  # no state has moved on: one of them has failed, and must not take others with it
                self._advance_together([stream], count)
            return
        for stream, tokens in zip(group, drawn, strict=True):
            stream.put(_block(stream, tokens[None]))
            if not stream.missing:
                stream.end()

    def _drawn(self, group: Sequence[GeneratedStream], count: int) -> torch.Tensor:
        states = [stream.state for stream in group if stream.state is not None]
        joined = states[0].join(*states[1:])
        draws = DRAWS[self.engine.config.output]
        rows = zip(group, joined.time.tolist(), strict=True)
        noise = torch.stack([philox.noise(stream.request.seed, 0, time, count, draws) for stream, time in rows])
        begun = time.perf_counter()
        drawn = self.engine.run(
            joined,
            count,
            noise=noise,
            condition=_together([stream.request.prepared for stream in group]),
            in_place=True,
            **vars(group[0].request.sampling),
        ).cpu()
        self._rate = count * len(group) / (time.perf_counter() - begun)
        for row, stream in enumerate(group):
            stream.state = joined.take([row])
        return drawn


def _key(sampling: Sampling) -> tuple[float, int, float]:
    return (sampling.temperature, sampling.top_k or 0, sampling.top_p or 0.0)


def _together(conditions: Sequence[Condition]) -> Condition:
    """The speakers of several streams. What is served follows no frames."""
    speakers = [condition.speaker for condition in conditions if condition.speaker is not None]
    return Condition(len(conditions), speaker=torch.cat(speakers) if speakers else None)


def _block(stream: GeneratedStream, tokens: torch.Tensor) -> Any:
    """Tokens [1, n] as samples, or as the letters of a text."""
    codec, rate = stream.request.codec, stream.request.sample_rate
    if not codec.is_audio:
        return tokens[0].to(torch.uint8).numpy()
    part = Result(tokens, (tokens.shape[1],), codec, rate, stream.past)
    stream.past = part.memory
    return part.samples[0].numpy()
