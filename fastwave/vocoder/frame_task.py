"""Training on windows of one long stream of sound and its frames: which window comes when, and which ones validate."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from ..data.windows import shuffled
from ..errors import InputError
from ..training.settings import Settings
from ..training.task import Batch, Task
from .frames import Frames

_ODD = 1_000_003  # keys of the order of windows in one turn and the next are so far apart


class FrameData(Protocol):
    """Recordings in one long stream, those to validate on at its end."""

    frames: int
    trained_frames: int
    layout: Frames

    def digest(self) -> str:
        """Another one for other data."""


class Place(NamedTuple):
    """A window: its first frame, and its number among those of training or of validation."""

    first: int
    number: int
    validates: bool


class FrameTask(Task):
    """Windows of so many whole frames as `settings.window` samples need; a target is a sample."""

    validation_rows: ClassVar[int] = 4
    data: FrameData

    def __init__(self, data: FrameData, config: Mapping[str, Any], settings: Settings) -> None:
        super().__init__(config, settings)
        self.data, self.layout = data, data.layout
        self.window = -(-settings.window // self.layout.hop)  # frames
        self.count = data.trained_frames // self.window
        if not self.count:
            seconds = data.trained_frames * self.layout.hop / self.layout.sample_rate
            raise InputError(f"there is too little to train on: {seconds:.3g} s.")

    @abc.abstractmethod
    def read(self, places: Sequence[Place]) -> Batch:
        """The batch of these windows, a row each."""

    def batch(self, step: int, rows: slice) -> tuple[Any, int]:
        """Every window comes once before any comes again, then cut elsewhere."""
        places = []
        for position in range(step * self.settings.batch, (step + 1) * self.settings.batch):
            turn, index = divmod(position, self.count)
            shift = shuffled(turn % self.window, self.window, self.settings.seed) - self.window // 2
            first = shuffled(index, self.count, self.settings.seed + _ODD * turn) * self.window + shift
            places.append(Place(min(max(first, 0), self.data.trained_frames - self.window), position, False))
        return self.read(places[rows]), len(places) * self.window * self.layout.hop

    def validation(self, rank: int, processes: int) -> Iterator[tuple[Any, int]]:
        """Windows spread evenly over the held-out recordings."""
        border, samples = self.data.trained_frames, self.window * self.layout.hop
        held_out = self.data.frames - border
        count = min(held_out // self.window, -(-self.settings.validation_targets // samples))
        places = [
            Place(min(border + number * held_out // count, self.data.frames - self.window), number, True)
            for number in range(count)
        ][rank::processes]
        for row in range(0, len(places), self.validation_rows):
            part = places[row : row + self.validation_rows]
            yield self.read(part), len(part) * samples

    def excerpt(self) -> tuple[int, int]:
        """The first frame of the held-out recordings, or of all, and how many of them a sample follows."""
        first = self.data.trained_frames if self.data.trained_frames < self.data.frames else 0
        wanted = round(self.settings.sample_seconds * self.layout.sample_rate / self.layout.hop)
        return first, min(self.data.frames - first, wanted)

    def data_digest(self) -> str:
        """Another one for other data or settings."""
        return self.data.digest()

    def data_summary(self) -> dict[str, Any]:
        """How much there is."""
        hop, held_out = self.layout.hop, self.data.frames - self.data.trained_frames
        return {
            "samples": self.data.frames * hop,
            "held_out_samples": held_out * hop,
            "sample_rate": self.layout.sample_rate,
        }
