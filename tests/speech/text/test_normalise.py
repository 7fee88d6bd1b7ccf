"""What the normaliser says: a table of inputs and words, and the places of the words in the input."""

from pathlib import Path

import pytest

from fastwave.speech.text.normalise import tokens

TABLE = [line.split("\t") for line in (Path(__file__).parent / "normaliser.tsv").read_text("utf-8").splitlines()]


def words(text):
    return " ".join(token.word for token in tokens(text))


def test_the_table_has_at_least_300_cases():
    assert len(TABLE) >= 300
    assert len({text for text, _ in TABLE}) == len(TABLE)


@pytest.mark.parametrize(("text", "expected"), TABLE)
def test_a_text_is_read_as_the_table_says(text, expected):
    assert words(text.replace("\\n", "\n")) == expected


@pytest.mark.parametrize("text", [text.replace("\\n", "\n") for text, _ in TABLE])
def test_places_are_inside_the_text_and_in_order(text):
    places = [(token.start, token.end) for token in tokens(text)]
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("In 1999, café №5", ["In", "1999", "1999", "1999", ",", "café", "№", "5"]),
        ("Dr. Smith’s cat", ["Dr.", "Smith’s", "cat"]),
        ("😀 at 3:30 p.m. today", ["😀", "at"] + 4 * ["3:30 p.m."] + ["today"]),
        ("ﬁne 2½ miles", ["ﬁne", "2½", "2½", "2½", "2½", "miles"]),
    ],
)  # fmt: skip
def test_every_word_knows_its_piece_of_the_input(text, pieces):
    assert [text[token.start : token.end] for token in tokens(text)] == pieces


def test_places_of_a_longer_input_are_kept():
    token = tokens("cat", [7, 9, 11])[0]
    assert (token.start, token.end) == (7, 12)


def test_a_shouted_line_is_read_as_words_but_acronyms_in_a_line_are_spelled():
    assert words("IT IS TIME FOR US TO GO") == "it is time for us to go"
    assert words("the IT staff of the US") == "the I T staff of the U S"
