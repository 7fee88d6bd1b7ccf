"""Sound as bytes while it is made: a .wav whose length may be open, or bare 16-bit samples."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import IO

import numpy as np
import numpy.typing as npt

from . import audio

_UNKNOWN = 0xFFFFFFFF  # the length of a .wav that is not made yet
_HEADER = 36  # bytes of a header behind the first length


def stream(
    blocks: Iterable[npt.NDArray[np.float32]], sink: IO[bytes], sample_rate: int, raw: bool = False, channels: int = 1
) -> None:
    """Blocks [time] or [time, channels] as 16-bit samples, behind the header of a .wav where they are not raw."""
    if not raw:
        sink.write(wav_header(sample_rate, channels))
    for wave in blocks:
        sink.write(audio.sixteen_bits(wave).tobytes())
        sink.flush()


def wav_header(sample_rate: int, channels: int = 1, samples: int | None = None) -> bytes:
    """The header of a .wav of 16 bits; samples=None says that its length is not known yet."""
    frame = 2 * channels
    size = _UNKNOWN if samples is None else samples * frame
    whole = _UNKNOWN if samples is None else size + _HEADER
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, sample_rate, frame * sample_rate, frame, 16)
    return struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + form + struct.pack("<4sI", b"data", size)
