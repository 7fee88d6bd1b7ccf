"""Chorales as text: what is written is read, and a line that is not of the format is refused with the reason."""

import dataclasses

import pytest
from hypothesis import given, settings, strategies

from fastwave.errors import InputError
from fastwave.music.composer import text
from fastwave.music.composer.chorale import HELD, HIGHEST, LOWEST, MAX_STEPS, REST, TONICS, Chorale, Form, parse_key
from small_chorales import CHORALE

(SMALL,) = text.read(CHORALE)


def test_a_text_is_read_as_the_music_that_it_says():
    assert SMALL.form == Form(0, False, "3/4", "eighths", 2)
    assert SMALL.pickup == 2 and SMALL.ends == (8, 20)
    assert SMALL.steps[0] == (72, 67, 64, 48) and SMALL.steps[1] == (HELD, HELD, 62, HELD)
    assert SMALL.sounding()[1] == [72, 67, 62, 48]
    assert text.write(SMALL) == CHORALE


def test_the_same_music_has_the_same_letters_in_every_key():
    bodies = set()
    for shift in range(-4, 8):
        other = SMALL.transposed(shift)
        assert other.sounding()[1] == [key + shift for key in SMALL.sounding()[1]]
        head, body = text.write(other).split("\n", 1)
        assert head.startswith(f"{TONICS[shift % 12]} major")
        bodies.add(body)
    assert len(bodies) == 1


def test_a_transposition_that_cannot_be_written_is_none():
    assert SMALL.transposed(8) is None and SMALL.transposed(-13) is None


@pytest.mark.parametrize("tonic", [None, *range(12)])
def test_every_key_has_a_sign_in_every_tonality(tonic):
    keys = range(LOWEST, HIGHEST + 1)
    assert [text.key_of(text.sign_of(key, tonic), tonic) for key in keys] == list(keys)
    assert text.key_of(text.sign_of(REST, tonic), tonic) == REST


@pytest.mark.parametrize(
    ("line", "wrong", "reason"),
    [
        (0, "C major, 5/4, eighths, 2 phrases", "begins with a line"),
        (0, "C major, 3/4, eighths, 1 phrases", "begins with a line"),
        (0, "H major, 3/4, eighths, 2 phrases", "begins with a line"),
        (1, ".HEo", "has not begun"),
        (1, "0HEo", "lies outside"),
        (2, "..C", "neither a step"),
        (2, "..C..", "neither a step"),
        (2, "..?.", "neither a step"),
        (2, "", "not over"),
        (2, "=1", None),
        (3, "OHzv", None),
        (9, "=2", "1 phrases are left"),
        (9, "=0", "1 phrases are left"),
        (10, "JFAt", "bar line"),
        (11, "|....", "bar line"),
        (23, "|HEAo", "empty line must follow"),
        (5, "x" * 500, "too long"),
    ],
)
def test_a_malformed_line_is_refused_with_its_reason(line, wrong, reason):
    lines = CHORALE.split("\n")
    changed = "\n".join([*lines[:line], wrong, *lines[line + 1 :]])
    if reason is None:  # the line itself may stand there: a later one cannot
        reason = "malformed"
    with pytest.raises(InputError, match=reason):
        text.read(changed)


def test_a_text_that_breaks_off_is_refused():
    with pytest.raises(InputError, match="ends within a chorale"):
        text.read(CHORALE.rstrip("\n") + "\n")


def test_a_refused_line_leaves_the_reader_as_it_was():
    reader = text.Reader()
    for line in CHORALE.split("\n")[:6]:
        reader.take(line)
    before = dataclasses.asdict(reader)
    with pytest.raises(InputError, match="malformed"):
        reader.take("nonsense")
    assert dataclasses.asdict(reader) == before


def test_tolerant_reading_drops_malformed_lines_and_counts_them():
    lines = CHORALE.split("\n")
    chorales, good, count = text.read_tolerantly("\n".join([*lines[:5], "garbage", *lines[5:]]))
    assert chorales == [SMALL] and (good, count) == (24, 25)
    broken_off = "\n".join(lines[:4]) + "\n"
    chorales, good, count = text.read_tolerantly(broken_off + CHORALE)
    assert chorales == [SMALL] and (good, count) == (28, 28)


def test_a_chorale_has_bounded_steps():
    head = "any key, free, sixteenths\n"
    assert len(text.read(head + "MHEA\n" * MAX_STEPS + "\n")[0].steps) == MAX_STEPS
    with pytest.raises(InputError, match="at most"):
        text.read(head + "MHEA\n" * (MAX_STEPS + 1) + "\n")


KEYS = strategies.integers(LOWEST, HIGHEST) | strategies.just(REST)


@given(
    strategies.lists(strategies.tuples(KEYS, KEYS, KEYS, KEYS), min_size=1, max_size=20),
    strategies.none() | strategies.integers(0, 11),
)
@settings(max_examples=40, deadline=None)
def test_any_music_survives_writing_and_reading(steps, tonic):
    chorale = Chorale(Form(tonic, False, None, "sixteenths"), tuple(steps))
    assert text.read(text.write(chorale)) == [chorale]


@given(strategies.text(alphabet="MHEA.|=_01\n xG", max_size=80))
@settings(max_examples=60, deadline=None)
def test_no_text_makes_the_tolerant_reader_fail(content):
    _, good, lines = text.read_tolerantly(CHORALE[:60] + content)
    assert 0 <= good <= lines


@pytest.mark.parametrize(
    ("name", "key"),
    [("C", (0, False)), ("Eb major", (3, False)), ("f# minor", (6, True)), ("Am", (9, True)), ("G# minor", (8, True))],
)
def test_keys_are_read_by_their_usual_names(name, key):
    assert parse_key(name) == key


@pytest.mark.parametrize("name", ["", "H major", "C dorian", "C major please", 3, "m", "x" * 1000])
def test_a_key_of_another_name_is_refused(name):
    with pytest.raises(InputError, match="key is a tonic"):
        parse_key(name)
