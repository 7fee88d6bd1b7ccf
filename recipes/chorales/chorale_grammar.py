"""Chorales from our own rules: a plan of cadences, chords that lead to them, four voices, and ornaments."""

from __future__ import annotations

import numpy as np
from harmony import Chord, Key, chord, phrase
from ornament import Score, decorate, plain
from voicing import FORBIDDEN, lead, transition, voicings

from fastwave.music.composer.chorale import HELD, Chorale, Form, Step

# where a phrase may go, as semitones from the tonic, whether that is minor, the cadence, and how often
_GOALS_MAJOR = [
    (7, False, "perfect", 3.0), (9, True, "perfect", 2.0), (0, False, "half", 2.0), (0, False, "perfect", 1.4),
    (5, False, "perfect", 0.7), (2, True, "perfect", 0.8), (4, True, "perfect", 0.5), (9, True, "half", 0.7),
    (0, False, "deceptive", 0.5), (7, False, "half", 0.3),
]  # fmt: skip
_GOALS_MINOR = [
    (3, False, "perfect", 3.0), (7, True, "perfect", 1.5), (0, True, "half", 2.5), (0, True, "perfect", 1.3),
    (5, True, "perfect", 0.8), (10, False, "perfect", 0.6), (8, False, "perfect", 0.5), (3, False, "half", 0.5),
    (0, True, "deceptive", 0.5),
]  # fmt: skip
_CLOSINGS = {
    "perfect": {0: 0.0, 3: 1.2, 4: 1.2, 7: 2.5},
    "half": {7: 0.6, 11: 0.0, 2: 0.0},
    "deceptive": {0: 0.0, 3: 0.6, 4: 0.6},
    "final": {0: 0.0, 4: 3.0, 3: 3.0},
}
_BARS_OF_THREE = [((1, 1, 1), 0.45), ((2, 1), 0.45), ((1, 2), 0.1)]


def chorale(rng: np.random.Generator, phrases: int | None = None, key: Key | None = None) -> Chorale:
    """A chorale of so many phrases in a key, in a metre of its own choice."""
    count = phrases or int(rng.choice(9, p=(0, 0.06, 0.12, 0.14, 0.2, 0.16, 0.18, 0.06, 0.08)))
    tonic, minor = key or (int(rng.integers(12)), bool(rng.random() < 0.45))
    metre = "4/4" if rng.random() < 0.7 else "3/4"
    while True:
        try:
            return _Writer(rng, (tonic, minor), metre, count).write()
        except ValueError:  # a row of chords that no voices can sing; the next draw is another
            continue


def plan(rng: np.random.Generator, home: Key, count: int) -> list[tuple[Key, str]]:
    """The key and the cadence in which each phrase ends."""
    goals = _GOALS_MINOR if home[1] else _GOALS_MAJOR
    chances = np.array([goal[3] for goal in goals])
    chosen: list[tuple[Key, str]] = []
    for index in range(count - 1):
        weights = chances.copy()
        for number, (interval, minor, cadence, _) in enumerate(goals):
            place = (((home[0] + interval) % 12, minor), cadence)
            at_home = interval == 0
            weights[number] *= (5.0 if at_home else 0.3) if index == 0 else 1.0
            weights[number] *= 0.1 if chosen and chosen[-1] == place else 1.0
            weights[number] *= 0.3 if index == count - 2 and at_home and cadence == "perfect" else 1.0
        interval, minor, cadence, _ = goals[rng.choice(len(goals), p=weights / weights.sum())]
        chosen.append((((home[0] + interval) % 12, minor), cadence))
    return [*chosen, (home, "perfect")]


