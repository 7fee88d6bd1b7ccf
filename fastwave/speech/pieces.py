"""A long text in pieces, and a long sentence in shorter ones, so that a book needs no more memory than a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from .phones import Pause, Sentence, Word

MOST_CHARACTERS = 4000  # of a piece
FEW_CHARACTERS = 400  # from here on a piece ends at the first end of a sentence, so that the first sound comes soon
MOST_UNITS = 800  # phones and pauses of a sentence, about a minute of speech; from half of it on a pause ends it
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
# An end of a sentence that is none of an abbreviation: a word of four letters or more stands before it
_SENTENCE_END = re.compile(r"(?<=[a-z]{4})[.!?]+[\"'\u201d\u2019)\]]*\s+(?=[\"'\u201c\u2018(\[]*[A-Z])")


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """(first character, piece) of a text: at paragraphs, at ends of sentences, at spaces, else anywhere."""
    first = 0
    while first < len(text):
        window = text[first : first + MOST_CHARACTERS]
        end = _end_of(window)
        yield first, window[:end]
        first += end


def shifted(sentence: Sentence, characters: int) -> Sentence:
    """A sentence of a piece that begins so many characters into the text."""
    return Sentence(
        tuple(
            replace(part, start=part.start + characters, end=part.end + characters) if isinstance(part, Word) else part
            for part in sentence.parts
        )
    )


def bounded(sentence: Sentence) -> Iterator[Sentence]:
    """The sentence, or several where it is too long for one: cut at pauses where there are some, else between words."""
    parts: list[Word | Pause] = []
    units = 0
    end = sentence.parts[-1] if sentence.parts and isinstance(sentence.parts[-1], Pause) else Pause(".")
    for part in sentence.parts:
        for piece in _word_pieces(part) if isinstance(part, Word) else (part,):
            size = len(piece.phones) if isinstance(piece, Word) else 1
            full = units + size > MOST_UNITS or (units > MOST_UNITS // 2 and isinstance(piece, Pause))
            if parts and full and piece is not end:
                yield Sentence((*parts, Pause(end.mark)))
                parts, units = [], 0
                if isinstance(piece, Pause) and piece.seconds is None:
                    continue
            parts.append(piece)
            units += size
    if parts:
        yield Sentence(tuple(parts))


def _word_pieces(word: Word) -> Iterator[Word]:
    if len(word.phones) <= MOST_UNITS:
        yield word
        return
    for first in range(0, len(word.phones), MOST_UNITS):
        yield replace(word, phones=word.phones[first : first + MOST_UNITS])


def _end_of(window: str) -> int:
    """Where the first piece of a text ends, at least one character on."""
    paragraph = _PARAGRAPH.search(window)
    last = paragraph.end() if paragraph else len(window)
    sentence = _SENTENCE_END.search(window, FEW_CHARACTERS, last)
    if sentence:
        return sentence.end()
    if paragraph:
        return max(1, paragraph.end())
    space = max(window.rfind(" "), window.rfind("\n"))
    return space + 1 if len(window) == MOST_CHARACTERS and space > 0 else len(window)
