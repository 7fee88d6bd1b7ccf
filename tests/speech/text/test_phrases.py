"""Sentences and pauses."""

import pytest

from fastwave.speech.phones import SENTENCE_ENDS, Pause, Word
from fastwave.speech.text import sentences


def written(text):
    """The pieces and marks of every sentence."""
    return [
        " ".join(part.text if isinstance(part, Word) else part.mark for part in sentence.parts)
        for sentence in sentences(text)
    ]


@pytest.mark.parametrize("text", ["", " ", "\n\n", "...", "?!", "()", "привет", "\u200b", "—", '""', "'"])
def test_a_text_without_words_has_no_sentences(text):
    assert sentences(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two? Three!", ["One .", "Two ?", "Three !"]),
        ("no end", ["no end ."]),
        ("Mr. J. Smith of the U.S. Army left at 5.30 p.m. today.", 1),
        ("It costs 3.14 dollars. Then it rose.", 2),
        ("He said: yes; no (maybe) — well.", ["He said , yes , no , maybe , well ."]),
        ('"Yes, it is," she said.', ["Yes , it is , she said ."]),
        ("Really?! Yes...", ["Really ?", "Yes ."]),
        (", , well , , then ,", ["well , then ."]),
        ("A title\n\nThe text", ["A title .", "The text ."]),
    ],
)
def test_punctuation_makes_sentences_and_pauses(text, expected):
    assert (len(written(text)) if isinstance(expected, int) else written(text)) == expected


def test_long_clauses_are_parted_before_a_conjunction():
    text = "the old man walked slowly down the long and winding road because he had lost his way in the fog"
    assert ", because" in written(text)[0]
    assert written("he went home because he was tired") == ["he went home because he was tired ."]


def test_no_run_of_words_with_conjunctions_stays_long():
    text = "she sang and he danced while they ate and we drank although it was late and the band played on"
    runs = written(text)[0].rstrip(". ").split(" , ")
    assert len(runs) > 1 and all(4 <= len(run.split()) <= 12 for run in runs)


@pytest.mark.parametrize("text", ["Hello", "Hello, world?", "a. b! c", "1. One\n2. Two"])
def test_every_sentence_ends_in_a_pause_of_its_kind(text):
    for sentence in sentences(text):
        assert isinstance(sentence.parts[-1], Pause) and sentence.parts[-1].mark in SENTENCE_ENDS
        assert any(isinstance(part, Word) for part in sentence.parts)


def test_words_carry_the_piece_of_the_input_and_its_place():
    text = "In 1999 it rained."
    words = [part for part in sentences(text)[0].parts if isinstance(part, Word)]
    assert [word.text for word in words] == ["In", "1999", "1999", "1999", "it", "rained"]
    assert all(text[word.start : word.end] == word.text for word in words)
