"""Sound to a pipe as it is made: a .wav whose length is open, or bare samples."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import IO

import numpy as np
import numpy.typing as npt

from ..sound import audio

_UNKNOWN = 0xFFFFFFFF  # the length of a .wav that is not made yet


def stream(
    blocks: Iterable[npt.NDArray[np.float32]], sink: IO[bytes], sample_rate: int, raw: bool = False, channels: int = 1
) -> None:
    """Blocks [time] or [time, channels] as 16-bit samples, behind the header of a .wav where they are not raw."""
    if not raw:
        sink.write(wav_header(sample_rate, channels))
    for wave in blocks:
        sink.write(audio.sixteen_bits(wave).tobytes())
        sink.flush()


def wav_header(sample_rate: int, channels: int = 1) -> bytes:
    """The header of a .wav of 16 bits, whose length is not known yet."""
    frame = 2 * channels
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, sample_rate, frame * sample_rate, frame, 16)
    return struct.pack("<4sI4s", b"RIFF", _UNKNOWN, b"WAVE") + form + struct.pack("<4sI", b"data", _UNKNOWN)
