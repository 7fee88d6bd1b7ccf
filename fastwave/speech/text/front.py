"""The English front end: text -> sentences of phones."""

from __future__ import annotations

from collections.abc import Iterable

from fastwave.speech.phones import Pause, Sentence, Word
from fastwave.speech.text import phrases
from fastwave.speech.text.compounds import composed
from fastwave.speech.text.homographs import Place, homograph
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
    made = [Sentence(tuple(_parts(sentence, source))) for sentence in phrases.split(words)]
    return [sentence for sentence in made if any(isinstance(part, Word) for part in sentence.parts)]


def _parts(sentence: list[Token], source: str) -> list[Word | Pause]:
    """Words get their phones from right to left, for "the" asks for the sound after it."""
    parts: list[Word | Pause] = []
    names = [token.word for token in sentence]
    words = frozenset(names)
    after_phones: Phones = ()
    for index in range(len(sentence) - 1, -1, -1):
        token = sentence[index]
        if token.pause:
            parts.append(Pause(token.word, token.seconds))
            after_phones = ()
            continue
        text = source[token.start : token.end]
        place = Place(names[index - 1] if index else ".", names[index + 1], words, index > 0 and text[:1].isupper())
        phones = token.phones or phones_at(token.word, place, after_phones)
        if phones:
            parts.append(Word(text, phones, token.start, token.end, token.rate, token.pitch, token.volume))
            after_phones = phones
    return parts[::-1]


def phones_at(word: str, place: Place, after_phones: Phones) -> Phones:
    """The phones of a word between its neighbours, the next of which begins with `after_phones`."""
    phones = homograph(word, place) or pronounce(word) or composed(word) or guess(word.lower())
    return reduced(word, phones, place.before, place.after, after_phones)
