"""Sounds or texts that a model in training generates, beside a stretch of its data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.shards import Data
from ..data.windows import Place
from ..files import replacing
from ..generation.generate import generate
from ..model import WaveNet
from ..sound import audio
from .task import Sample

CHARACTERS = 1000  # of a text


def render(model: WaveNet, data: Data, side: Place, run: Path, step: int, seconds: float, seed: int) -> Sample:
    """Write RUN/samples/real.*, the start of a side of the data, and step-N.*, which the model makes from silence.

    A conditioned model gets the frames and the speaker of that stretch, so that the two can be compared.
    """
    rate = model.config.sample_rate
    suffix = ".wav" if rate else ".txt"
    folder, length = run / "samples", min(side.last - side.first, round(seconds * rate) if rate else CHARACTERS)
    real, generated = folder / f"real{suffix}", folder / f"step-{step:08}{suffix}"
    folder.mkdir(exist_ok=True)
    _save_real(model, data, Place(side.file, side.first, side.first + length), real)
    conditioning: dict[str, Any] = {}
    if model.config.local_channels:
        hop = model.config.hop
        numbers = np.arange(side.first // hop, (side.first + length) // hop + 2)
        conditioning["condition"] = torch.from_numpy(data.frames(side.file, numbers))
    if model.config.speakers:
        conditioning["speaker"] = data.files[side.file]["speaker"]
    begun = time.monotonic()
    result = generate(model, samples=length, seed=seed, output=generated, **conditioning)
    speed = length / (time.monotonic() - begun)
    wave = result.samples[0] if rate else None
    return Sample(f"samples/{generated.name}", f"samples/{real.name}", speed, wave, rate)


def _save_real(model: WaveNet, data: Data, place: Place, path: Path) -> None:
    stored = data.tokens(*place)
    if model.config.sample_rate:
        scalar = model.config.scalar_input
        tokens = torch.from_numpy(stored / np.float32(32768) if scalar else stored.astype(np.int64))
        audio.save(path, model.config.codec_object.decode(tokens), model.config.sample_rate)
    else:
        with replacing(path) as temporary:
            temporary.write_bytes(stored.tobytes())
