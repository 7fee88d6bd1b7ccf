"""Where speech goes as it is made: a file, standard output, or a player."""

from __future__ import annotations

import argparse
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ..sound import audio
from .speak_player import play

if TYPE_CHECKING:
    from ..speech.spoken import Spoken, WordTiming

_UNKNOWN = 0xFFFFFFFF  # the length of a .wav that is not made yet


class Recorder:
    """The blocks of speech as they are made, and what is known of those that were. When something stops the voice,
    the blocks end, so that what was made can be saved; `complain` then raises it.
    """

    def __init__(self, parts: Iterator[Spoken], keeps_timings: bool = True) -> None:
        self._parts, self._keeps_timings = parts, keeps_timings
        self._failure: BaseException | None = None
        self.samples = self.words = 0
        self.timings: list[WordTiming] = []
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            for part in self._parts:
                self.words += len(part.timings)
                self.timings += part.timings if self._keeps_timings else ()
                self.notes += part.notes
                self.samples += part.lengths[0]
                yield part.tokens[0].numpy()
        except (Exception, KeyboardInterrupt) as error:
            if not self.samples:
                raise
            self._failure = error

    def complain(self) -> None:
        """Raise what stopped the voice, if something did."""
        if self._failure is not None:
            raise self._failure


def deliver(recorder: Recorder, output: Path | None, sample_rate: int, options: argparse.Namespace) -> None:
    """Send all blocks where the options say."""
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        audio.save_blocks(output, recorder, sample_rate)
    elif options.play:
        play(
            lambda sink: stream(recorder, sink, sample_rate, raw=False),
            lambda path: audio.save_blocks(path, recorder, sample_rate),
        )
    else:
        stream(recorder, sys.stdout.buffer, sample_rate, options.raw)


def stream(recorder: Recorder, sink: IO[bytes], sample_rate: int, raw: bool) -> None:
    """16-bit samples, behind the header of a .wav of unknown length where they are not raw."""
    if not raw:
        sink.write(wav_header(sample_rate))
    for wave in recorder:
        sink.write(audio.sixteen_bits(wave).tobytes())
        sink.flush()


def wav_header(sample_rate: int) -> bytes:
    """The header of a .wav of one channel of 16 bits, whose length is not known yet."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", _UNKNOWN, b"WAVE") + form + struct.pack("<4sI", b"data", _UNKNOWN)
