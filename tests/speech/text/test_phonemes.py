"""Phones as text, written and read."""

import pytest

from fastwave.errors import InputError
from fastwave.speech.phones import Word
from fastwave.speech.text import parse_phones, sentences, spell

TEXT = "Good morning, the kettle is on. Where do you want to go? It cost $5.50!"


def symbols(made):
    return [[(unit.symbol, unit.first, unit.last) for unit in sentence.units()] for sentence in made]


def test_what_is_spelled_is_read_back():
    assert symbols(parse_phones(spell(sentences(TEXT)))) == symbols(sentences(TEXT))


def test_phones_are_parted_into_words_and_sentences():
    made = parse_phones("HH AH0 L OW1 , W ER1 L D . Y EH S | S ER")
    words = [[part.phones for part in sentence.parts if isinstance(part, Word)] for sentence in made]
    assert words == [
        [("HH", "AH0", "L", "OW1"), ("W", "ER1", "L", "D")],
        [("Y", "EH1", "S"), ("S", "ER1")],
    ]
    assert [sentence.parts[-1].mark for sentence in made] == [".", "."]


def test_small_letters_and_vowels_without_stress_are_read():
    assert spell(parse_phones("hh ah l ow")) == "HH AH1 L OW0 ."
    assert parse_phones("") == [] and parse_phones(" . , ") == []


def test_places_point_into_the_text():
    text = "HH AY1 | DH EH1 R ."
    words = [part for part in parse_phones(text)[0].parts if isinstance(part, Word)]
    assert [text[word.start : word.end].strip() for word in words] == ["HH AY1", "DH EH1 R"]
    assert [word.text for word in words] == ["HH AY1", "DH EH1 R"]


def test_an_unknown_phone_is_refused_with_the_names_of_all():
    with pytest.raises(InputError, match=r"'QQ' is no phone.*ZH AA AE"):
        parse_phones("HH QQ")
