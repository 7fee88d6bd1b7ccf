"""The composer keeps what a model writes well, draws again what it writes badly, and gives up after a stated number."""

import dataclasses

import pytest

from fastwave.errors import GenerationError, InputError
from fastwave.music.composer import rules, text
from fastwave.music.composer.chorale import Chorale, Form
from fastwave.music.composer.writing import LINE_DRAWS, MORE_DRAWS, PHRASE_DRAWS, Writer
from small_chorales import CHORALE, ScriptEngine

(SMALL,) = text.read(CHORALE)


def write(engine):
    writer = Writer(engine, 1.0, 0)
    return writer.write(SMALL.form), writer.count


def test_what_a_model_writes_well_is_taken_as_it_is():
    engine = ScriptEngine(CHORALE)
    chorale, count = write(engine)
    assert chorale == SMALL
    assert engine.primes == ["C major, 3/4, eighths, 2 phrases\n"]
    assert dataclasses.astuple(count) == (22, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("place", "slip", "counted"),
    [
        ("5 MHEo", "MHE", "malformed"),
        ("5 MHEo", "|MHEo", "malformed"),
        ("5 MHEo", "M\xff..", "malformed"),
        ("9 =1", "=0", "malformed"),
        ("5 MHEo", "MHVo", "against_rules"),  # the tenor above the alto
        ("5 MHEo", "AHEo", "against_rules"),  # the soprano below the alto
        ("5 MHEo", "MHEt", "against_rules"),  # soprano and bass move in fifths
        ("4 ....", "=1", "against_rules"),  # a phrase of two beats
    ],
)
def test_a_line_that_cannot_stand_is_drawn_again(place, slip, counted):
    chorale, count = write(ScriptEngine(CHORALE, {place: [slip]}))
    assert chorale == SMALL
    assert getattr(count, counted) == 1 and count.lines == 23


def test_a_rule_is_waived_where_the_model_insists():
    line = "5 MHEo"
    chorale, count = write(ScriptEngine(CHORALE, {line: ["AHEo"] * (LINE_DRAWS + 1)}))
    assert chorale.steps[4] == (60, 67, 64, 48)
    assert count.rules_waived == 1 and count.against_rules == LINE_DRAWS


def test_a_model_that_writes_no_chorale_ends_in_an_error_after_a_bounded_number_of_draws():
    engine = ScriptEngine("header\n" + "nothing\n" * 2000)
    writer = Writer(engine, 1.0, 0)
    with pytest.raises(GenerationError, match="did not write a phrase"):
        writer.write(SMALL.form)
    assert writer.count.lines == PHRASE_DRAWS * (LINE_DRAWS + MORE_DRAWS)


def test_a_chord_that_never_ends_is_left():
    engine = ScriptEngine("C major, 3/4, eighths, 2 phrases\n|MHEo\n" + ("....\n" * 5 + "|....\n") * 20)
    writer = Writer(engine, 1.0, 0)
    with pytest.raises(GenerationError):
        writer.write(SMALL.form)
    assert writer.count.against_rules > 0


def test_a_model_of_sound_is_no_composer():
    engine = ScriptEngine(CHORALE)
    engine.codec.name = "mu-law"
    with pytest.raises(InputError, match="model of text"):
        Writer(engine, 1.0, 0)


@pytest.mark.parametrize(
    ("before", "after", "fifths", "octaves"),
    [
        ((72, 64, 55, 48), (74, 65, 57, 50), 1, 1),  # soprano and bass, tenor and bass
        ((72, 64, 55, 48), (72, 64, 57, 50), 1, 0),
        ((72, 64, 55, 48), (71, 62, 55, 43), 0, 0),
        ((72, 64, 55, 48), (72, 64, 55, 48), 0, 0),  # nothing moves
        ((72, 64, 55, 48), (84, 64, 55, 36), 0, 1),  # an octave by contrary motion
        ((-2, 64, 55, 48), (74, 65, 57, 50), 1, 0),  # a voice that rests moves with nobody
    ],
)
def test_parallels_are_counted_by_pairs_of_voices(before, after, fifths, octaves):
    assert (rules.parallels(before, after, 7), rules.parallels(before, after, 0)) == (fifths, octaves)


def test_crossings_and_ranges_are_counted_by_voice():
    assert rules.crossings((72, 64, 55, 48)) == 0 and rules.crossings((60, 64, 55, 57)) == 2
    assert rules.out_of_range((72, 64, 55, 48)) == 0 and rules.out_of_range((90, 64, 55, 20)) == 2


def test_a_candidate_that_cannot_be_ended_is_given_up(monkeypatch):
    writer, failure = Writer(ScriptEngine("header\n"), 1.0, 0), GenerationError("did not write a phrase")
    answers = iter([failure, SMALL, failure])

    def write(form):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(writer, "write", write)
    assert writer.choose(SMALL.form, 2) == SMALL
    with pytest.raises(GenerationError):
        writer.choose(SMALL.form, 1)


def test_the_candidate_with_most_triads_and_seventh_chords_is_chosen(monkeypatch):
    def held(*keys):
        return Chorale(Form(), (keys,))

    def choose(*chorales):
        answers = iter(chorales)
        monkeypatch.setattr(writer, "write", lambda form: next(answers))
        return writer.choose(SMALL.form, len(chorales))

    writer = Writer(ScriptEngine("header\n"), 1.0, 0)
    triad, seventh, bare, cluster = (
        held(72, 67, 64, 48),
        held(70, 64, 55, 48),
        held(72, 60, 60, 48),
        held(73, 72, 62, 48),
    )
    assert choose(cluster, triad, bare) == triad
    assert choose(bare, cluster, seventh) == seventh
