"""A model writes a chorale line by line; a line that cannot stand is drawn again, a bounded number of times."""

from __future__ import annotations

import dataclasses

import torch

from ...engine.engine import Engine
from ...engine.state import State
from ...errors import GenerationError, InputError
from . import rules, text
from .chorale import GRIDS, HELD, Chorale, Form, Step

LINE_DRAWS = 12  # of one line that must keep the rules of voice leading
MORE_DRAWS = 12  # of one line that must only be well formed, once those are used up
PHRASE_DRAWS = 40  # of one phrase: the last one is often drawn again until it ends at home
LONGEST_PHRASE = 24  # quarter notes
LONGEST_CHORD = 8  # quarter notes in which no voice moves
SHORTEST_PHRASE = 3  # quarter notes
CANDIDATES = 4  # pieces, of which the best is chosen
_NEWLINE = ord("\n")
_LONGEST = 6  # characters of a line behind the header: `|` and four voices, or `=12`, and the newline


@dataclasses.dataclass
class Count:
    """What it took to write: lines drawn, those that were malformed, those that broke a rule, phrases begun again."""

    lines: int = 0
    malformed: int = 0
    against_rules: int = 0
    rules_waived: int = 0
    phrases_again: int = 0


@dataclasses.dataclass
class _Place:
    """A point to which writing can return."""

    state: State
    reader: text.Reader
    column: tuple[int, ...] | None  # what sounded last
    still: int = 0  # steps since a voice moved

    def copy(self) -> _Place:
        return _Place(self.state.copy(), self.reader.copy(), self.column, self.still)


class Writer:
    """Writes chorales with an engine of a model of text, at a temperature."""

    def __init__(self, engine: Engine, temperature: float, seed: int) -> None:
        if engine.codec.name != "bytes":
            raise InputError(f"a composer is a model of text, with codec 'bytes'; this one has {engine.codec.name!r}.")
        self.engine, self.temperature, self.seed = engine, temperature, seed
        self.count = Count()
        self._draws = 0

    def choose(self, form: Form, candidates: int = CANDIDATES) -> Chorale:
        """The one of so many chorales that has most beats on which a triad or a seventh chord sounds.

        A candidate that the model cannot end is given up; only where none is left that is an error.
        """
        written, failure = [], None
        for _ in range(candidates):
            try:
                written.append(self.write(form))
            except GenerationError as error:
                failure = error
        if failure is not None and not written:
            raise failure
        return max(written, key=_chords)

    def write(self, form: Form) -> Chorale:
        """A chorale of this key, metre and number of phrases."""
        if form.phrases is None:
            raise InputError("the composer must be told a number of phrases.")
        line = text.header(form)
        prime = torch.tensor([list(f"{line}\n".encode())])
        reader = text.Reader()
        reader.take(line)
        place = _Place(self.engine.start(prime=prime), reader, None)
        for _ in range(form.phrases):
            place = self._phrase(place, form)
        return Chorale(form, tuple(place.reader.steps), place.reader.pickup or 0, tuple(place.reader.ends))

    def _phrase(self, begin: _Place, form: Form) -> _Place:
        longest = LONGEST_PHRASE * GRIDS[form.grid]
        for _ in range(PHRASE_DRAWS):
            place: _Place | None = begin.copy()
            steps, ends = len(begin.reader.steps), len(begin.reader.ends)
            while place is not None and len(place.reader.steps) - steps <= longest:
                if len(place.reader.ends) > ends:
                    return place
                place = self._line(place, len(place.reader.steps) - steps)
            self.count.phrases_again += 1
        raise GenerationError(
            f"the model did not write a phrase of a chorale in {PHRASE_DRAWS} tries: lower the temperature "
            f"({self.temperature:g}), or use a model that was trained on chorales (recipes/chorales)."
        )

    def _line(self, place: _Place, steps_so_far: int) -> _Place | None:
        """The place behind the next line; None when no draw was fit."""
        spare: _Place | None = None  # the first line that is well formed but breaks a rule
        for attempt in range(LINE_DRAWS + MORE_DRAWS):
            if attempt >= LINE_DRAWS and spare is not None:
                self.count.rules_waived += 1
                return spare
            trial = place.copy()
            line = self._draw(trial.state)
            self.count.lines += 1
            if line is None or trial.reader.fault(line):
                self.count.malformed += 1
                continue
            trial.reader.take(line)
            if not self._fits(trial, line, steps_so_far):
                self.count.against_rules += 1
                spare = spare or (trial if line[0] != "=" and trial.still < self._longest_chord(trial) else None)
                continue
            return trial
        return spare

    def _draw(self, state: State) -> str | None:
        """The next line of the text; None for one that is too long or not of ASCII."""
        self._draws += 1
        seed = (self.seed * 1_000_003 + self._draws) % 2**64
        drawn = self._more(state, 1, seed)
        if chr(drawn[0]) in text.FIRST_OF_STEP:
            drawn += self._more(state, 4 + (drawn[0] == ord("|")), seed)
        while drawn[-1] != _NEWLINE and len(drawn) < _LONGEST:
            drawn += self._more(state, 1, seed)
        if drawn[-1] != _NEWLINE or max(drawn) > 126:
            return None
        return bytes(drawn[:-1]).decode("ascii")

    def _more(self, state: State, count: int, seed: int) -> list[int]:
        made = self.engine.run(state, count, seed=seed, temperature=self.temperature, in_place=True)
        values: list[int] = made[0].tolist()
        return values

    def _longest_chord(self, place: _Place) -> int:
        assert place.reader.form is not None
        return LONGEST_CHORD * GRIDS[place.reader.form.grid]

    def _fits(self, trial: _Place, line: str, steps_so_far: int) -> bool:
        """Whether a well-formed line keeps the rules; the trial learns what sounds."""
        assert trial.reader.form is not None
        form = trial.reader.form
        if line == "=0" and form.tonic is not None:
            assert trial.column is not None
            if not rules.is_home(trial.column, form.tonic, form.minor):
                return False
        if line[0] == "=":
            return steps_so_far >= SHORTEST_PHRASE * GRIDS[trial.reader.form.grid]
        step: Step = trial.reader.steps[-1]
        before = trial.column
        after = tuple(new if new != HELD or before is None else before[voice] for voice, new in enumerate(step))
        trial.column = after
        if all(new == HELD for new in step):
            trial.still += 1
            return trial.still < self._longest_chord(trial)
        trial.still = 0
        return not rules.fault(before, after)


def _chords(chorale: Chorale) -> float:
    """The share of the beats on which a triad or a seventh chord sounds."""
    beats = [rules.pitch_classes(column) for column in chorale.sounding()[:: GRIDS[chorale.form.grid]]]
    return sum(notes in rules.TRIADS or notes in rules.SEVENTHS for notes in beats) / len(beats)
