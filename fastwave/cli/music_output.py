"""Where music goes as it is made, and how much of it there is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ..music import rendering
from ..music.casting import Cast
from ..sound.streaming import stream
from .player import play

Array = npt.NDArray[np.float32]


class Progress:
    """The blocks of a band, counted, under a bar where standard error is a terminal."""

    def __init__(self, blocks: Iterable[Array], seconds: float, sample_rate: int) -> None:
        self._blocks, self._rate = blocks, sample_rate
        self._bar = tqdm(total=round(seconds), unit="s", desc="playing", disable=None, leave=False)
        self.samples = 0

    @property
    def seconds(self) -> float:
        """What was made so far."""
        return self.samples / self._rate

    def __iter__(self) -> Iterator[Array]:
        for block in self._blocks:
            yield block
            before, self.samples = self.samples, self.samples + block.shape[1]
            self._bar.update(self.samples // self._rate - before // self._rate)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()


def deliver_live(progress: Progress, cast: Cast, rate: int, options: argparse.Namespace) -> None:
    """Send the music, as it is made, to standard output or to a player of this machine."""
    new_rate = options.sample_rate
    blocks = rendering.live(progress, cast, rate, options.playing)
    if options.play:
        play(blocks, new_rate, channels=2)
    else:
        stream(blocks, sys.stdout.buffer, new_rate, channels=2)
