"""A piece as a standard MIDI file of format 1: a track of tempo and title, then one for each track of the piece."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from ..files import replacing
from .midi_events import CONTROL, NOTE_OFF, NOTE_ON, PROGRAM
from .midi_performance import DRUM_CHANNEL, USUAL_VOLUME
from .notes import Note, Piece, Track

TICKS = 960  # a quarter note: at 120 a minute one lasts 0.52 ms
_MOST_TICKS = (1 << 28) - 1  # between two events
_CHANNELS = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)


def write(piece: Piece, path: str | os.PathLike[str], tempo: float = 120.0) -> None:
    """Save a piece, whole or not at all. `tempo` is in quarter notes a minute: it says where the bars lie, and
    changes no time."""
    content = to_bytes(piece, tempo)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise InputError(f"cannot write {Path(path)}: {error.strerror or error}.") from error


def to_bytes(piece: Piece, tempo: float = 120.0) -> bytes:
    """The bytes of the file."""
    if not (math.isfinite(tempo) and 4 <= tempo <= 60_000_000):
        raise InputError(f"a tempo is a number of quarter notes a minute, at least 4, got {tempo!r:.40}.")
    quarter = round(60e6 / tempo)  # microseconds
    front = [_meta(0x03, piece.title.encode()), _meta(0x51, quarter.to_bytes(3, "big"))]
    tracks = [_chunk(b"\0" + event for event in front)]
    tracks += [_chunk(_track(track, index, TICKS * 1e6 / quarter)) for index, track in enumerate(piece.tracks)]
    if len(tracks) > 1024:
        raise InputError(f"a MIDI file holds up to 1023 tracks of notes, got {len(piece.tracks)}.")
    header = b"MThd" + (6).to_bytes(4, "big") + b"".join(each.to_bytes(2, "big") for each in (1, len(tracks), TICKS))
    return header + b"".join(tracks)


def _track(track: Track, index: int, ticks_a_second: float) -> Iterator[bytes]:
    """The events of a track, each behind the time since the one before it."""
    port, channel = index // len(_CHANNELS), _CHANNELS[index % len(_CHANNELS)]
    yield b"\0" + _meta(0x03, track.name.encode())
    if port:
        yield b"\0" + _meta(0x21, bytes([port]))
    volume = max(1, min(127, round(USUAL_VOLUME * math.sqrt(track.gain)))) if track.gain > 0 else 0
    for number, value in ((7, volume), (10, round(64 + 63 * track.pan))):
        yield bytes([0, CONTROL | channel, number, max(0, min(127, value))])
    yield bytes([0, PROGRAM | channel, track.program])
    before = 0
    for tick, status, key, velocity in sorted(_keys(track.notes, ticks_a_second)):
        yield _quantity(tick - before) + bytes([status | channel, key, velocity])
        before = tick


def _keys(notes: tuple[Note, ...], ticks_a_second: float) -> Iterator[tuple[int, int, int, int]]:
    """When keys go down and up. Sorted, a key comes up before one goes down at the same tick: 0x80 is below 0x90."""
    for note in notes:
        first = round(note.onset * ticks_a_second)
        last = max(first + 1, round(note.end * ticks_a_second))
        if last > _MOST_TICKS:
            raise InputError(f"a note at {note.onset:.0f} s is too late for a MIDI file: cut the piece into parts.")
        yield first, NOTE_ON, note.key, note.velocity
        yield last, NOTE_OFF, note.key, 64


def _meta(kind: int, data: bytes) -> bytes:
    return bytes([0xFF, kind]) + _quantity(len(data)) + data


def _chunk(events: Iterator[bytes]) -> bytes:
    content = b"".join(events) + b"\0" + _meta(0x2F, b"")
    return b"MTrk" + len(content).to_bytes(4, "big") + content


def _quantity(value: int) -> bytes:
    """Seven bits a byte, the highest first; all but the last have the eighth bit."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))
