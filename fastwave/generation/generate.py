"""generate(), stream() and score(): an engine, a length and a seed, from model to sound or text."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import conditioning
from ..config import WaveNetConfig
from ..distributions import check_options, negative_log_likelihood
from ..engine.engine import Engine
from ..errors import InputError, StagnationWarning
from ..files import replacing
from ..model import WaveNet
from ..sound import audio

DEFAULT_SECONDS = 3.0
DEFAULT_CHARACTERS = 1000
STUCK_SECONDS = 1.0  # no voice or instrument holds one sample value for a second
STUCK_CHARACTERS = 200
WINDOW = 16_384  # samples scored at once: 100 MB at `ref`

Lengths = int | Sequence[int]


@dataclasses.dataclass(frozen=True)
class Result:
    """What was generated. tokens [B, T]; a stream that ended early is filled up with silence."""

    tokens: Tensor
    lengths: tuple[int, ...]
    config: WaveNetConfig

    @functools.cached_property
    def samples(self) -> Tensor:
        """The waveform, float32 [B, T] in [-1, 1]."""
        if not self.config.codec_object.is_audio:
            raise InputError(f"codec {self.config.codec!r} makes text: use .text.")
        decoded: Tensor = self.config.codec_object.decode(self.tokens)
        return decoded

    @property
    def sample_rate(self) -> int:
        """Samples a second; 0 for text."""
        return self.config.sample_rate

    @functools.cached_property
    def text(self) -> list[str]:
        """One string a stream, for the bytes codec."""
        if self.config.codec_object.is_audio:
            raise InputError(f"codec {self.config.codec!r} makes sound: use .samples.")
        rows = zip(self.tokens, self.lengths, strict=True)
        return [self.config.codec_object.decode(row[:length]) for row, length in rows]

    def save(self, path: str | os.PathLike[str]) -> list[Path]:
        """Write wav, flac, ogg or mp3 by suffix, or text; each file whole or not at all.

        One stream goes to `path`; several go to name-0.wav, name-1.wav, ... The paths are returned.
        """
        target = Path(path)
        batch = len(self.lengths)
        paths = [target] if batch == 1 else [target.with_stem(f"{target.stem}-{row}") for row in range(batch)]
        for row, (name, length) in enumerate(zip(paths, self.lengths, strict=True)):
            if self.config.codec_object.is_audio:
                audio.save(name, self.samples[row, :length], self.sample_rate)
            else:
                _save_text(name, self.text[row])
        return paths


def generate(
    model: WaveNet | str | os.PathLike[str],
    seconds: float | Sequence[float] | None = None,
    *,
    samples: Lengths | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    prime: object = None,
    condition: object = None,
    speaker: object = None,
    batch: int = 1,
    backend: str = "auto",
    dtype: str = "float32",
    threads: int | None = None,
    progress: bool = False,
    output: str | os.PathLike[str] | None = None,
    save_every: int | None = None,
) -> Result:
    """Generate sound or text from a model, or from the path of a checkpoint.

    The length is `seconds` or `samples`, one for all streams or one each; without either it is that of the
    conditioning, else 3 seconds or 1000 characters. `prime` (a waveform, a text or tokens) comes before the result
    and is not part of it. The same seed gives the same samples whatever the batch, chunk, thread or device.
    With `output` the result is also saved there, every `save_every` samples too, and what was made is kept
    when generation is interrupted or fails. `progress` shows a bar on a terminal.
    """
    if save_every is not None and (output is None or save_every < 1):
        raise InputError(f"save_every={save_every!r} needs output=, and must be at least 1 sample.")
    job = _Job(
        model, seconds, samples, seed, temperature, top_k, top_p, prime, condition, speaker, batch,
        backend, dtype, threads,
    )  # fmt: skip
    parts: list[Result] = []
    unsaved = 0
    try:
        with _progress_bar(sum(job.lengths), progress) as bar:
            for part in job.parts(chunk=1024):
                parts.append(part)
                bar.update(sum(part.lengths))
                unsaved += part.tokens.shape[1]
                if save_every is not None and output is not None and unsaved >= save_every:
                    _join(parts, job).save(output)
                    unsaved = 0
    except BaseException:
        if output is not None and parts:
            _join(parts, job).save(output)
        raise
    result = _join(parts, job)
    if output is not None:
        result.save(output)
    return result


def stream(
    model: WaveNet | str | os.PathLike[str],
    seconds: float | Sequence[float] | None = None,
    *,
    chunk: int = 1024,
    samples: Lengths | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    prime: object = None,
    condition: object = None,
    speaker: object = None,
    batch: int = 1,
    backend: str = "auto",
    dtype: str = "float32",
    threads: int | None = None,
) -> Iterator[Result]:
    """The same samples as `generate`, bit for bit, in parts of at most `chunk` as soon as they exist."""
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise InputError(f"chunk must be an integer >= 1, got {chunk!r}.")
    job = _Job(
        model, seconds, samples, seed, temperature, top_k, top_p, prime, condition, speaker, batch,
        backend, dtype, threads,
    )  # fmt: skip
    return job.parts(chunk)


def score(
    model: WaveNet | str | os.PathLike[str],
    samples: object,
    *,
    condition: object = None,
    speaker: object = None,
    backend: str = "auto",
    dtype: str = "float32",
    threads: int | None = None,
) -> float:
    """Mean bits a sample that the model needs for given sound (a waveform at its rate), text or tokens.

    Every sample counts, each predicted from silence and all that came before it. White noise over 256 classes
    costs 8 bits. For a Gaussian output it is a density (add 15 to compare with 16-bit probabilities).

    In float32 on the backend "auto" many samples are heard at once, as in training; a named backend, or another dtype,
    is the generation engine of that name, which hears them one by one as it would generate.
    """
    if (backend, dtype) == ("auto", "float32"):
        return _score_in_windows(_resolve(model), samples, condition, speaker, threads)
    engine = Engine(_resolve(model), backend, dtype, threads)
    tokens = _encode(engine.config, samples, "samples")
    total_samples = tokens.numel()
    if not total_samples:
        raise InputError("nothing to score: samples is empty.")
    prepared = engine.prepare(condition, speaker, *tokens.shape)
    state = engine.start(tokens.shape[0], condition=prepared)
    nats = 0.0
    for part in torch.split(tokens, 4096, dim=1):  # a few megabytes of activations a layer, however long the recording
        out = engine.feed(state, part, condition=prepared)
        nats += float(negative_log_likelihood(engine.config.output, out, part.to(out.device)).double().sum())
    return nats / total_samples / math.log(2)


@torch.inference_mode()
def _score_in_windows(
    model: WaveNet, samples: object, condition: object, speaker: object, threads: int | None
) -> float:
    """`score` by parallel passes over stretches of the recording, each behind one receptive field of its past."""
    config, field = model.config, model.config.receptive_field
    tokens = _encode(config, samples, "samples")
    batch, steps = tokens.shape
    if not tokens.numel():
        raise InputError("nothing to score: samples is empty.")
    exact = model if next(model.parameters()).dtype == torch.float32 else copy.deepcopy(model).float()
    prepared = conditioning.prepare(config, condition, speaker, batch, steps)
    silence = tokens.new_full((batch, field), config.codec_object.silence)
    padded = torch.cat([silence, tokens], dim=1).to(next(exact.parameters()).device)
    nats = 0.0
    with _threads(threads):
        for first in range(0, steps, WINDOW):
            last = min(first + WINDOW, steps)
            out = exact(padded[:, first : last + field - 1], prepared, first=first - field)[:, field - 1 :]
            target = padded[:, first + field : last + field]
            nats += float(negative_log_likelihood(config.output, out, target).double().sum())
    return nats / tokens.numel() / math.log(2)


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """torch on so many threads; None leaves it as it is."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count or before)
        yield
    finally:
        torch.set_num_threads(before)


