"""Copy synthesis: a recording -> its features -> the sound that a model makes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..engine.protocol import Generator
from ..errors import InputError
from ..sound import audio
from .generate import generate
from .result import Result

MOST_STREAMS = 8  # recordings copied at once
MOST_SAMPLES = 2**24  # of a batch, the padding of its shorter streams included: 128 MB of tokens


def check_copies(config: Any) -> None:
    """Refuse a model that computes no features from a recording."""
    if not config.codec_object.is_audio:
        raise InputError("this model makes text: only a model of sound that was trained with --features mel can copy.")
    if not config.local_channels:
        raise InputError(
            "this model takes no features, so it cannot follow a recording: fastwave generate makes sound of its own. "
            "To copy, train one with fastwave train FOLDER --out RUN --features mel."
        )
    if config.features is None:
        raise InputError(
            "this checkpoint does not say how the features of its training data were made, so they cannot be computed "
            f"from a recording: use fastwave generate with --condition FRAMES.npy [frames, {config.local_channels}]."
        )
    if not config.features.hears_sound:
        raise InputError(
            f"this model follows {config.features.reads}, not a recording (its features are of kind "
            f"{config.features.kind!r}): use fastwave generate with --condition."
        )


class Follower(Generator, Protocol):
    """A generator that says how features are made of a recording."""

    config: Any


def copies(
    engine: Follower,
    recordings: Sequence[str | os.PathLike[str]],
    *,
    seed: int = 0,
    temperature: float = 1.0,
    speaker: object = None,
    progress: bool = False,
) -> Iterator[tuple[int, Result]]:
    """(position in `recordings`, its copy of the same length) as they are made, several at once where lengths allow.

    A recording of any rate is resampled to the model's.
    """
    check_copies(engine.config)
    lengths = [len(audio.load(path, engine.sample_rate)[0]) for path in recordings]
    for batch in _batches(lengths):
        made = generate(
            engine,
            samples=[lengths[index] for index in batch],
            condition=_padded([engine.read_condition(os.fspath(recordings[index])) for index in batch]),
            speaker=speaker,
            batch=len(batch),
            seed=seed,
            temperature=temperature,
            progress=progress,
        )
        for row, index in enumerate(batch):
            tokens = made.tokens[row : row + 1, : lengths[index]]
            yield index, Result(tokens, (lengths[index],), made.codec, made.sample_rate)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Positions in groups of similar length, the longest first."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and (len(batch) == MOST_STREAMS or (len(batch) + 1) * lengths[batch[0]] > MOST_SAMPLES):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _padded(rows: Sequence[object]) -> Tensor:
    """Frames [F, C] of several recordings -> [B, F, C]; each ends with its last frame, as conditioning repeats it."""
    frames = [row for row in rows if isinstance(row, Tensor)]
    longest = max(len(row) for row in frames)
    return torch.stack([torch.cat([row, row[-1:].expand(longest - len(row), -1)]) for row in frames])
