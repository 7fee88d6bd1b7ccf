"""Where speech goes as it is made: a file, standard output, or a player."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..sound import audio
from ..sound.streaming import stream
from .player import play

if TYPE_CHECKING:
    from ..speech.spoken import Spoken, WordTiming


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
        play(recorder, sample_rate)
    else:
        stream(recorder, sys.stdout.buffer, sample_rate, options.raw)
