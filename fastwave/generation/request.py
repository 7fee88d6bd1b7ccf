"""A checked request for samples: a generator, an encoded prime, prepared conditioning, one length a stream."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..codec import Codec, remembers
from ..distributions import Sampling
from ..engine.engine import Engine
from ..engine.protocol import Generator
from ..errors import InputError
from ..model import WaveNet
from ..sound import loudness
from .loading import OtherModel, generator_of, load
from .options import DEFAULTS, Options, complete
from .result import Result
from .stagnation import StagnationWatch

DEFAULT_SECONDS = 3.0
DEFAULT_CHARACTERS = 1000

Source = WaveNet | OtherModel | Generator | str | os.PathLike[str]


class Request:
    """What generate() and stream() were asked for. Everything is checked here, before the first sample is made."""

    def __init__(self, source: Source, seconds: float | Sequence[float] | None, options: Options) -> None:
        options = complete(options)
        self.batch, self.seed = options["batch"], options["seed"]
        if isinstance(self.batch, bool) or not isinstance(self.batch, int) or self.batch < 1:
            raise InputError(f"batch must be an integer >= 1, got {self.batch!r}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**64:
            raise InputError(f"seed must be an integer 0..2^64-1, got {self.seed!r}.")
        self.generator = _generator_of(source, options)
        self.codec, self.sample_rate = self.generator.codec, self.generator.sample_rate
        self.sampling = Sampling(options["temperature"], options["top_k"], options["top_p"])
        self.generator.check_sampling(self.sampling)
        level = level_of(self.generator)
        self.prime = _rows_of(encoded(self.codec, options["prime"], "prime", self.sample_rate, level), self.batch)
        self.past = None  # what the codec's decoder remembers of the prime
        if self.prime is not None and remembers(self.codec):
            self.past = self.codec.decode_part(self.prime)[1]
        prime_length = 0 if self.prime is None else self.prime.shape[1]
        condition = self.generator.read_condition(options["condition"])
        natural = self.generator.length_of(condition)
        shape: tuple[int, ...] = getattr(options["excitation"], "shape", ())  # a function has none
        if natural is None and len(shape) > 1:
            natural = int(shape[-2])
        self.lengths = self._lengths(seconds, options["samples"], None if natural is None else natural - prime_length)
        end = prime_length + max(self.lengths)
        self.prepared = self._prepare(condition, options, end)

    def _prepare(self, condition: object, options: Options, end: int) -> Any:
        """Conditioning for samples 0 .. end-1. Generators of other kinds need not know what an excitation is."""
        speaker, excitation = options["speaker"], options["excitation"]
        if excitation is None:
            return self.generator.prepare(condition, speaker, self.batch, end)
        if not isinstance(self.generator, Engine):
            raise InputError("only a WaveNet or its Engine takes an excitation: leave excitation out.")
        return self.generator.prepare(condition, speaker, self.batch, end, excitation)

    def _lengths(self, seconds: Any, samples: Any, natural: int | None) -> tuple[int, ...]:
        """Samples of each stream; `natural` is how long the conditioning is, behind the prime."""
        if seconds is not None and samples is not None:
            raise InputError("give seconds or samples, not both.")
        if seconds is not None and not self.sample_rate:
            raise InputError(f"codec {self.codec.name!r} has no seconds: give samples=, the number of characters.")
        asked = samples if seconds is None else seconds
        if asked is None:
            usual = round(DEFAULT_SECONDS * self.sample_rate) if self.sample_rate else DEFAULT_CHARACTERS
            return (usual if natural is None else max(0, natural),) * self.batch
        values = list(asked) if isinstance(asked, (list, tuple)) else [asked] * self.batch
        if len(values) != self.batch:
            raise InputError(f"{len(values)} lengths for batch={self.batch}: give one, or one for each stream.")
        for value in values:
            ordinary = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 2**40
            if not ordinary or (samples is not None and not isinstance(value, int)):
                raise InputError(f"{'seconds' if samples is None else 'samples'} must be >= 0, got {value!r}.")
        if seconds is not None:
            values = [round(value * self.sample_rate) for value in values]
        return tuple(values)

    def beginning(self, include_prime: bool = False) -> Result:
        """The result before the first sample: nothing, or the prime."""
        tokens, past = torch.full((self.batch, 0), self.codec.silence), self.past
        if include_prime:
            if self.prime is None:
                raise InputError("include_prime needs a prime, which stands before the result: give prime=.")
            tokens, past = self.prime, None
        return Result(tokens, (tokens.shape[1],) * self.batch, self.codec, self.sample_rate, past)

    def parts(self, chunk: int) -> Iterator[Result]:
        """Results of at most `chunk` samples; a stream that ends leaves the batch and costs nothing more.

        `seed` and `sampling` may be changed between two of them, and hold from the next one on.
        """
        state: Any = self.generator.start(self.batch, prime=self.prime, condition=self.prepared)
        condition = self.prepared
        watch = StagnationWatch(self.sample_rate, self.batch)
        running, made, past = list(range(self.batch)), 0, self.past
        while True:
            unfinished = [row for row in running if self.lengths[row] > made]
            if not unfinished:
                return
            if len(unfinished) < len(running):
                state = state.take([running.index(row) for row in unfinished])
                running, condition = unfinished, self.prepared.rows(unfinished)
            count = min(chunk, min(self.lengths[row] for row in running) - made)
            # the state is nobody else's, and is given up when a run fails: it needs no copy
            drawn = self.generator.run(
                state, count, seed=self.seed, condition=condition, in_place=True, **vars(self.sampling)
            )
            drawn = drawn.cpu()
            watch.see(running, drawn)
            tokens = torch.full((self.batch, count), self.codec.silence, dtype=drawn.dtype)
            tokens[running] = drawn
            made += count
            lengths = tuple(count if row in running else 0 for row in range(self.batch))
            result = Result(tokens, lengths, self.codec, self.sample_rate, past)
            past = result.memory
            yield result


def model_of(source: WaveNet | str | os.PathLike[str]) -> WaveNet:
    """A model, or the one in a checkpoint folder."""
    return WaveNet.from_pretrained(source) if isinstance(source, (str, os.PathLike)) else source


def level_of(generator: Generator) -> loudness.Normalize:
    """How the training data of a generator were brought to a common level; one that has no config says nothing."""
    normalize: loudness.Normalize = getattr(getattr(generator, "config", None), "normalize", "off")
    return normalize


def encoded(
    codec: Codec, source: object, name: str, sample_rate: int, normalize: loudness.Normalize = "off"
) -> Tensor | None:
    """A waveform, a text, tokens or the path of a file -> tokens [B or 1, T]; None stays None.

    `name` is that of the argument. A sound file is resampled to `sample_rate` and brought to the level that
    `normalize` names; a waveform is taken as it is. For a codec of text a str is the text
    itself, and only a Path is a file.
    """
    if source is None:
        return None
    if isinstance(source, os.PathLike) or (isinstance(source, str) and codec.is_audio):
        source = _contents(codec, source, name, sample_rate, normalize)
    if isinstance(source, (str, bytes)):
        if codec.is_audio:
            raise InputError(f"{name} is bytes, but codec {codec.name!r} makes sound: give a waveform.")
        return codec.encode(source)[None]
    try:
        values = torch.as_tensor(source)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} must be a waveform, a text or tokens: {error}") from error
    if values.dim() not in (1, 2):
        raise InputError(f"{name} must have shape [time] or [batch, time], got {list(values.shape)}.")
    if values.is_floating_point():
        if not codec.is_audio:
            raise InputError(f"{name} is a waveform, but codec {codec.name!r} makes text: give a str.")
        values = codec.encode(values)
    return values if values.dim() == 2 else values[None]


def _contents(
    codec: Codec, path: str | os.PathLike[str], name: str, sample_rate: int, normalize: loudness.Normalize
) -> Tensor | bytes:
    """The waveform of a sound file, or the bytes of a text file."""
    if codec.is_audio and isinstance(path, str) and not os.path.exists(path):
        raise InputError(
            f"{name} is text, but codec {codec.name!r} makes sound: give a waveform, or the path of a sound file "
            f"(there is no file {path[:80]!r})."
        )
    if codec.is_audio:
        return loudness.load(path, sample_rate, normalize)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {name} {path}: {error.strerror or error}.") from error


def _rows_of(tokens: Tensor | None, batch: int) -> Tensor | None:
    if tokens is None:
        return None
    if tokens.shape[0] not in (1, batch):
        raise InputError(
            f"prime has {tokens.shape[0]} rows, but batch={batch}: give one row for all streams, or "
            f"batch={tokens.shape[0]}."
        )
    return tokens.expand(batch, -1)


def _generator_of(source: Source, options: Options) -> Generator:
    """An engine of a model or a checkpoint; anything else that keeps the protocol is taken as it is."""
    if isinstance(source, (str, os.PathLike)):
        source = load(source)
    if isinstance(source, (WaveNet, OtherModel)):
        return generator_of(source, options["backend"], options["dtype"], options["threads"])
    if not isinstance(source, Generator):
        raise InputError(f"generation needs a WaveNet, the path of a checkpoint or a generator, got {source!r:.80}.")
    changed = [name for name in ("backend", "dtype", "threads") if options[name] != DEFAULTS[name]]
    if changed:
        raise InputError(f"{', '.join(changed)} cannot be chosen for a generator that exists already.")
    return source
