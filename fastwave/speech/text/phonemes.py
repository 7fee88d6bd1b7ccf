"""Phones as text, for people to read and to write: "HH AH0 L OW1 | W ER1 L D ."."""

from __future__ import annotations

from fastwave.errors import InputError
from fastwave.speech.phones import CONSONANTS, PAUSES, SENTENCE_ENDS, SYMBOLS, VOWELS, Pause, Sentence, Word

LONGEST = 500  # phones of one word
BETWEEN = "|"  # stands between two words that no pause parts


def spell(sentences: list[Sentence]) -> str:
    """A line for each sentence, which `parse_phones` reads back."""
    return "\n".join(" ".join(_pieces(sentence)) for sentence in sentences)


def _pieces(sentence: Sentence) -> list[str]:
    pieces: list[str] = []
    after_word = False
    for part in sentence.parts:
        if isinstance(part, Word):
            pieces += [BETWEEN, *part.phones] if after_word else part.phones
        else:
            pieces.append(part.mark)
        after_word = isinstance(part, Word)
    return pieces


def parse_phones(text: str) -> list[Sentence]:
    """Sentences of phones in the names of the CMU dictionary. `|` or a pause ends a word, one of . ? ! a sentence.

    A vowel without its digit has primary stress where it is the first of its word, else none.
    """
    sentences: list[Sentence] = []
    parts: list[Word | Pause] = []
    word: list[str] = []
    start = end = place = 0
    for piece in text.split():
        place = text.index(piece, place)
        symbol = piece if piece in PAUSES or piece == BETWEEN else _symbol(piece, word)
        if symbol in SYMBOLS and symbol not in PAUSES:
            start = start if word else place
            end = place + len(piece)
            word.append(symbol)
        else:
            parts += [Word(text[start:end], tuple(word), start, end)] if word else []
            parts += [Pause(symbol)] if symbol != BETWEEN else []
            word = []
        place += len(piece)
        if symbol in SENTENCE_ENDS:
            sentences.append(Sentence(tuple(parts)))
            parts = []
    parts += [Word(text[start:end], tuple(word), start, end)] if word else []
    if parts:
        sentences.append(Sentence((*parts, Pause("."))))
    return [sentence for sentence in sentences if any(isinstance(part, Word) for part in sentence.parts)]


def parse_word(text: str) -> tuple[str, ...]:
    """The phones of one word, without pauses; "-" and "." between syllables are passed over."""
    phones: list[str] = []
    for piece in text.replace("-", " ").replace(".", " ").split()[:LONGEST]:
        phones.append(_symbol(piece, phones))
    return tuple(phones)


def _symbol(piece: str, word: list[str]) -> str:
    symbol = piece.upper()
    if symbol in VOWELS:
        symbol += "0" if any(phone[-1].isdigit() for phone in word) else "1"
    if symbol not in SYMBOLS:
        raise InputError(
            f"{piece!r} is no phone. The phones are {' '.join((*CONSONANTS, *VOWELS))}, vowels with "
            f"0, 1 or 2 for their stress; pauses are {' '.join(PAUSES)}, and {BETWEEN} stands between words."
        )
    return symbol
