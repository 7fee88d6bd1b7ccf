"""Recorded single notes: what an instrument is learned from.

    notes.jsonl    a note a line: {"file": "wavs/flute.wav", "instrument": "flute", "key": 60, "velocity": 80,
                   "begin": s, "held": s, "end": s, "held_out": false}

`begin` is the onset in the file, `begin + held` is when the key was let go, and `end` is where the sound has died away
or the next note is near. Several notes may lie in one file, a channel or more, of any sample rate.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..sound import audio
from . import stiffness
from .analysis import FRAMES, LEAD
from .notes import hertz

INDEX = "notes.jsonl"
HELD_OUT = 20  # every so many-th note of an instrument, where the data do not say which
LONGEST = 30.0  # seconds
LEAST = 12  # notes of an instrument


@dataclasses.dataclass(frozen=True)
class Recorded:
    """One note of a corpus."""

    file: str
    instrument: str
    key: int
    velocity: int
    begin: float
    held: float
    end: float
    held_out: bool
    stretch: float = 0.0  # B of `stiffness`, which is found when an instrument is trained


def read(folder: Path) -> list[Recorded]:
    """The notes of a folder, in the order of its index."""
    path = folder / INDEX
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{folder} holds no notes to learn from: cannot read {path.name} ({error}).") from error
    counts: dict[str, int] = {}
    notes = []
    for number, line in enumerate(lines, 1):
        note = _note(line, f"{path}, line {number}", counts)
        counts[note.instrument] = counts.get(note.instrument, 0) + 1
        notes.append(note)
    check_enough(notes, str(path))
    return notes


def check_enough(notes: list[Recorded], place: str) -> None:
    """Refuse instruments of too few notes."""
    counts = Counter(note.instrument for note in notes)
    few = [f"{name} ({count})" for name, count in counts.items() if count < LEAST]
    if few or not notes:
        raise InputError(
            f"{place}: an instrument is learned from {LEAST} notes or more, got {', '.join(few) or 'none'}."
        )


def names(notes: list[Recorded]) -> list[str]:
    """The instruments, in the order of their first notes."""
    return list(dict.fromkeys(note.instrument for note in notes))


def keys(notes: list[Recorded]) -> dict[str, tuple[int, int]]:
    """The lowest and the highest key of each instrument."""
    return {
        name: (min(found), max(found))
        for name in names(notes)
        for found in [[note.key for note in notes if note.instrument == name]]
    }


def with_stretches(folder: Path, notes: list[Recorded]) -> list[Recorded]:
    """The same notes, with how stiff the strings of their keys are."""
    found: dict[str, list[tuple[int, stiffness.Stiffness]]] = {name: [] for name in names(notes)}
    for note, wave in zip(notes, waves(folder, notes), strict=True):
        found[note.instrument].append((note.key, stiffness.of(wave, hertz(note.key), LEAD, FRAMES.sample_rate)))
    of_keys = {name: stiffness.of_keys(each, {key for key, _ in each}) for name, each in found.items()}
    return [dataclasses.replace(note, stretch=of_keys[note.instrument][note.key]) for note in notes]


def stretches(notes: list[Recorded]) -> dict[str, tuple[float, ...]]:
    """B of each key of the instruments whose strings are stiff, from the lowest to the highest."""
    result = {}
    for name, (low, high) in keys(notes).items():
        known = {note.key: note.stretch for note in notes if note.instrument == name}
        if any(known.values()):
            nearest = [min(known, key=lambda each, key=key: abs(each - key)) for key in range(low, high + 1)]  # type: ignore[misc]
            result[name] = tuple(known[key] for key in nearest)
    return result


def waves(folder: Path, notes: list[Recorded]) -> Iterator[npt.NDArray[np.float64]]:
    """Each note's sound, from LEAD samples before its onset; an instrument's loudest peak is 0.6 of full scale."""
    load = functools.lru_cache(maxsize=1)(lambda file: _mono(folder / file))
    scale = dict.fromkeys(names(notes), 0.0)
    for note in notes:
        scale[note.instrument] = max(scale[note.instrument], float(np.abs(_cut(load(note.file), note)).max()))
    for note in notes:
        if not scale[note.instrument]:
            raise InputError(f"all notes of {note.instrument} are silent: look at their files and times.")
        yield 0.6 / scale[note.instrument] * _cut(load(note.file), note)


def digest(notes: list[Recorded]) -> str:
    """Another one for other notes."""
    return hashlib.blake2b(repr(notes).encode(), digest_size=8).hexdigest()


def _note(line: str, place: str, counts: dict[str, int]) -> Recorded:
    try:
        values: Any = json.loads(line)
        if not isinstance(values, dict):
            raise ValueError("a JSON object is needed")
        instrument = values["instrument"]
        held_out = values.get("held_out", counts.get(str(instrument), 0) % HELD_OUT == HELD_OUT - 1)
        begin, held, end = (float(values[name]) for name in ("begin", "held", "end"))
        note = Recorded(values["file"], instrument, values["key"], values["velocity"], begin, held, end, held_out)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{place} describes no note ({error}).") from error
    numbers = (type(note.key) is int and 0 <= note.key <= 127, type(note.velocity) is int and 1 <= note.velocity <= 127)
    if not all(numbers) or not all(isinstance(each, str) and each for each in (note.file, note.instrument)):
        raise InputError(f"{place}: file and instrument are texts, key is 0..127 and velocity 1..127.")
    if (
        not all(map(math.isfinite, (begin, held, end)))
        or not note.begin >= 0
        or not 0 < note.held <= note.end - note.begin <= LONGEST
    ):
        raise InputError(f"{place}: begin, held and end are seconds, and end is at most {LONGEST:g} s after begin.")
    return note


def _mono(path: Path) -> npt.NDArray[np.float64]:
    return np.asarray(audio.load(path, sample_rate=FRAMES.sample_rate)[0].numpy(), dtype=np.float64)


def _cut(wave: npt.NDArray[np.float64], note: Recorded) -> npt.NDArray[np.float64]:
    first, last = (round(time * FRAMES.sample_rate) for time in (note.begin, note.end))
    if last > len(wave) + FRAMES.hop or first >= len(wave):
        raise InputError(f"{note.file} ends before its note at {note.begin:g} s does.")
    before = np.zeros(max(0, LEAD - first))
    return np.concatenate([before, wave[max(0, first - LEAD) : last]])
