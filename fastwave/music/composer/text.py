"""Chorales as text: a line a step. docs/composer.md describes the format.

    G major, 4/4, eighths, 2 phrases
    MHEo
    ..C.
    |OHzv
    ...

A letter is a semitone above the tonic nearest to middle C, which is A. So the same music has the same letters in
every key; the header says in which it sounds.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator

from ...errors import InputError
from .chorale import GRIDS, HELD, HIGHEST, LOWEST, MAX_STEPS, METRES, REST, TONICS, Chorale, Form, Step

LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
LOWEST_LETTER = 24  # the MIDI key of the first letter in C; A is 60
OTHER_SIGNS = {HELD: ".", REST: "_"}
FIRST_OF_STEP = frozenset("|._" + LETTERS)
LONGEST_LINE = 48  # characters; a header has at most 42

_HEADER = re.compile(
    rf"(?:(?P<tonic>{'|'.join(map(re.escape, TONICS))}) (?P<mode>major|minor)|any key), "
    rf"(?:(?P<metre>{'|'.join(METRES)})|free), (?P<grid>{'|'.join(GRIDS)})"
    r"(?:, (?P<phrases>[1-9][0-9]?) phrases?)?"
)
_STEP = re.compile(r"(\|?)([0-9a-zA-Z._])([0-9a-zA-Z._])([0-9a-zA-Z._])([0-9a-zA-Z._])")
_PHRASE = re.compile(r"=(0|[1-9][0-9]?)")


def sign_of(key: int, tonic: int | None) -> str:
    """The letter of a MIDI key where the tonic is this pitch class, or the sign of HELD or REST."""
    return OTHER_SIGNS.get(key) or LETTERS[key - LOWEST_LETTER - _shift(tonic)]


def key_of(sign: str, tonic: int | None) -> int:
    """What a sign means: a MIDI key, HELD or REST."""
    if sign in "._":
        return HELD if sign == "." else REST
    return LOWEST_LETTER + LETTERS.index(sign) + _shift(tonic)


def _shift(tonic: int | None) -> int:
    """Semitones from middle C to the tonic that is written A: from A flat below to G above."""
    return 0 if tonic is None else (tonic + 4) % 12 - 4


def header(form: Form) -> str:
    """The first line of a chorale, without its newline."""
    text = f"{form.key}, {form.metre or 'free'}, {form.grid}"
    if form.phrases is None:
        return text
    return f"{text}, {form.phrases} phrase{'s' if form.phrases > 1 else ''}"


def write(chorale: Chorale) -> str:
    """A chorale as text, with the empty line that ends it."""
    form, ends = chorale.form, set(chorale.ends)
    lines, left, bar = [header(form)], form.phrases or 0, form.steps_a_bar
    for index, step in enumerate(chorale.steps):
        begins = bar is not None and index >= chorale.pickup and (index - chorale.pickup) % bar == 0
        lines.append(("|" if begins else "") + "".join(sign_of(key, form.tonic) for key in step))
        if index + 1 in ends and form.phrases is not None:
            left -= 1
            lines.append(f"={left}")
    return "\n".join(lines) + "\n\n"


@dataclasses.dataclass
class Reader:
    """Takes the lines of chorales one after the other. A line that is refused leaves the reader as it was."""

    form: Form | None = None  # of the piece that is being read; None between pieces
    steps: list[Step] = dataclasses.field(default_factory=list)
    ends: list[int] = dataclasses.field(default_factory=list)
    pickup: int | None = None  # None until the first bar line

    def fault(self, line: str) -> str:
        """Why a line cannot stand here; empty when it can."""
        if len(line) > LONGEST_LINE:
            return "it is too long"
        if self.form is None:
            match = _HEADER.fullmatch(line)
            plural = match is None or match["phrases"] is None or line.endswith("s") == (match["phrases"] != "1")
            return "" if match and plural else "a chorale begins with a line such as 'C major, 4/4, eighths, 4 phrases'"
        if line == "":
            over = bool(self.steps) and (self.form.phrases is None or len(self.ends) == self.form.phrases)
            return "" if over else "the chorale is not over"
        if self.form.phrases is not None and len(self.ends) == self.form.phrases:
            return "an empty line must follow the last phrase"
        match = _PHRASE.fullmatch(line)
        if match:
            return self._phrase_fault(int(match[1]))
        match = _STEP.fullmatch(line)
        return self._step_fault(match) if match else "it is neither a step nor the end of a phrase"

    def take(self, line: str) -> Chorale | None:
        """Read a line that has no fault; the chorale, when this was its end."""
        fault = self.fault(line)
        if fault:
            raise InputError(f"the line {line[:60]!r} is malformed: {fault}.")
        if self.form is None:
            self.form = _form(line)
        elif line == "":
            chorale = Chorale(self.form, tuple(self.steps), self.pickup or 0, tuple(self.ends))
            self.form, self.steps, self.ends, self.pickup = None, [], [], None
            return chorale
        elif line[0] == "=":
            self.ends.append(len(self.steps))
        else:
            if line[0] == "|" and self.pickup is None:
                self.pickup = len(self.steps)
            a, b, c, d = (key_of(sign, self.form.tonic) for sign in line[-4:])
            self.steps.append((a, b, c, d))
        return None

    def copy(self) -> Reader:
        """A reader that goes on from here by itself."""
        return Reader(self.form, list(self.steps), list(self.ends), self.pickup)

    def _phrase_fault(self, left: int) -> str:
        assert self.form is not None
        if self.form.phrases is None:
            return "the header names no number of phrases"
        if left != self.form.phrases - len(self.ends) - 1:
            return f"{self.form.phrases - len(self.ends) - 1} phrases are left"
        return "" if len(self.steps) > (self.ends[-1] if self.ends else 0) else "a phrase has at least one step"

    def _step_fault(self, match: re.Match[str]) -> str:
        assert self.form is not None
        if len(self.steps) >= MAX_STEPS:
            return f"a chorale has at most {MAX_STEPS} steps"
        bar, count = self.form.steps_a_bar, len(self.steps)
        if bar is None or self.pickup is None:
            wrong = bool(match[1]) if bar is None else count == bar and not match[1]
        else:
            wrong = ((count - self.pickup) % bar == 0) != bool(match[1])
        if wrong:
            return "a bar line stands in a wrong place or is missing"
        for voice, sign in enumerate(match.groups()[1:]):
            if sign == "." and (not self.steps or self._silent(voice)):
                return "a voice cannot hold a note that it has not begun"
            key = key_of(sign, self.form.tonic)
            if key >= 0 and not LOWEST <= key <= HIGHEST:
                return f"in {self.form.key} the letter {sign} lies outside C2 to A5"
        return ""

    def _silent(self, voice: int) -> bool:
        return self.steps[-1][voice] == REST


def read(text: str) -> list[Chorale]:
    """All chorales of a text that must be well formed."""
    reader, chorales = Reader(), []
    for number, line in enumerate(_lines(text), 1):
        fault = reader.fault(line)
        if fault:
            raise InputError(f"line {number}, {line[:60]!r}, is malformed: {fault}.")
        chorale = reader.take(line)
        if chorale:
            chorales.append(chorale)
    if reader.form is not None:
        raise InputError("the text ends within a chorale: an empty line must follow the last phrase.")
    return chorales


def read_tolerantly(text: str) -> tuple[list[Chorale], int, int]:
    """The chorales that are whole once malformed lines are dropped, the number of well-formed lines, and of all."""
    reader, chorales, good, lines = Reader(), [], 0, 0
    for line in _lines(text):
        lines += 1
        if _HEADER.fullmatch(line) and reader.form is not None:
            reader = Reader()  # what came before has no end, and is left out
        if reader.fault(line):
            continue
        good += 1
        chorale = reader.take(line)
        if chorale:
            chorales.append(chorale)
    return chorales, good, lines


def _lines(text: str) -> Iterator[str]:
    parts: Iterable[str] = text.split("\n")
    *whole, last = parts
    yield from whole
    if last:
        yield last


def _form(line: str) -> Form:
    match = _HEADER.fullmatch(line)
    assert match is not None
    tonic = None if match["tonic"] is None else TONICS.index(match["tonic"])
    phrases = None if match["phrases"] is None else int(match["phrases"])
    return Form(tonic, match["mode"] == "minor", match["metre"], match["grid"], phrases)
