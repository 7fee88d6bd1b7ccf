"""No text stops the front end: random characters, long texts, hostile repetitions."""

import random
import time

import pytest

from fastwave.speech.phones import SENTENCE_ENDS, SYMBOLS
from fastwave.speech.text import sentences
from fastwave.speech.text.normalise import tokens

ALPHABETS = [
    range(0x20, 0x7F),
    range(0x80, 0x250),
    range(0x370, 0x600),
    range(0x2000, 0x2C00),
    range(0x3040, 0x3100),
    range(0x1F300, 0x1FAFF),
    range(0x110000),
]
PIECES = [*"$ 5 . , - / : % 1999 Dr. U.S. ' \" a B th € ½ ² @ # http:// x XIV ° km ( ) & 000 s ^ ~".split(), " ", "\n"]


def check(text):
    for sentence in sentences(text):
        assert {unit.symbol for unit in sentence.units()} <= set(SYMBOLS)
        assert sentence.parts[-1].mark in SENTENCE_ENDS
        for part in sentence.parts:
            if hasattr(part, "phones"):
                assert part.phones and 0 <= part.start < part.end <= len(text)
                assert part.text == text[part.start : part.end]


def test_10000_random_texts_are_read():
    random.seed(1)
    for index in range(10_000):
        letters = ALPHABETS[index % len(ALPHABETS)]
        check("".join(chr(random.choice(letters)) for _ in range(random.randint(1, 12))))


def test_random_texts_of_signs_that_the_rules_know_are_read():
    random.seed(2)
    for _ in range(3000):
        check("".join(random.choices(PIECES, k=random.randint(1, 12))))


REPEATED = [*"a 1 . - ' \" $ A. 1, 1. 1- 1/ a@ x. http:// #a ( <a ^ I é b".split(), "\n", "9 ", "- "]


@pytest.mark.parametrize("piece", REPEATED)
def test_repetitions_take_no_more_than_their_length(piece):
    text = piece * (6000 // len(piece))
    begun = time.process_time()
    check(text)
    assert time.process_time() - begun < 4


@pytest.mark.parametrize("piece", ["1-", "a.", "a-", "a@", '"'])
def test_no_rule_scans_a_long_text_again_at_every_place(piece):
    text = piece * (24_000 // len(piece))
    begun = time.process_time()
    tokens(text)
    assert time.process_time() - begun < 20


def test_a_chapter_is_read():
    text = "It was the best of times, it was the worst of times; on May 5, 1859, Dr. Brown paid $3.50 for it. " * 300
    assert len(sentences(text)) == 300
