"""What the normaliser makes of text: words to speak and marks to pause at, each with its place in the input."""

from __future__ import annotations

from dataclasses import dataclass

from fastwave.speech.phones import PAUSES


@dataclass(frozen=True)
class Token:
    """A word in lower case, a letter to be spelled in capitals (`B`, `B's`), or a mark of PAUSES."""

    word: str
    start: int  # its first character in the input,
    end: int  # and the one after its last
    phones: tuple[str, ...] | None = None  # where the caller says them
    rate: float = 1.0
    pitch: float = 1.0
    volume: float = 1.0
    seconds: float | None = None  # the length of a pause, where the caller says it

    @property
    def pause(self) -> bool:
        return self.word in PAUSES
