"""Passing notes, neighbours, suspensions and broken chords between the chords of a phrase, in steps of eighths."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from harmony import Chord
from voicing import RANGES

BEAT = 2  # steps
_PASSING = (0.7, 0.9, 1.0, 1.0)  # of the density, soprano to bass
_CONSONANT = {0, 3, 4, 5, 7, 8, 9}


@dataclasses.dataclass
class Score:
    """Keys [steps][4], and where a note is struck rather than held."""

    keys: list[list[int]]
    struck: list[list[bool]]

    def faultless(self, first: int, last: int) -> bool:
        """No crossing, no clash of a semitone, and no parallel fifths or octaves in the steps first..last."""
        rows = self.keys[max(first, 0) : last + 1]
        for row in rows:
            for upper, lower in itertools.pairwise(row):
                if upper < lower or upper - lower in (1, 13):
                    return False
        for before, after in itertools.pairwise(rows):
            moved = [voice for voice in range(4) if before[voice] != after[voice]]
            for index, upper in enumerate(moved):
                for lower in moved[index + 1 :]:
                    interval = (after[upper] - after[lower]) % 12
                    if interval in (0, 7) and interval == (before[upper] - before[lower]) % 12:
                        return False
        return True


def plain(voices: np.ndarray, lengths: list[int]) -> tuple[Score, list[int]]:
    """Chords [N, 4] that last so many beats each, and the step at which each begins."""
    score, starts = Score([], []), []
    for row, length in zip(voices.tolist(), lengths, strict=True):
        starts.append(len(score.keys))
        score.keys += [list(row) for _ in range(length * BEAT)]
        score.struck += [[step == 0] * 4 for step in range(length * BEAT)]
    return score, starts


def decorate(
    rng: np.random.Generator, score: Score, chords: list[Chord], starts: list[int], strong: list[bool], density: float
) -> None:
    """Add what the rules allow between each chord and the next, in place."""
    for index in range(len(chords) - 1):
        off, next_start = starts[index + 1] - 1, starts[index + 1]
        after_next = starts[index + 2] if index + 2 < len(starts) else len(score.keys)
        for beat in range(starts[index] + BEAT, next_start, BEAT):
            if rng.random() < 0.7 * density:
                _rearrange(rng, score, int(rng.integers(4)), chords[index], beat, next_start)
        moving: list[int] = []
        for voice in rng.permutation(4).tolist():
            suspends = strong[index + 1] and rng.random() < 0.5
            if suspends and _suspend(score, voice, chords[index + 1], next_start, after_next):
                continue
            if len(moving) < 2:
                key = _between(rng, score, voice, chords[index], chords[index + 1], off, density)
                if key is not None and _place(score, voice, off, key, moving):
                    moving.append(voice)


def _rearrange(rng: np.random.Generator, score: Score, voice: int, chord: Chord, beat: int, end: int) -> None:
    """In a long chord, let a voice go to another of its notes, from which the next chord is near."""
    here, there = score.keys[beat][voice], score.keys[end][voice]
    low, high = RANGES[voice]
    tones = [here + size for size in (-5, -4, -3, 3, 4, 5) if (here + size) % 12 in _free(chord)]
    choices = [key for key in tones if abs(there - key) <= 4 and low <= key <= high]
    if not choices or here % 12 in (chord.leading, chord.seventh):
        return
    key = int(rng.choice(choices))
    for step in range(beat, end):
        score.keys[step][voice] = key
    if score.faultless(beat - 1, end):
        score.struck[beat][voice] = True
        return
    for step in range(beat, end):
        score.keys[step][voice] = here


def _suspend(score: Score, voice: int, chord: Chord, start: int, end: int) -> bool:
    """Hold the note before a chord over its beginning, where it is a dissonance that may fall by a step."""
    old, new, bass = score.keys[start - 1][voice], score.keys[start][voice], score.keys[start][3]
    if voice == 3 or old - new not in (1, 2) or old % 12 in chord.pitches or score.struck[start - 1][voice]:
        return False
    if (old - bass) % 12 not in (1, 2, 5, 10, 11):
        return False
    if any(score.keys[start][other] % 12 == new % 12 for other in range(3) if other != voice):
        return False
    held = BEAT if end - start >= 2 * BEAT else 1
    for step in range(start, start + held):
        score.keys[step][voice] = old
    if not score.faultless(start - 1, start + held + 1):
        for step in range(start, start + held):
            score.keys[step][voice] = new
        return False
    score.struck[start][voice], score.struck[start + held][voice] = False, True
    return True


def _between(
    rng: np.random.Generator, score: Score, voice: int, chord: Chord, after: Chord, off: int, density: float
) -> int | None:
    """A key for the second half of the beat before the next chord, or None."""
    here, there = score.keys[off][voice], score.keys[off + 1][voice]
    distance, chance = there - here, rng.random() / density / _PASSING[voice]
    low, high = sorted((here, there))
    choices: list[int] = []
    if abs(distance) in (3, 4) and chance < 1:
        choices = [key for key in range(low + 1, high) if key % 12 in scale(after, distance)]
    elif distance == 0 and chance < 0.3:
        direction = 1 if rng.random() < 0.5 else -1
        notes = [here + direction * size for size in (1, 2)]
        choices = [key for key in notes if key % 12 in scale(after, direction)][:1]
        if voice == 3 and here - 12 >= RANGES[3][0] and rng.random() < 0.4:
            choices = [here - 12]
    elif abs(distance) in (1, 2) and chance < (0.45 if voice else 0.2):  # another note of the chord first
        tones = [here + size for size in (-5, -4, -3, 3, 4, 5) if (here + size) % 12 in _free(chord)]
        choices = [key for key in tones if 0 < abs(there - key) <= 2]
    elif voice == 3 and abs(distance) in (5, 7) and chance < 0.5:
        choices = [key for key in range(low + 1, high) if key % 12 in _free(chord)]
    return int(rng.choice(choices)) if choices else None


def _free(chord: Chord) -> set[int | None]:
    """The notes of a chord that may be left as one likes."""
    return {*chord.pitches} - {chord.seventh, chord.leading}


def scale(chord: Chord, direction: int) -> set[int]:
    """The scale of the chord's key as a line moves through it: a minor scale is raised on its way up."""
    if not chord.minor:
        degrees = (0, 2, 4, 5, 7, 9, 11)
    elif direction > 0:
        degrees = (0, 2, 3, 5, 7, 9, 11)
    else:
        degrees = (0, 2, 3, 5, 7, 8, 10)
    notes = {(chord.tonic + degree) % 12 for degree in degrees}
    for pitch in chord.pitches:  # an altered chord bends the scale: F# in D major's chord replaces F
        if pitch not in notes:
            notes -= {(pitch + 1) % 12, (pitch - 1) % 12} - set(chord.pitches)
            notes.add(pitch)
    return notes


def _place(score: Score, voice: int, step: int, key: int, moving: list[int]) -> bool:
    low, high = RANGES[voice]
    kept = score.keys[step][voice]
    if not low <= key <= high or score.struck[step][voice]:
        return False
    if any(abs(score.keys[step][other] - key) % 12 not in _CONSONANT for other in moving):
        return False
    score.keys[step][voice] = key
    if not score.faultless(step - 1, step + 1):
        score.keys[step][voice] = kept
        return False
    score.struck[step][voice] = True
    return True
