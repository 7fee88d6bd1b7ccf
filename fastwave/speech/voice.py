"""A voice: text -> sentences of phones -> durations and frames -> sound. `speak` is the shortest way to one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..errors import InputError
from . import loudness
from .options import Delivery
from .phones import Sentence
from .pieces import bounded, pieces, shifted
from .spoken import Spoken, joined, spoken, timings_of
from .text import parse_phones, spell

NO_WORDS = "holds nothing that can be spoken: give words, figures or signs that have a name"


class Acoustics(Protocol):
    """What a voice asks of its acoustic nets."""

    def durations(self, sentence: Sentence, speed: float = 1.0) -> Tensor:
        """Frames of every unit of a sentence: [units] integers."""

    def frames(self, sentence: Sentence, durations: Tensor, pitch: float = 1.0) -> Tensor:
        """What the vocoder follows: [frames, channels]."""


class Sound(Protocol):
    """What a voice asks of its vocoder."""

    def stream(
        self, frames: Tensor, seed: int = 0, temperature: float | None = None
    ) -> Iterator[npt.NDArray[np.float32]]:
        """The samples of these frames, `hop` a frame, in blocks as they are made."""


class Text(Protocol):
    """What a voice asks of its front end."""

    def sentences(self, text: str) -> list[Sentence]:
        """The sentences of a text; none where it holds nothing that can be spoken."""

    def from_ssml(self, text: str) -> tuple[list[Sentence], list[str]]:
        """The sentences of a document of SSML, and notes on what was left out of it."""


class Voice:
    """Says texts. The same sentence with the same seed sounds the same, whatever stands before it."""

    def __init__(
        self, front: Text, acoustic: Acoustics, vocoder: Sound, sample_rate: int = 16_000, hop: int = 200
    ) -> None:
        self.front, self.acoustic, self.vocoder = front, acoustic, vocoder
        self.sample_rate, self.hop = sample_rate, hop

    @classmethod
    def load(cls, voice: str | os.PathLike[str] | None = None, **options: Any) -> Voice:
        raise NotImplementedError

    def __call__(self, text: str, **options: Any) -> Spoken:
        """Say a text: a result that has samples, timings of words and phones, `save` and `plot`.

        `speed`, `pitch` and `volume` are factors; `sentence_silence` is in seconds; `temperature` None is what the
        voice was made for. With `ssml` the text is a document of SSML, with `phonemes` it is made of phones, as
        `phonemes` writes them.
        """
        return joined(list(self.stream(text, **options)), self.sample_rate)

    def stream(self, text: str, *, ssml: bool = False, phonemes: bool = False, **options: Any) -> Iterator[Spoken]:
        """The same samples, bit for bit, in parts as they are made. The first part of a sentence holds its timings,
        which count from the beginning of the whole.
        """
        delivery = Delivery(**options)
        return self._parts(self._sentences(text, ssml, phonemes), delivery)

    def phonemes(self, text: str, *, ssml: bool = False) -> str:
        """The phones of a text, a line a sentence, in the names of phones.SYMBOLS: "HH AH0 L OW1 | W ER1 L D ."."""
        return spell([sentence for sentence, _ in self._sentences(text, ssml, phonemes=False)])

    def _sentences(self, text: str, ssml: bool, phonemes: bool) -> Iterator[tuple[Sentence, list[str]]]:
        """Sentences, at least one, with the notes that belong to it. What is refused is refused at once."""
        if not isinstance(text, str):
            raise InputError(f"a text to speak is a str, got {type(text).__name__}.")
        if ssml and phonemes:
            raise InputError("a text is SSML or phones, not both: leave out ssml or phonemes.")
        if not text.strip():
            raise InputError("there is nothing to say: the text is empty.")
        notes: list[str] = []
        if ssml:
            sentences, notes = self.front.from_ssml(text)
            source: Iterator[Sentence] = iter(sentences)
        else:
            source = self._plain(text, phonemes)
        short = (part for sentence in source for part in bounded(sentence))
        first = next(short, None)
        if first is None:
            raise InputError(f"the text {text.strip()[:40]!r} {NO_WORDS}.")
        return _with_notes(first, short, notes)

    def _plain(self, text: str, phonemes: bool) -> Iterator[Sentence]:
        if phonemes:
            yield from parse_phones(text)
            return
        for first, piece in pieces(text):
            for sentence in self.front.sentences(piece):
                yield shifted(sentence, first)

    def _parts(self, sentences: Iterable[tuple[Sentence, list[str]]], delivery: Delivery) -> Iterator[Spoken]:
        made, silence = 0, round(delivery.sentence_silence * self.sample_rate)
        for sentence, notes in sentences:
            if made and silence:
                yield spoken(np.zeros(silence, dtype=np.float32), self.sample_rate)
                made += silence
            for part in self._sentence(sentence, notes, delivery, made / self.sample_rate):
                yield part
                made += part.lengths[0]

    def _sentence(self, sentence: Sentence, notes: list[str], delivery: Delivery, begin: float) -> Iterator[Spoken]:
        durations = self.acoustic.durations(sentence, delivery.speed)
        counts = [int(count) for count in durations]
        frames = self.acoustic.frames(sentence, durations, delivery.pitch)
        factors = loudness.word_volumes(sentence, counts)
        timings = timings_of(sentence, counts, self.hop / self.sample_rate, begin)
        made = 0
        for wave in self.vocoder.stream(frames, delivery.seed, delivery.temperature):
            if not len(wave):
                continue
            louder = loudness.scaled(wave, delivery.volume, factors, made, self.hop)
            yield spoken(louder, self.sample_rate, () if made else timings, () if made else notes)
            made += len(wave)


def _with_notes(first: Sentence, others: Iterator[Sentence], notes: list[str]) -> Iterator[tuple[Sentence, list[str]]]:
    yield first, notes
    for sentence in others:
        yield sentence, []
