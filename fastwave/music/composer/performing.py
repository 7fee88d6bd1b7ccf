"""How a written chorale is played: tempo, breath between phrases, a slowing at the end, and velocities."""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence

from ..notes import Note, Piece, Track
from .chorale import GRIDS, HELD, VOICES, Chorale

TEMPO = 80.0  # quarter notes a minute
PROGRAMS = (73, 68, 71, 70)  # of General MIDI: flute, oboe, clarinet, bassoon
PANS = (-0.3, 0.25, -0.1, 0.35)
LOUDNESS = (86, 70, 72, 80)  # velocities before shaping: the outer voices lead
FERMATA = 1.25  # the last chord of a phrase lasts so much longer
SLOWING = (1.05, 1.12, 1.22, 1.4)  # of the last quarter notes before the last chord
BREATH = 0.12  # quarter notes of silence at the end of a phrase
LINK = 0.02  # seconds between one note of a voice and the next


def perform(chorales: Sequence[Chorale], seed: int = 0, tempo: float = TEMPO, title: str = "") -> Piece:
    """Chorales as verses of one piece; the same seed gives the same velocities."""
    rng = random.Random(seed)
    notes: list[list[Note]] = [[] for _ in VOICES]
    now = 0.0
    for number, chorale in enumerate(chorales):
        now = _verse(chorale, notes, now, 60.0 / tempo, rng, last=number == len(chorales) - 1)
    tracks = [
        Track(tuple(part), program, name, pan)
        for part, program, name, pan in zip(notes, PROGRAMS, VOICES, PANS, strict=True)
    ]
    return Piece(tuple(tracks), title)


def quarters(chorale: Chorale, last: bool) -> float:
    """How many quarter notes a verse lasts as it is played, with fermatas and, in the last one, a slowing."""
    return times(chorale, 1.0, last)[-1]


def times(chorale: Chorale, quarter: float, last: bool) -> list[float]:
    """When each step begins, in seconds from the first, and the end of the last; `quarter` is a quarter note."""
    grid = GRIDS[chorale.form.grid]
    lengths = [quarter / grid] * len(chorale.steps)
    begins = [_chord_before(chorale, end) for end in chorale.ends]
    for begin, end in zip(begins, chorale.ends, strict=True):
        lengths[begin:end] = [length * FERMATA for length in lengths[begin:end]]
    if last and begins:
        for back, factor in enumerate(reversed(SLOWING)):
            for step in range(begins[-1] - (back + 1) * grid, begins[-1] - back * grid):
                if step >= 0:
                    lengths[step] *= factor
    moments = [0.0]
    for length in lengths:
        moments.append(moments[-1] + length)
    return moments


def _chord_before(chorale: Chorale, end: int) -> int:
    """The step at which the last chord of a phrase begins: its longest stretch without a new note."""
    step = end - 1
    while step > 0 and all(sign == HELD for sign in chorale.steps[step]):
        step -= 1
    return step


def _verse(
    chorale: Chorale, notes: list[list[Note]], start: float, quarter: float, rng: random.Random, last: bool
) -> float:
    moments = times(chorale, quarter, last)
    ends = list(chorale.ends) or [len(chorale.steps)]
    for voice, part in enumerate(notes):
        keys = [step[voice] for step in chorale.steps]
        struck = [index for index, key in enumerate(keys) if key != HELD]
        for index, following in zip(struck, [*struck[1:], len(keys)], strict=True):
            if keys[index] < 0:
                continue
            closes = following in ends
            gap = BREATH * quarter if closes and following < len(keys) else LINK
            length = max(moments[following] - moments[index] - gap, 0.05)
            velocity = _velocity(chorale, voice, index, ends, rng)
            part.append(Note(start + moments[index], length, keys[index], velocity))
    return start + moments[-1]


def _velocity(chorale: Chorale, voice: int, step: int, ends: list[int], rng: random.Random) -> int:
    """An arch over the phrase, a little weight on the first beat of a bar, and a little chance."""
    number = min(bisect.bisect_right(ends, step), len(ends) - 1)
    begin, end = (ends[number - 1] if number else 0), ends[number]
    place = (step - begin) / max(1, end - begin)
    arch = 12.0 * (1.0 - (2.0 * place - 1.1) ** 2)
    bar = chorale.form.steps_a_bar
    accent = 4.0 if bar and (step - chorale.pickup) % bar == 0 else 0.0
    off_beat = -4.0 if (step - chorale.pickup) % GRIDS[chorale.form.grid] else 0.0
    return round(min(max(LOUDNESS[voice] + arch - 6.0 + accent + off_beat + rng.uniform(-3, 3), 20), 120))
