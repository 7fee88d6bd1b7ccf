"""Recordings with MIDI beside them: the notes in them that sound alone, for an instrument to be learned from.

The layout is that of MAESTRO: pairs such as `prelude.wav` and `prelude.midi`, at any depth of a folder, whose times
agree. A note is taken where nothing else sounds from its onset to the next note: few of a piano piece, most of a
flute's part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import InputError
from . import midi
from .corpus import HELD_OUT, INDEX, LONGEST, Recorded, check_enough
from .notes import Note
from .programs import PROGRAMS

SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
RINGS = 0.5  # seconds for which a string or a room may sound on after the key was let go
SHORTEST = 0.15  # seconds of a note that are enough to learn from


def has_pairs(folder: Path) -> bool:
    """Whether a folder is one of such pairs: it holds MIDI files, and no index of notes."""
    return not (folder / INDEX).is_file() and next(midi.files_in(folder), None) is not None


def read(folder: Path) -> list[Recorded]:
    """The notes that sound alone, in the order of their files and onsets."""
    found: list[Recorded] = []
    counts: dict[str, int] = {}
    total = 0
    for path in sorted(midi.files_in(folder)):
        sound = _sound_beside(path)
        piece = midi.read(path)
        if any("drums" in notice for notice in piece.notices):
            raise InputError(f"{path} has drums, which sound over its notes: take recordings of one instrument alone.")
        played = [(note, PROGRAMS[track.program]) for track in piece.tracks for note in track.notes]
        total += len(played)
        for note, instrument, end in _alone(played):
            count = counts[instrument] = counts.get(instrument, 0) + 1
            found.append(
                Recorded(
                    file=sound.relative_to(folder).as_posix(),
                    instrument=instrument,
                    key=note.key,
                    velocity=note.velocity,
                    begin=note.onset,
                    held=min(note.length, end - note.onset),
                    end=end,
                    held_out=count % HELD_OUT == 0,
                )
            )
    check_enough(found, f"{folder}, in which {len(found)} of {total} notes sound alone")
    return found


def _alone(played: Iterable[tuple[Note, str]]) -> Iterator[tuple[Note, str, float]]:
    """The notes before which everything has died away, with the time at which the next one begins or they have."""
    in_order = sorted(played, key=lambda each: each[0].onset)
    quiet_from = 0.0
    for place, (note, instrument) in enumerate(in_order):
        following = in_order[place + 1][0].onset if place + 1 < len(in_order) else float("inf")
        end = min(note.end + RINGS, following, note.onset + LONGEST)
        if note.onset >= quiet_from and end - note.onset >= SHORTEST:
            yield note, instrument, end
        quiet_from = max(quiet_from, note.end + RINGS)


def _sound_beside(path: Path) -> Path:
    for suffix in SOUND_SUFFIXES:
        if path.with_suffix(suffix).is_file():
            return path.with_suffix(suffix)
    raise InputError(f"{path} has no recording beside it: put {path.stem}.wav there, or take the MIDI file away.")
