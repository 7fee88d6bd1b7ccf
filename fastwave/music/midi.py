"""Standard MIDI files -> pieces: formats 0 and 1, also in a RIFF wrapper. `midi_writing` writes them.

What a file says and this wing does not play, such as drums, is named in the notices of the piece.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import InputError
from .midi_events import TEMPO, Header, TrackEvents, in_time, split
from .midi_performance import PartNotes, Performance
from .notes import Note, Piece, Track
from .programs import PROGRAMS

SUFFIXES = (".mid", ".midi")
MOST_BYTES = 4 << 20  # ten times the longest performances that people record
MOST_NOTES = 500_000
SHORTEST = 0.01  # seconds of a note that the file ends where it begins


def read(path: str | os.PathLike[str]) -> Piece:
    """The piece in a MIDI file. Tracks that another channel or program plays are tracks of their own."""
    try:
        if not Path(path).is_file() and Path(path).exists():
            raise InputError(f"cannot read {path}: it is a folder or a device. Give a .mid file.")
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    return parse(content, str(path))


def files_in(folder: Path) -> Iterator[Path]:
    """The MIDI files of a folder, at any depth."""
    return (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def parse(content: bytes, name: str = "the MIDI file") -> Piece:
    """`read` of bytes; `name` is what they are called in an error."""
    if len(content) > MOST_BYTES:
        raise InputError(f"{name} is over {MOST_BYTES >> 20} MiB, more than any piece of music: cut it into parts.")
    header, tracks = split(content, name)
    performance = _performed(header, tracks, name)
    parts = sorted(performance.parts.values(), key=lambda part: (part.track, part.channel))
    played = [part for part in parts if not part.is_drums and any(note.gain for note in part.notes)]
    names = _names(played, tracks)
    notices = [*_damages(header, tracks), *_left_out(parts, performance)]
    made = tuple(_track(part, name) for part, name in zip(played, names, strict=True))
    return Piece(made, _title(played, tracks), tuple(notices))


def _performed(header: Header, tracks: list[TrackEvents], name: str) -> Performance:
    """Play all events, with the tempos that stand among them."""
    performance = Performance()
    tick_seconds = header.first_tick_seconds
    base_tick, time = 0, 0.0
    for event in in_time(tracks):
        time += (event.tick - base_tick) * tick_seconds
        base_tick = event.tick
        if event.kind != TEMPO:
            performance.play(event, time)
            if performance.notes > MOST_NOTES:
                raise InputError(f"{name} has over {MOST_NOTES} notes, more than anybody hears: cut it into parts.")
        elif not header.frames and event.first:
            tick_seconds = event.first / (1e6 * header.ticks)
    performance.finish(time)
    return performance


def _track(part: PartNotes, name: str) -> Track:
    """The notes of a part. Its gain is the largest of any note; notes at a lower one are struck more softly instead."""
    gain = max(note.gain for note in part.notes)
    notes = []
    for note in part.notes:
        softer = math.sqrt(note.gain / gain)
        if softer:
            velocity = max(1, round(note.velocity * softer))
            notes.append(Note(note.onset, max(SHORTEST, note.end - note.onset), note.key, velocity))
    notes.sort(key=lambda note: (note.onset, note.key))
    return Track(tuple(notes), part.program, name, max(-1.0, min(1.0, (part.pan - 64) / 63)), gain)


def _title(parts: Sequence[PartNotes], tracks: Sequence[TrackEvents]) -> str:
    """The name of the first track, unless that is the name of its part among others."""
    if not tracks or (len(tracks) > 1 and any(part.track == 0 for part in parts)):
        return ""
    return tracks[0].name


def _names(parts: Sequence[PartNotes], tracks: Sequence[TrackEvents]) -> list[str]:
    """The name of each part: that of its track where no other part has it, else that of its program."""
    counts: dict[int, int] = {}
    for part in parts:
        counts[part.track] = counts.get(part.track, 0) + 1
    result = []
    for part in parts:
        source = tracks[part.track]
        own = source.instrument or ("" if len(tracks) == 1 else source.name)
        result.append(own if own and counts[part.track] == 1 else PROGRAMS[part.program])
    return result


# What is not in the tracks


def _damages(header: Header, tracks: Sequence[TrackEvents]) -> Iterable[str]:
    for track in tracks:
        if track.damage:
            named = f" ({track.name})" if track.name else ""
            yield f"track {track.number + 1}{named} is damaged: {track.damage}; what stands before that is played."
    if len(tracks) < header.tracks:
        yield f"{header.tracks - len(tracks)} of {header.tracks} tracks are missing: the file is cut short."


def _left_out(parts: Sequence[PartNotes], performance: Performance) -> Iterable[str]:
    drums = [part for part in parts if part.is_drums]
    if drums:
        channels = ", ".join(str(channel) for channel in sorted({part.channel % 16 + 1 for part in drums}))
        count = sum(len(part.notes) for part in drums)
        yield f"drums are left out: {_notes(count)} on channel {channels}."
    silent = sum(not note.gain for part in parts if not part.is_drums for note in part.notes)
    if silent:
        yield f"{_notes(silent, 'is left out: its volume is 0', 'are left out: their volume is 0')}."
    if hanging := performance.never_let_go:
        yield f"{_notes(hanging, 'is never let go: it is ended', 'are never let go: they are ended')}."
    if performance.bends:
        yield "pitch bends are left out: every note keeps its pitch."
    swells = sum(part.swells for part in parts if not part.is_drums)
    if swells:
        one = "swells or fades while it is held: it keeps its loudest volume"
        yield f"{_notes(swells, one, 'swell or fade while they are held: they keep their loudest volume')}."


def _notes(count: int, one: str = "", many: str = "") -> str:
    return f"1 note {one}".rstrip() if count == 1 else f"{count} notes {many}".rstrip()
