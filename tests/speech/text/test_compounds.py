"""Words that are not in the lexicon but made of words that are."""

import pytest

from fastwave.speech.phones import Word
from fastwave.speech.text import sentences
from fastwave.speech.text.compounds import composed
from fastwave.speech.text.lexicon import pronounce


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("generalise", "JH EH1 N ER0 AH0 L AY2 Z"),
        ("analyse", "AE1 N AH0 L AY2 Z"),
        ("smartwatch", "S M AA1 R T W AA2 CH"),
        ("smartwatches", "S M AA1 R T W AA2 CH AH0 Z"),
        ("breadboard", "B R EH1 D B AO2 R D"),
        ("rewatch", "R IY0 W AA1 CH"),
        ("preheat", "P R IY2 HH IY1 T"),
        ("microservice", "M AY2 K R OW0 S ER1 V AH0 S"),
    ],
)
def test_a_word_is_made_of_others(word, expected):
    assert pronounce(word) is None
    assert " ".join(composed(word)) == expected


@pytest.mark.parametrize("word", ["zorblatt", "kralendijk", "", "'", "un", "xyzzy"])
def test_a_word_of_no_known_parts_is_left_to_the_letters(word):
    assert composed(word) is None


def test_the_front_end_uses_it():
    part = sentences("breadboard")[0].parts[0]
    assert isinstance(part, Word) and part.phones == composed("breadboard")