class _Writer:
    """One chorale as it is made, phrase after phrase."""

    def __init__(self, rng: np.random.Generator, home: Key, metre: str, count: int) -> None:
        self.rng, self.home, self.metre, self.count = rng, home, metre, count
        self.beats = 4 if metre == "4/4" else 3
        self.pickup = bool(rng.random() < 0.6)
        self.density = float(rng.uniform(0.55, 1.2))
        self.halves = float(rng.choice([0.0, 0.08, 0.25]))  # how many pairs of beats share a chord
        self.before: tuple[Chord, np.ndarray] | None = None

    def write(self) -> Chorale:
        goals = plan(self.rng, self.home, self.count)
        repeats = self.count >= 5 and self.rng.random() < 0.4  # bar form: the first two phrases come twice
        keys, made = self.home, []
        scores: list[Score] = []
        for index, (goal, cadence) in enumerate(goals):
            last = index == self.count - 1
            if repeats and index in (2, 3):
                part = self._again(made[index - 2])
            else:
                part = self._phrase(keys, goal, cadence, index == 0, last)
            made.append(part)
            keys = part[0][-1].tonic, part[0][-1].minor
            self.before = (part[0][-1], part[1][-1])
            scores.append(self._decorated(*part, last))
        return self._chorale(scores)

    def _again(self, part: tuple[list[Chord], np.ndarray, list[int]]) -> tuple[list[Chord], np.ndarray, list[int]]:
        chords, voices, _ = part
        assert self.before is not None
        before, after = ((voicings(c)[0] == v).all(1).argmax() for c, v in (self.before, (chords[0], voices[0])))
        if transition(self.before[0], chords[0], True)[before, after] >= FORBIDDEN:
            raise ValueError("the repetition does not follow")
        return part

    def _phrase(
        self, old: Key, goal: Key, cadence: str, first: bool, last: bool
    ) -> tuple[list[Chord], np.ndarray, list[int]]:
        rng = self.rng
        for _ in range(40):
            lengths = self._rhythm(last)
            strong = self._strong(lengths)
            begin = ("V" if self.pickup and rng.random() < 0.15 else "I") if first else None
            try:
                chords = phrase(rng, old if first or rng.random() < 0.6 else goal, goal, cadence, len(lengths), begin)
            except ValueError:
                continue
            if any(each.symbol == "I64" and not good for each, good in zip(chords, strong, strict=True)):
                continue
            if cadence == "perfect" and goal[1] and rng.random() < (0.7 if last else 0.25):
                chords[-1] = chord("picardy", *goal)
            try:
                voices = lead(rng, chords, self._contour(len(chords), goal), self._closing(cadence, last), self.before)
            except ValueError:
                continue
            if self._singable(voices):
                return chords, voices, lengths
        raise ValueError("no phrase was found")

    def _singable(self, voices: np.ndarray) -> bool:
        """A melody that moves: no note thrice in a row, at least four different ones, no leap after a leap on."""
        melody = voices[:, 0]
        moves = np.diff(melody)
        thrice = ((moves[1:] == 0) & (moves[:-1] == 0)).any()
        onward = ((np.abs(moves[1:]) > 4) & (np.abs(moves[:-1]) > 4) & (moves[1:] * moves[:-1] > 0)).any()
        bass = np.diff(voices[:, 3])
        stuck = ((bass[1:] == 0) & (bass[:-1] == 0)).any()
        return not thrice and not onward and not stuck and len(set(melody.tolist())) >= min(4, len(melody) - 2)

    def _rhythm(self, last: bool) -> list[int]:
        """Beats of each chord of a phrase."""
        rng = self.rng
        if self.beats == 3:
            bars = [_BARS_OF_THREE[rng.choice(3, p=[weight for _, weight in _BARS_OF_THREE])][0] for _ in range(3)]
            lengths = [length for bar in bars for length in bar]
            return [1, *lengths, 2] if self.pickup else [*lengths, 3]
        if self.pickup:
            lengths, close = ([1] * 5, 3) if last and rng.random() < 0.7 else ([1] * 7, 1)
        else:
            lengths, close = ([1] * 4, 4) if last and rng.random() < 0.4 else ([1] * 6, 2)
        place = 1 if self.pickup else 0
        while place + 1 < len(lengths) - 2:  # the cadence itself moves in beats
            if rng.random() < self.halves:
                lengths[place : place + 2] = [2]
                place += 1
            else:
                place += 2
        return [*lengths, close]

    def _strong(self, lengths: list[int]) -> list[bool]:
        beat, strong = (self.beats - 1 if self.pickup else 0), []
        for length in lengths:
            strong.append(beat % self.beats in ((0, 2) if self.beats == 4 else (0,)))
            beat += length
        return strong

    def _contour(self, count: int, goal: Key) -> np.ndarray:
        rng = self.rng
        begin = float(self.before[1][0]) if self.before is not None else rng.uniform(66, 73)
        tonics = [key for key in range(62, 76) if key % 12 == goal[0]]
        end = float(rng.choice(tonics))
        place = np.linspace(0, 1, count)
        height = rng.uniform(2, 6) * (1 if rng.random() < 0.75 else -0.7)
        peak = rng.uniform(0.7, 1.6)  # above 1 the height is reached late
        return np.clip(begin + (end - begin) * place + height * np.sin(np.pi * place**peak), 61.5, 77.5)

    def _closing(self, cadence: str, last: bool) -> dict[int, float]:
        return _CLOSINGS["final" if last else cadence]

    def _decorated(self, chords: list[Chord], voices: np.ndarray, lengths: list[int], last: bool) -> Score:
        score, starts = plain(voices, lengths)
        decorate(self.rng, score, chords, starts, self._strong(lengths), self.density)
        return score

    def _chorale(self, scores: list[Score]) -> Chorale:
        steps: list[Step] = []
        ends = []
        for score in scores:
            for keys, struck in zip(score.keys, score.struck, strict=True):
                a, b, c, d = (key if new else HELD for key, new in zip(keys, struck, strict=True))
                steps.append((a, b, c, d))
            ends.append(len(steps))
        form = Form(self.home[0], self.home[1], self.metre, "eighths", self.count)
        return Chorale(form, tuple(steps), 2 if self.pickup else 0, tuple(ends))