@dataclasses.dataclass
class _Job:
    """A checked request: engine, encoded prime, prepared conditioning, one length a stream."""

    model: WaveNet | str | os.PathLike[str]
    seconds: float | Sequence[float] | None
    samples: Lengths | None
    seed: int
    temperature: float
    top_k: int | None
    top_p: float | None
    prime: object
    condition: object
    speaker: object
    batch: int
    backend: str
    dtype: str
    threads: int | None

    def __post_init__(self) -> None:
        if isinstance(self.batch, bool) or not isinstance(self.batch, int) or self.batch < 1:
            raise InputError(f"batch must be an integer >= 1, got {self.batch!r}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**64:
            raise InputError(f"seed must be an integer 0..2^64-1, got {self.seed!r}.")
        self.engine = Engine(_resolve(self.model), self.backend, self.dtype, self.threads)
        self.config = self.engine.config
        self.condition = conditioning.read(self.config, self.condition)
        check_options(self.config.output, self.temperature, self.top_k, self.top_p)
        self.past = None if self.prime is None else _encode(self.config, self.prime, "prime").expand(self.batch, -1)
        self.lengths = self._lengths()
        end = self._primed + max(self.lengths)
        self.prepared = self.engine.prepare(self.condition, self.speaker, self.batch, end)

    @property
    def _primed(self) -> int:
        return 0 if self.past is None else self.past.shape[1]

    def _lengths(self) -> tuple[int, ...]:
        seconds, samples = self.seconds, self.samples
        if seconds is not None and samples is not None:
            raise InputError("give seconds or samples, not both.")
        if seconds is not None and not self.config.sample_rate:
            raise InputError(f"codec {self.config.codec!r} has no seconds: give samples=, the number of characters.")
        given: Any = samples if seconds is None else seconds
        if given is None:
            return (self._default_length(),) * self.batch
        values = list(given) if isinstance(given, (list, tuple)) else [given] * self.batch
        if len(values) != self.batch:
            raise InputError(f"{len(values)} lengths for batch={self.batch}: give one, or one for each stream.")
        for value in values:
            ordinary = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 2**40
            if not ordinary or (samples is not None and not isinstance(value, int)):
                raise InputError(f"{'seconds' if samples is None else 'samples'} must be >= 0, got {value!r}.")
        if seconds is not None:
            values = [round(value * self.config.sample_rate) for value in values]
        return tuple(values)

    def _default_length(self) -> int:
        shape: tuple[int, ...] = getattr(self.condition, "shape", ())
        if self.config.local_channels and len(shape) > 1:
            return max(0, int(shape[-2]) * self.config.hop - self._primed)
        return round(DEFAULT_SECONDS * self.config.sample_rate) if self.config.sample_rate else DEFAULT_CHARACTERS

    def parts(self, chunk: int) -> Iterator[Result]:
        """Results of at most `chunk` samples; a stream that ends leaves the batch and costs nothing more."""
        state = self.engine.start(self.batch, prime=self.past, condition=self.prepared)
        options: dict[str, Any] = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        watch = _StagnationWatch(self.config, self.batch)
        alive, made, condition = list(range(self.batch)), 0, self.prepared
        while True:
            running = [row for row in alive if self.lengths[row] > made]
            if len(running) < len(alive):
                state = state.take([alive.index(row) for row in running])
                alive = running
                condition = self.prepared.rows(alive) if alive else condition
            if not alive:
                return
            count = min(chunk, min(self.lengths[row] for row in alive) - made)
            drawn = self.engine.run(state, count, seed=self.seed, condition=condition, **options)
            watch.see(alive, drawn)
            tokens = torch.full((self.batch, count), self.config.codec_object.silence, dtype=drawn.dtype)
            tokens[alive] = drawn.cpu()
            made += count
            yield Result(tokens, tuple(count if row in alive else 0 for row in range(self.batch)), self.config)


class _StagnationWatch:
    """Warns once a stream when its output has stayed on one value for too long."""

    def __init__(self, config: WaveNetConfig, batch: int) -> None:
        self.limit = round(STUCK_SECONDS * config.sample_rate) if config.sample_rate else STUCK_CHARACTERS
        self.last: list[float | None] = [None] * batch
        self.length = [0] * batch

    def see(self, rows: Sequence[int], drawn: Tensor) -> None:
        """Take in drawn [len(rows), n]."""
        for row, values in zip(rows, drawn.cpu().numpy(), strict=True):
            changed = np.flatnonzero(values != values[-1])
            tail = len(values) - (int(changed[-1]) + 1 if len(changed) else 0)
            same = not len(changed) and self.last[row] == values[-1]
            before, self.length[row] = self.length[row], tail + (self.length[row] if same else 0)
            self.last[row] = float(values[-1])
            if self.length[row] >= self.limit and not (same and before >= self.limit):
                warnings.warn(
                    f"stream {row} has repeated the value {values[-1]} {self.length[row]} times: the output is likely "
                    "stuck. Raise the temperature, or train longer.",
                    StagnationWarning,
                    stacklevel=4,
                )


def _resolve(model: WaveNet | str | os.PathLike[str]) -> WaveNet:
    if isinstance(model, (str, os.PathLike)):
        return WaveNet.from_pretrained(model)
    return model


def _encode(config: WaveNetConfig, given: object, what: str) -> Tensor:
    """A waveform, a text or tokens -> tokens [B or 1, T]."""
    codec = config.codec_object
    if isinstance(given, (str, bytes)):
        if codec.is_audio:
            raise InputError(f"{what} is text, but codec {config.codec!r} makes sound: give a waveform.")
        return codec.encode(given)[None]
    try:
        values = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{what} must be a waveform, a text or tokens: {error}") from error
    if values.dim() not in (1, 2):
        raise InputError(f"{what} must have shape [time] or [batch, time], got {list(values.shape)}.")
    if values.is_floating_point():
        if not codec.is_audio:
            raise InputError(f"{what} is a waveform, but codec {config.codec!r} makes text: give a str.")
        values = codec.encode(values)
    return values if values.dim() == 2 else values[None]


def _join(parts: list[Result], job: _Job) -> Result:
    dtype = torch.float32 if job.config.scalar_input else torch.int64
    tokens = [part.tokens for part in parts] or [torch.empty(job.batch, 0, dtype=dtype)]
    lengths = [sum(column) for column in zip(*(part.lengths for part in parts), strict=True)] or [0] * job.batch
    return Result(torch.cat(tokens, dim=1), tuple(lengths), job.config)


def _save_text(path: Path, text: str) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error


def _progress_bar(total: int, wanted: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit="sample", unit_scale=True, disable=None if wanted else True)
