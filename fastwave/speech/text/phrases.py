"""Sentences and their pauses: tokens of a text are split at its full stops, and long clauses get a break."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fastwave.speech.phones import SENTENCE_ENDS, SILENCE
from fastwave.speech.text.tokens import Token

STRENGTH = {SILENCE: 0, ",": 1, ".": 2, "?": 3, "!": 3}  # of pauses in a row the strongest stays
LONG = 12  # words without a pause, after which a clause is parted
SHORT = 4  # words that a part of it has at least
OPENERS = set(
    "and or but because while although though which who whom whose where when if unless until since after before "
    "whereas whether so that as".split()
)


def split(tokens: Iterable[Token]) -> list[list[Token]]:
    """The tokens of each sentence; the last is a mark of SENTENCE_ENDS. Sentences without words are left out."""
    sentences: list[list[Token]] = []
    sentence: list[Token] = []
    begun = False  # it has a word
    for token in tokens:
        if not token.pause:
            sentence.append(token)
            begun = True
        elif token.seconds is not None or token.word == SILENCE:
            if sentence and sentence[-1].word == "," and sentence[-1].seconds is None:
                sentence.pop()
            sentence.append(token)  # asked for by the caller: also before the first word
        elif token.word == "," and sentence and sentence[-1].word == SILENCE:
            continue
        elif begun:
            if sentence[-1].pause and sentence[-1].seconds is None:
                token = max(sentence.pop(), token, key=lambda mark: STRENGTH[mark.word])
            sentence.append(token)
        if token.word in SENTENCE_ENDS and sentence and sentence[-1] is token:
            sentences.append(sentence)
            sentence, begun = [], False
    if begun:
        place = sentence[-1].end
        if sentence[-1].word == ",":
            sentence.pop()
        sentences.append([*sentence, Token(".", place, place)])
    elif sentence and sentences:  # a pause at the very end
        sentences[-1][-1:-1] = sentence
    return [part_clauses(sentence) for sentence in sentences]


def part_clauses(sentence: list[Token]) -> list[Token]:
    """A comma before a conjunction wherever more than LONG words would follow each other without a pause."""
    parted: list[Token] = []
    run: list[Token] = []
    for token in sentence:
        if token.pause:
            parted += [*_breaks(run), token]
            run = []
        else:
            run.append(token)
    return parted + _breaks(run)


def _breaks(words: list[Token]) -> list[Token]:
    if len(words) <= LONG:
        return words
    middle = len(words) / 2
    places = [place for place in range(SHORT, len(words) - SHORT + 1) if words[place].word in OPENERS]
    if not places:
        return words
    place = min(places, key=lambda candidate: abs(candidate - middle))
    mark = replace(Token(",", words[place].start, words[place].start))
    return [*_breaks(words[:place]), mark, *_breaks(words[place:])]
