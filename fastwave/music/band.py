"""What the rest of this wing asks of a band: players of notes, by the names of their instruments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from .notes import Note

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Part(NamedTuple):
    """Notes, in the order of their onsets, and the instrument of a band that plays them."""

    instrument: str
    notes: tuple[Note, ...]


class Band(Protocol):
    """Plays parts together."""

    @property
    def sample_rate(self) -> int:
        """Samples a second of what it plays."""

    @property
    def names(self) -> tuple[str, ...]:
        """Its instruments."""

    def stream(self, parts: Sequence[Part], seed: int, temperature: float | None) -> Iterator[npt.NDArray[np.float32]]:
        """Blocks [parts, samples] from the start of the piece, as they are made: in each row the sum of the notes of
        a part, with what they ring on after the key is let go. `temperature` None is what the band was made for.
        """
