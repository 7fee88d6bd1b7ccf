"""One source file, read a block at a time: text, sound, and the array of features that a user brings for it."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import AudioError, InputError
from ..sound import audio, loudness
from .preparation import Preparation
from .sources import Source

TRIM_MARGIN_SECONDS = 0.02
TEXT_BLOCK = 1 << 20

Array = npt.NDArray[Any]


def text_blocks(source: Source) -> Iterator[Array]:
    """The bytes of a text, uint8 [n] at a time; refused where they are not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    if not os.path.isfile(source.path):  # opening a pipe would wait for ever
        raise InputError("cannot read it: it is missing, or not an ordinary file")
    try:
        with open(source.path, "rb") as file:
            while block := file.read(TEXT_BLOCK):
                decoder.decode(block)
                yield np.frombuffer(block, dtype=np.uint8)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise InputError(f"it is not UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise InputError(f"cannot read it: {error.strerror}") from error
    if not source.size:
        raise InputError("it is empty")


def level_of(source: Source, preparation: Preparation) -> loudness.Level:
    """Peak and loudness of a sound, before it is trimmed."""
    return loudness.measure(_decoded(source, preparation), preparation.sample_rate)


def wave_blocks(source: Source, preparation: Preparation, gain_db: float = 0.0) -> Iterator[Array]:
    """One channel of a sound at the preparation's rate, times a gain and then trimmed, float32 [time] at a time."""

    def blocks() -> Iterator[Array]:
        return loudness.scaled(_decoded(source, preparation), gain_db)

    return (
        blocks()
        if preparation.trim is None
        else _trimmed(blocks, 10 ** (preparation.trim / 20), preparation.sample_rate)
    )


def _decoded(source: Source, preparation: Preparation) -> Iterator[Array]:
    channel = preparation.channel if preparation.channel == "mix" else int(preparation.channel)
    return audio.blocks(source.path, preparation.sample_rate, channel)


def _trimmed(blocks: Callable[[], Iterable[Array]], level: float, sample_rate: int) -> Iterator[Array]:
    """From a little before the first sample above `level` to a little after the last: decoded twice, never held."""
    first, last, position = None, -1, 0
    for wave in blocks():
        loud = np.flatnonzero(np.abs(wave) > level)
        if len(loud):
            first = position + int(loud[0]) if first is None else first
            last = position + int(loud[-1])
        position += len(wave)
    if first is None:
        raise AudioError("nothing is left of it after trimming")
    margin = round(TRIM_MARGIN_SECONDS * sample_rate)
    begin, end, position = max(0, first - margin), last + 1 + margin, 0
    for wave in blocks():
        kept = wave[max(0, begin - position) : max(0, end - position)]
        position += len(wave)
        if len(kept):
            yield kept


def read_frames(source: Source, preparation: Preparation, samples: int) -> Array:
    """The array that the user brings for a file, FEATURES/name.npy: float32 [frames, channels] for so many samples."""
    path = features_path(source, preparation)
    try:
        rows: Array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"cannot read its features {path}: {error}") from error
    hop, width = preparation.hop, preparation.feature_channels
    needed = -(-samples // hop)
    if rows.dtype.kind not in "fiu" or rows.ndim != 2 or rows.shape[1] != width:
        raise InputError(f"its features must be numbers [frames, {width}], got {rows.dtype} {list(rows.shape)}")
    if not needed <= len(rows) <= needed + 2:
        raise InputError(f"its features have {len(rows)} frames, but {samples} samples at hop {hop} need {needed}")
    values: Array = np.asarray(rows[:needed], dtype=np.float32)
    if not np.isfinite(values).all():
        raise InputError("its features hold NaN or infinity")
    return values


def features_path(source: Source, preparation: Preparation) -> Path:
    """Where the user's array for a file lies."""
    return Path(preparation.features or "") / Path(source.name).with_suffix(".npy")
