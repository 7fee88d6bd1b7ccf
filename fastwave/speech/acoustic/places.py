"""Units of a sentence -> what the acoustic networks see of them: numbers of symbols, and features of their places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..phones import CONSONANTS, PAUSES, SENTENCE_ENDS, SILENCE, SYMBOLS, Unit

NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS)}
CLAUSE_ENDS = (",", *SENTENCE_ENDS)
UNIT_FEATURES = len(CLAUSE_ENDS) + len(SENTENCE_ENDS) + 15
FRAME_FEATURES = 6


class Places(NamedTuple):
    """Of one sentence."""

    symbols: Tensor  # [U] int64, numbers in SYMBOLS
    features: Tensor  # [U, UNIT_FEATURES] float32


def places(units: Sequence[Unit]) -> Places:
    """The inputs of the networks for all units of a sentence."""
    symbols = [unit.symbol for unit in units]
    # a break that a caller asks for inside a sentence sounds like a comma's
    symbols = [symbols[0], *("," if symbol == SILENCE else symbol for symbol in symbols[1:])]
    clauses = _clauses(symbols)
    sentence = _Span(units, symbols, 0, len(units), symbols[-1])
    rows: list[list[float]] = []
    for first, last in clauses:
        clause = _Span(units, symbols, first, last, symbols[last - 1])
        rows += [_features(units, symbols, index, clause, sentence) for index in range(first, last)]
    return Places(
        torch.tensor([NUMBERS[symbol] for symbol in symbols], device="cpu"),
        torch.tensor(rows, dtype=torch.float32, device="cpu"),
    )


def frame_features(durations: Tensor) -> Tensor:
    """[U] frames -> [F, FRAME_FEATURES]: where each frame lies in its unit."""
    length = torch.repeat_interleave(durations, durations).float()
    first = torch.repeat_interleave(durations.cumsum(0) - durations, durations)
    place = torch.arange(len(length), device="cpu") - first + 0.5
    left = length - place
    share = place / length
    near = [torch.exp(-place / 3), torch.exp(-left / 3)]
    return torch.stack([share, (math.pi * share).sin(), (2 * math.pi * share).sin(), *near, length.log() / 3], dim=-1)


class _Span:
    """A clause, or the sentence: how many words, syllables and stressed syllables lie before each of its units."""

    def __init__(self, units: Sequence[Unit], symbols: Sequence[str], first: int, last: int, mark: str) -> None:
        self.first, self.mark = first, mark
        inside = range(first, last)
        self.words = _counted([units[i].first and symbols[i] not in PAUSES for i in inside])
        self.syllables = _counted([symbols[i][-1] in "012" for i in inside])
        self.stressed = _counted([symbols[i][-1] == "1" for i in inside])

    def before(self, counts: list[int], index: int) -> float:
        return counts[index - self.first]

    def left(self, counts: list[int], index: int) -> float:
        return counts[-1] - counts[index - self.first + 1]


def _features(units: Sequence[Unit], symbols: Sequence[str], index: int, clause: _Span, sentence: _Span) -> list[float]:
    unit, symbol = units[index], symbols[index]
    marks = [float(clause.mark == mark) for mark in CLAUSE_ENDS]
    ends = [float(sentence.mark == mark) for mark in SENTENCE_ENDS]
    word = [float(unit.first), float(unit.last), float(symbol in PAUSES), float(symbol in CONSONANTS)]
    near = [
        math.exp(-count / 2)
        for span in (clause, sentence)
        for count in (
            span.before(span.words, index),
            span.left(span.words, index),
            span.before(span.syllables, index),
            span.left(span.syllables, index),
        )
    ]
    # the last stressed syllable of a clause carries its melody
    stress = math.exp(-clause.left(clause.stressed, index))
    sizes = [math.log1p(clause.words[-1]) / 3, math.log1p(sentence.words[-1]) / 3]
    return [*marks, *ends, *word, *near, stress, *sizes]


def _clauses(symbols: Sequence[str]) -> list[tuple[int, int]]:
    """[first, last) of every clause, which ends with its pause."""
    ends = [i + 1 for i, symbol in enumerate(symbols) if symbol in CLAUSE_ENDS]
    if not ends or ends[-1] != len(symbols):
        ends.append(len(symbols))
    return list(zip([0, *ends], ends, strict=False))


def _counted(marks: Sequence[bool]) -> list[int]:
    """How many are true before each place, and in all."""
    counts = [0]
    for mark in marks:
        counts.append(counts[-1] + mark)
    return counts
