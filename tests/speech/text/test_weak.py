"""Weak forms and homographs: the same word sounds as its neighbours want it."""

import pytest

from fastwave.speech.phones import Word
from fastwave.speech.text import sentences
from fastwave.speech.text.homographs import ENDING_IN_ATE, PAIRS, SPECIAL, Place
from fastwave.speech.text.lexicon import pronounce
from fastwave.speech.text.weak import FORMS


def phones(text, word):
    """Those of every occurrence of a word, which may stand in capitals."""
    parts = [part for sentence in sentences(text) for part in sentence.parts if isinstance(part, Word)]
    return [" ".join(part.phones) for part in parts if part.text.lower() == word]


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("the cat", "the", "DH AH0"),
        ("the apple", "the", "DH IY0"),
        ("the hour", "the", "DH IY0"),
        ("the one", "the", "DH AH0"),
        ("to go", "to", "T AH0"),
        ("to eat", "to", "T UW0"),
        ("What is it for?", "for", "F AO1 R"),
        ("for me", "for", "F ER0"),
        ("I can swim", "can", "K AH0 N"),
        ("Yes, I can.", "can", "K AE1 N"),
        ("I can not swim", "can", "K AE1 N"),
        ("a dog", "a", "AH0"),
        ("bread and butter", "and", "AH0 N D"),
        ("I know that he came", "that", "DH AH0 T"),
        ("Look at that man", "that", "DH AE1 T"),
        ("there is hope", "there", "DH EH0 R"),
        ("over there he saw", "there", "DH EH1 R"),
        ("they have gone", "have", "HH AE0 V"),
        ("they have a dog", "have", "HH AE1 V"),
        ("I do think", "do", "D UW1"),
        ("do you think", "do", "D UW0"),
    ],
)
def test_little_words_are_weak_inside_a_clause(text, word, expected):
    assert phones(text, word) == [expected]


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("I will record a record.", "record", ["R IH0 K AO1 R D", "R EH1 K ER0 D"]),
        ("They object to the object.", "object", ["AH0 B JH EH1 K T", "AA1 B JH EH0 K T"]),
        ("Please present the present.", "present", ["P R IY0 Z EH1 N T", "P R EH1 Z AH0 N T"]),
        ("We use it; the use is clear.", "use", ["Y UW1 Z", "Y UW1 S"]),
        ("He has read it. I will read it.", "read", ["R EH1 D", "R IY1 D"]),
        ("I read it yesterday.", "read", ["R EH1 D"]),
        ("They live in a live house.", "live", ["L IH1 V", "L AY1 V"]),
        ("She lives here with nine lives.", "lives", ["L IH1 V Z", "L AY1 V Z"]),
        ("Close the door, it is close to me.", "close", ["K L OW1 Z", "K L OW1 S"]),
        ("The lead pipe will lead on.", "lead", ["L EH1 D", "L IY1 D"]),
        ("The wind will wind up the clock.", "wind", ["W IH1 N D", "W AY1 N D"]),
        ("He used to cook. He used a pan.", "used", ["Y UW1 S T", "Y UW1 Z D"]),
        ("Separate the separate parts.", "separate", ["S EH1 P ER0 EY2 T", "S EH1 P ER0 AH0 T"]),
        ("She records the records.", "records", ["R IH0 K AO1 R D Z", "R EH1 K ER0 D Z"]),
        ("A Polish man will polish it.", "polish", ["P OW1 L IH0 SH", "P AA1 L IH0 SH"]),
        ("I refuse the refuse.", "refuse", ["R IH0 F Y UW1 Z", "R EH1 F Y UW2 Z"]),
        ("an increase, to increase", "increase", ["IH1 N K R IY2 S", "IH2 N K R IY1 S"]),
    ],
)
def test_homographs_are_told_apart_by_their_neighbours(text, word, expected):
    assert phones(text, word) == expected


def test_there_are_at_least_30_weak_forms_and_none_has_stress():
    assert len(FORMS) >= 30
    assert not [word for word, form in FORMS.items() if any(phone[-1] in "12" for phone in form)]


def test_forms_are_made_of_the_voices_phones():
    from fastwave.speech.phones import SYMBOLS

    texts = [phone for pair in PAIRS.values() for form in pair.split(" / ") for phone in form.split()]
    texts += [phone for form in FORMS.values() for phone in form]
    for choose in SPECIAL.values():
        for before in ("the", "to", ".", "he"):
            texts += choose(Place(before, "it", frozenset())).split()
    assert set(texts) <= set(SYMBOLS)
    assert all(pronounce(word) for word in (*FORMS, *PAIRS, *ENDING_IN_ATE, *SPECIAL))
