"""A stretch of a piece, faster or slower, higher or lower."""

from __future__ import annotations

import dataclasses
import math

from ..errors import InputError
from .notes import Note, Piece

_SHORTEST = 0.05  # seconds: less is left of a note that is held over the start, and it is not struck for that


def edited(piece: Piece, tempo: float = 1.0, transpose: int = 0, start: float = 0.0, end: float | None = None) -> Piece:
    """The piece from `start` to `end`, in seconds as it is written, `tempo` times as fast, `transpose` keys higher.

    A note that is held over the start begins there, one that is held over the end ends there. `options.Playing` has
    the ranges of the numbers.
    """
    if start and start >= piece.seconds:
        raise InputError(f"the piece lasts {piece.seconds:.1f} s: nothing is left from {start:g} s on.")
    last = math.inf if end is None else end
    tracks, lost = [], 0
    for track in piece.tracks:
        heard = [note for note in track.notes if _is_heard(note, start, last)]
        kept = [note for note in heard if 0 <= note.key + transpose <= 127]
        lost += len(heard) - len(kept)
        if kept:
            notes = tuple(_moved(note, tempo, transpose, start, last) for note in kept)
            tracks.append(dataclasses.replace(track, notes=notes))
    notices = piece.notices
    if lost:
        notices += (f"{lost} notes would be beyond the keys of MIDI and are left out: transpose by less.",)
    return dataclasses.replace(piece, tracks=tuple(tracks), notices=notices)


def _is_heard(note: Note, start: float, end: float) -> bool:
    if note.onset < start:
        return min(note.end, end) - start >= _SHORTEST
    return note.onset < end


def _moved(note: Note, tempo: float, transpose: int, start: float, end: float) -> Note:
    onset, last = max(note.onset, start), min(note.end, end)
    return Note((onset - start) / tempo, (last - onset) / tempo, note.key + transpose, note.velocity)
