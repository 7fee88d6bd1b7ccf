"""What a model in training sounds like, or reads like, beside a stretch of its data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..data.shards import Data
from ..data.windows import Place
from ..files import replacing
from ..generation.generate import generate
from ..generation.result import Result
from ..model import WaveNet
from ..sound import audio

CHARACTERS = 1000  # of a text


class Sample(NamedTuple):
    """Paths are relative to the run."""

    file: str
    real: str
    result: Result
    samples_per_second: float


def render(model: WaveNet, data: Data, side: Place, run: Path, step: int, seconds: float, seed: int) -> Sample:
    """Writes RUN/samples/real.* from the start of a side of the data, and step-N.* as the model has it from silence.

    A conditioned model is given the frames and the speaker of that stretch, so that the two can be compared.
    """
    rate = model.config.sample_rate
    suffix = ".wav" if rate else ".txt"
    folder, length = run / "samples", min(side.last - side.first, round(seconds * rate) if rate else CHARACTERS)
    real, made = folder / f"real{suffix}", folder / f"step-{step:08}{suffix}"
    folder.mkdir(exist_ok=True)
    _save_real(model, data, Place(side.file, side.first, side.first + length), real)
    given: dict[str, Any] = {}
    if model.config.local_channels:
        hop = model.config.hop
        given["condition"] = torch.from_numpy(
            data.frames(side.file, np.arange(side.first // hop, (side.first + length) // hop + 2))
        )
    if model.config.speakers:
        given["speaker"] = data.files[side.file]["speaker"]
    begun = time.monotonic()
    result = generate(model, samples=length, seed=seed, output=made, **given)
    speed = length / (time.monotonic() - begun)
    return Sample(f"samples/{made.name}", f"samples/{real.name}", result, speed)


def _save_real(model: WaveNet, data: Data, place: Place, path: Path) -> None:
    stored = data.tokens(*place)
    if model.config.sample_rate:
        scalar = model.config.scalar_input
        tokens = torch.from_numpy(stored / np.float32(32768) if scalar else stored.astype(np.int64))
        audio.save(path, model.config.codec_object.decode(tokens), model.config.sample_rate)
    else:
        with replacing(path) as temporary:
            temporary.write_bytes(stored.tobytes())
