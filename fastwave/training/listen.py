"""Sounds or texts that a model in training generates, from silence and as the continuation of its data."""

from __future__ import annotations

import math
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import WaveNetConfig
from ..data.shards import Data
from ..data.windows import Place
from ..engine.engine import Engine
from ..errors import StagnationWarning
from ..files import replacing
from ..generation.generate import stream
from ..generation.result import Result, joined
from ..model import WaveNet
from .task import Sample

CHARACTERS = 1000  # of a text
# 1.0 draws as the model predicts, which is the default of generation; 0.8 shows earlier what a model has learned: the
# many unlikely values that a young model still allows are noise, and they become rarer
TEMPERATURES = (1.0, 0.8)
PRIME_SECONDS, PRIME_CHARACTERS = 0.5, 100  # at least, so that a listener knows what is continued
CHUNK = 256  # samples from one look at the clock to the next


class Excerpt:
    """A stretch of data to be continued: a prime, and beyond it what the model's continuation is compared with."""

    def __init__(self, data: Data, config: WaveNetConfig, side: Place, seconds: float) -> None:
        self.data, self.config, self.file, self.first = data, config, side.file, side.first
        longest = side.last - side.first
        usual = round(PRIME_SECONDS * config.sample_rate) if config.sample_rate else PRIME_CHARACTERS
        # whole frames, so that the conditioning of a stream that begins later is that of the start, moved
        self.prime = min(max(usual, config.receptive_field), longest // 2) // config.hop * config.hop
        wanted = round(seconds * config.sample_rate) if config.sample_rate else CHARACTERS
        # of what the model makes; a conditioned one has frames no further than the data go
        self.length = min(longest - self.prime, wanted) if config.local_channels else wanted
        self.last = min(side.last, self.first + self.prime + self.length)

    def tokens(self, count: int) -> Tensor:
        """The first tokens [count]."""
        stored = self.data.tokens(self.file, self.first, self.first + count)
        return torch.from_numpy(stored / np.float32(32768) if self.config.scalar_input else stored.astype(np.int64))

    def primes(self) -> Tensor:
        """[2, prime] tokens: silence, which is what an unprimed stream begins with, and the start of the data."""
        start = self.tokens(self.prime)
        return torch.stack([torch.full_like(start, self.config.codec_object.silence), start])

    def frames(self) -> Tensor:
        """[2, F, C] of both streams: the first hears silence until the prime ends, and has the same frames later."""
        hop = self.config.hop
        numbers = np.arange(self.first // hop, (self.first + self.prime + self.length) // hop + 2)
        later = np.maximum(numbers - self.prime // hop, numbers[0])
        return torch.from_numpy(np.stack([self.data.frames(self.file, each) for each in (later, numbers)]))

    def save(self, folder: Path) -> Path:
        """Write real.wav or real.txt, and real.npy where conditioning is made of no recording -> the first of them."""
        codec, rate = self.config.codec_object, self.config.sample_rate
        tokens = self.tokens(self.last - self.first)
        path = folder / f"real{_suffix(self.config)}"
        if rate:
            Result(tokens[None], (len(tokens),), codec, rate).save(path)
        else:
            with replacing(path) as temporary:
                temporary.write_bytes(bytes(tokens.tolist()))
        if self.config.local_channels and not (self.config.features and self.config.features.hears_sound):
            with replacing(folder / "real.npy") as temporary, open(temporary, "wb") as file:
                np.save(file, self.frames()[1].numpy())
        return path


def render(
    model: WaveNet, excerpt: Excerpt, run: Path, step: int, seed: int, seconds_allowed: float = math.inf
) -> list[Sample]:
    """Write RUN/samples/real.* and step-N-*: at two temperatures, from silence and continued from the data.

    A conditioned model gets the frames and the speaker of the excerpt. What would last longer than the time allowed is
    cut short, all of it to the same length.
    """
    config, deadline = model.config, time.monotonic() + seconds_allowed
    folder = run / "samples"
    folder.mkdir(exist_ok=True)
    real = excerpt.save(folder)
    engine, length, results, speeds = Engine(model, dtype="float32"), excerpt.length, [], []
    for number, temperature in enumerate(TEMPERATURES):
        begun = time.monotonic()
        end = begun + (deadline - begun) / (len(TEMPERATURES) - number)
        results.append(_both(engine, excerpt, length, seed, temperature, end))
        length = results[-1].lengths[0]
        speeds.append(sum(results[-1].lengths) / max(1e-9, time.monotonic() - begun))
    samples = []
    for row, kind in enumerate(("from-silence", "primed")[: len(results[0].lengths)]):
        for temperature, result, speed in zip(TEMPERATURES, results, speeds, strict=True):
            file = f"samples/step-{step:08}-{kind}-t{temperature}{_suffix(config)}"
            prime = excerpt.tokens(excerpt.prime * row).to(result.tokens.dtype)
            tokens = torch.cat([prime, result.tokens[row, :length]])[None]
            made = Result(tokens, (tokens.shape[1],), result.codec, config.sample_rate)
            made.save(run / file)
            beginning = "continues the data" if row else "from silence" if config.sample_rate else "from nothing"
            label = f"{beginning}, temperature {temperature:g}"
            names = file, label, f"samples/{real.name}"
            if config.sample_rate:
                samples.append(Sample(*names, len(prime), speed, made.samples[0], config.sample_rate))
            else:
                samples.append(Sample(*names, len(result.codec.decode(prime)), speed))
    return samples


def _both(engine: Engine, excerpt: Excerpt, length: int, seed: int, temperature: float, end: float) -> Result:
    """Stream 0 from silence and stream 1 from the prime, as far as there is time until `end`."""
    config = excerpt.config
    options: dict[str, Any] = {"samples": length, "seed": seed, "temperature": temperature, "batch": 1}
    if excerpt.prime:
        options |= {"batch": 2, "prime": excerpt.primes()}
    if config.local_channels:
        options["condition"] = excerpt.frames()[-options["batch"] :]
    if config.speakers:
        options["speaker"] = excerpt.data.files[excerpt.file]["speaker"]
    parts: list[Result] = []
    with warnings.catch_warnings():  # that a sample is stuck stands in the report and at the end of the run
        warnings.simplefilter("ignore", StagnationWarning)
        for part in stream(engine, chunk=CHUNK, **options):
            parts.append(part)
            if time.monotonic() > end:
                break
    return joined(parts)


def _suffix(config: WaveNetConfig) -> str:
    return ".wav" if config.sample_rate else ".txt"
