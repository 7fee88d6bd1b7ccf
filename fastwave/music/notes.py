"""Notes as the rest of this wing takes them: when, how long, how high, how loud, and on which track."""

from __future__ import annotations

import dataclasses
import math

from ..errors import InputError

CONCERT_A, CONCERT_A_HERTZ = 69, 440.0  # the MIDI key of the a above middle c


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """One note. Times are seconds from the start of the piece; a held pedal is part of the length already."""

    onset: float
    length: float  # until the key is let go, above 0
    key: int  # MIDI: 60 is middle c
    velocity: int = 80  # 1..127

    def __post_init__(self) -> None:
        if not (math.isfinite(self.onset) and self.onset >= 0):
            raise InputError(f"a note begins at 0 s or later, got {self.onset!r:.40}.")
        if not (math.isfinite(self.length) and self.length > 0):
            raise InputError(f"a note is longer than 0 s, got {self.length!r:.40}.")
        for name, low in (("key", 0), ("velocity", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= 127:
                raise InputError(f"the {name} of a note is a whole number of {low}..127, got {value!r:.40}.")

    @property
    def end(self) -> float:
        """When the key is let go."""
        return self.onset + self.length


@dataclasses.dataclass(frozen=True)
class Track:
    """Notes that one instrument plays, in order of their onsets."""

    notes: tuple[Note, ...]
    program: int = 0  # of General MIDI, 0..127
    name: str = ""
    pan: float = 0.0  # -1 left .. 1 right
    gain: float = 1.0  # of the wave, from the track's volume and expression


@dataclasses.dataclass(frozen=True)
class Piece:
    """A whole piece of music."""

    tracks: tuple[Track, ...]
    title: str = ""
    notices: tuple[str, ...] = ()  # what of the source is not in the tracks, in sentences

    @property
    def seconds(self) -> float:
        """Until the last key is let go; 0 without notes."""
        return max((note.end for track in self.tracks for note in track.notes), default=0.0)


def hertz(key: float) -> float:
    """The frequency of a MIDI key in equal temperament."""
    return float(CONCERT_A_HERTZ * 2.0 ** ((key - CONCERT_A) / 12))
