"""The English front end: text -> sentences of phones."""

from __future__ import annotations

from collections.abc import Iterable

from fastwave.speech.phones import Pause, Sentence, Word
from fastwave.speech.text import phrases
from fastwave.speech.text.letters import guess
from fastwave.speech.text.lexicon import Phones, pronounce
from fastwave.speech.text.normalise import tokens
from fastwave.speech.text.tokens import Token
from fastwave.speech.text.weak import reduced


def sentences(text: str) -> list[Sentence]:
    """The sentences of a plain text; none where nothing in it can be said. No text is refused."""
    return spoken(tokens(text), text)


def spoken(words: Iterable[Token], source: str) -> list[Sentence]:
    """Sentences of tokens whose places count in `source`."""
    return [Sentence(tuple(_parts(sentence, source))) for sentence in phrases.split(words)]


def _parts(sentence: list[Token], source: str) -> list[Word | Pause]:
    """Words get their phones from right to left, for "the" asks for the sound after it."""
    parts: list[Word | Pause] = []
    after_phones: Phones = ()
    for index in range(len(sentence) - 1, -1, -1):
        token = sentence[index]
        if token.pause:
            parts.append(Pause(token.word, token.seconds))
            after_phones = ()
            continue
        before = sentence[index - 1].word if index else "."
        after = sentence[index + 1].word
        phones = token.phones or pronounce(token.word) or guess(token.word.lower())
        if token.phones is None:
            phones = reduced(token.word, phones, before, after, after_phones)
        if phones:
            text = source[token.start : token.end]
            parts.append(Word(text, phones, token.start, token.end, token.rate, token.pitch, token.volume))
            after_phones = phones
    return parts[::-1]
