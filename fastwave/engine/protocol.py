"""What generation asks of whatever makes samples: kept by `Engine`, and open to anything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ..codec import Codec
from ..distributions import Sampling


class Streams(Protocol):
    """A state: what a generator remembers of every stream of a batch."""

    def take(self, rows: Sequence[int]) -> Streams:
        """The streams of these rows, in this order, as a state of its own."""


class Prepared(Protocol):
    """Conditioning of every stream of a batch, checked and converted."""

    def rows(self, rows: Sequence[int]) -> Prepared:
        """The conditioning of these rows, in this order."""


@runtime_checkable
class Generator(Protocol):
    """Something that makes sound or text, stream by stream, from a state that its caller holds.

    `fastwave.generate` and `fastwave.stream` take any object with these members in place of a model. They ask in this
    order: `check_sampling`, `read_condition`, `length_of` and `prepare` once; `start` once; then `run` until every
    stream has its length, with `take` and `rows` in between, whenever some streams have ended.

    What a generator promises:

    - A stream's samples depend on the seed, its own conditioning, its prime and its number alone: not on the other
      streams of the batch, and not on how a length is split into runs.
    - `run` makes exactly as many samples as it is asked for, from 1 up. A generator that computes several samples at
      a time keeps in its state those that were not asked for yet.
    - The same seed gives the same samples.
    """

    @property
    def codec(self) -> Codec:
        """What the samples of `run` mean: `codec.decode` makes a waveform or a text of them, and `codec.silence` fills
        up streams that have ended.
        """

    @property
    def sample_rate(self) -> int:
        """Samples a second; 0 for text."""

    def check_sampling(self, sampling: Sampling) -> None:
        """Raise InputError for what this generator cannot do: top_k without classes, say."""

    def read_condition(self, condition: object) -> object:
        """Conditioning from a file, such as a recording, where the user gave a path; anything else as it is."""

    def length_of(self, condition: object) -> int | None:
        """How many samples this conditioning lasts, prime included; None where it says nothing about a length. It is
        called with whatever `read_condition` returned, before `prepare` has checked it.
        """

    def prepare(self, condition: object, speaker: object, batch: int, samples: int) -> Prepared:
        """Check conditioning for samples 0 .. samples-1 of so many streams, and convert it once.

        The answer is given back as condition= to `start` and `run`, where speaker is then left out; a generator without
        conditioning refuses what is not None.
        """

    def start(self, batch: int = 1, *, prime: Tensor | None = None, condition: object = None) -> Streams:
        """The state of streams 0 .. batch-1 after silence, or after a prime [B, P] of tokens, of which
        the last was sample P-1. Sample P is the first that `run` makes.
        """

    def run(
        self,
        state: Any,
        samples: int,
        *,
        seed: int = 0,
        condition: object = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        in_place: bool = False,
    ) -> Tensor:
        """The next samples of every stream, [B, samples] of the codec's tokens, on any device; the state moves on.

        in_place allows the state to be changed in its own memory, so that a failed run may leave it unusable; without
        it, a failed run leaves the state as it was.
        """
