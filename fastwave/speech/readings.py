"""A recording with its text as a row of states, and a path through them as durations of phones and pauses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..sound.mel import MelSettings
from .analysis import HOP, SAMPLE_RATE
from .phones import CONSONANTS, PAUSES, SILENCE, VOWELS, Pause, Sentence, Word
from .viterbi import Row

STEP = 80  # samples from one frame of the aligner to the next, 5 ms
FINE = MelSettings(sample_rate=SAMPLE_RATE, hop=STEP, bands=40, window=400)
SOUNDS = (
    SILENCE,
    *CONSONANTS,
    *VOWELS,
    "AH0",
)  # that have Gaussians of their own; a vowel has one for all its stresses, but for the weakest
STATES = 3  # a sound
COLUMNS = STATES * len(SOUNDS)
PAUSE = (0, 0, 1, 1, 1, 1, 2, 2)  # columns of a pause: 40 ms at least, a shorter silence is part of a stop
OPENING, CLOSING = (1, 2), (0, 1)  # of the silence before a recording, and after it
INSIDE = ","  # the mark of a pause that a text does not have

Integers = npt.NDArray[np.int64]


class Element(NamedTuple):
    """A phone or a possible pause of a recording."""

    symbol: str
    part: tuple[int, int]  # its sentence, and its place in the parts of that
    states: tuple[int, ...]  # which of its columns each of its states is scored by
    optional: bool  # whether it may have no frames


class Spoken(NamedTuple):
    """A sentence as it was spoken: only pauses that were made, also those that the text does not have."""

    sentence: Sentence
    durations: list[int]  # frames of 12.5 ms of every unit
    first: int  # frame of the recording with which it begins


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a recording of 16 kHz says, as far as its text knows."""

    name: str
    sentences: Sequence[Sentence]
    samples: int  # of the recording

    def elements(self) -> list[Element]:
        """In order, a silence at both ends. A sentence ends with a pause, as `Sentence` promises."""
        elements = [Element(SILENCE, (0, -1), OPENING, False)]
        for number, sentence in enumerate(self.sentences):
            for index, part in enumerate(sentence.parts):
                if isinstance(part, Pause):
                    elements.append(Element(part.mark, (number, index), PAUSE, True))
                    continue
                if index and isinstance(sentence.parts[index - 1], Word):
                    elements.append(Element(INSIDE, (number, index), PAUSE, True))
                elements += [Element(phone, (number, index), tuple(range(STATES)), False) for phone in part.phones]
        return [*elements[:-1], Element(*elements[-1][:2], CLOSING, False)]

    def row(self) -> Row:
        """The states that `viterbi.best_paths` searches."""
        emissions: list[int] = []
        jumps: list[int] = []
        before, passed = -1, False  # the last state of what is always spoken, and whether a pause comes after it
        for element in self.elements():
            first = column(element.symbol)
            jumps += [before if passed and not element.optional else -1, *[-1] * (len(element.states) - 1)]
            emissions += [first + state for state in element.states]
            passed = element.optional
            before = before if element.optional else len(emissions) - 1
        return Row(np.array(emissions), np.array(jumps))

    def equal_parts(self, speech: npt.NDArray[np.bool_]) -> Integers:
        """Columns [frames] if all phones were equally long, from the first frame of speech to the last."""
        phones = [column(element.symbol) for element in self.elements() if element.symbol not in PAUSES]
        columns = np.concatenate([first + np.arange(STATES) for first in phones])
        heard = np.flatnonzero(speech)
        first, last = (int(heard[0]), int(heard[-1]) + 1) if len(heard) else (0, len(speech))
        result = np.full(len(speech), column(SILENCE) + 1)
        count = max(1, last - first)
        result[first:last] = columns[np.arange(count) * len(columns) // count]
        return result

    def spoken(self, states: npt.NDArray[np.integer]) -> list[Spoken]:
        """A path [frames of 5 ms] through `row` -> the sentences, which together are as long as the recording."""
        elements = self.elements()
        sizes = [len(element.states) for element in elements]
        counts = np.bincount(states, minlength=sum(sizes))
        lengths = np.add.reduceat(counts, np.cumsum([0, *sizes])[:-1])
        ends = np.cumsum(lengths) * STEP - STEP // 2  # a frame stands for the samples around its middle
        parts: list[list[Word | Pause]] = [[] for _ in self.sentences]
        borders: list[list[float]] = [[] for _ in self.sentences]  # ends of the units, in samples
        reached = (0, -1)
        for element, length, end in zip(elements, lengths, ends, strict=True):
            number, index = element.part
            part = self.sentences[number].parts[index]
            closing = index == len(self.sentences[number].parts) - 1
            if not length and not closing:
                continue
            if element.symbol in PAUSES:
                parts[number] += [Pause(element.symbol)] if index >= 0 else []
            elif element.part != reached:
                parts[number].append(part)
                reached = element.part
            share = closing and number < len(self.sentences) - 1
            borders[number].append(end - length * STEP / 2 if share else end)
            if share:
                borders[number + 1].append(end)
        frames = whole_frames([border for group in borders for border in group], -(-self.samples // HOP))
        return list(_split(parts, [len(group) for group in borders], frames))


def whole_frames(ends: Sequence[float], frames: int) -> list[int]:
    """Ends of units in samples -> in frames of 12.5 ms, each unit with one frame at least, the last at `frames`."""
    result = [round(end / HOP) for end in ends[:-1]] + [frames]
    for index in range(len(result)):
        result[index] = max(result[index], result[index - 1] + 1 if index else 1)
    result[-1] = frames
    for index in range(len(result) - 2, -1, -1):
        result[index] = min(result[index], result[index + 1] - 1)
    return result


def _split(parts: list[list[Word | Pause]], counts: list[int], ends: list[int]) -> Iterator[Spoken]:
    first = done = 0
    for words, count in zip(parts, counts, strict=True):
        group = ends[done : done + count]
        durations = [end - before for before, end in zip([first, *group], group, strict=False)]
        yield Spoken(Sentence(tuple(words)), durations, first)
        first, done = group[-1], done + count


def column(symbol: str) -> int:
    """The first of the columns of scores that a phone or pause is scored by."""
    sound = SILENCE if symbol in PAUSES else symbol if symbol in SOUNDS else symbol.rstrip("012")
    return STATES * SOUNDS.index(sound)
