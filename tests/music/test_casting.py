"""Every track gets an instrument, a place and a gain, or a sentence that says why not."""

import math
import re

import pytest

from fastwave import InputError
from fastwave.music.casting import assign, levels
from fastwave.music.editing import edited
from fastwave.music.notes import Note, Piece, Track
from fastwave.music.options import Playing
from fastwave.music.programs import FAMILIES, PROGRAMS, nearest, programs_of
from small_band import make_piece

BAND = ("flute", "clarinet", "strings", "organ", "piano")


def make_track(program, pan=0.0, gain=1.0, name=""):
    return Track((Note(0, 1, 60),), program, name, pan, gain)


# Programs


def test_there_are_128_programs_each_in_one_family():
    assert len(PROGRAMS) == len(set(PROGRAMS)) == 128
    assert sorted(program for programs in FAMILIES.values() for program in programs) == list(range(128))
    landmarks = {0: "acoustic grand piano", 24: "nylon guitar", 40: "violin", 73: "flute", 127: "gunshot"}
    assert {program: PROGRAMS[program] for program in landmarks} == landmarks


@pytest.mark.parametrize(
    ("program", "instrument"),
    [("flute", "flute"), ("piccolo", "flute"), ("clarinet", "clarinet"), ("oboe", "clarinet"), ("violin", "strings"),
     ("strings", "strings"), ("fiddle", "strings"), ("church organ", "organ"), ("accordion", "organ"),
     ("harpsichord", "piano"), ("trumpet", None), ("harp", None), ("timpani", None), ("slap bass 1", "strings"),
     ("gunshot", None), ("warm pad", "strings"), ("marimba", "piano")],
)  # fmt: skip
def test_a_program_is_played_by_the_nearest_instrument_of_its_family(program, instrument):
    assert nearest(PROGRAMS.index(program), BAND) == instrument


@pytest.mark.parametrize(
    ("program", "first", "second"),
    [("picked bass", "guitar", "cello"), ("marimba", "harp", "piano"), ("choir aahs", "strings", "organ"),
     ("saw lead", "clarinet", "flute"), ("warm pad", "strings", "organ")],
)  # fmt: skip
def test_families_that_stand_in_are_asked_in_their_order(program, first, second):
    assert {nearest(PROGRAMS.index(program), band) for band in ((first, second), (second, first))} == {first}
    assert nearest(PROGRAMS.index(program), (second,)) == second


def test_an_exact_instrument_is_preferred_and_the_closer_relative():
    assert nearest(40, ("strings", "violin")) == "violin"
    assert nearest(68, ("clarinet", "tenor_sax")) == "tenor_sax"
    assert programs_of("French-Horn") == programs_of("horn") == (60,)
    assert programs_of("my kazoo") == () and nearest(0, ("my kazoo",)) is None


# Who plays


def test_tracks_are_played_by_their_nearest_and_substitutes_are_named():
    cast = assign(Piece((make_track(73), make_track(68), make_track(40))), BAND)
    assert [part.instrument for part in cast.parts] == ["flute", "clarinet", "strings"]
    assert cast.names == ("flute", "oboe", "violin")
    assert cast.notices == ("played by a relative: oboe (by clarinet), violin (by strings).",)


def test_tracks_without_a_relative_are_left_out_and_named():
    piece = Piece((make_track(73), make_track(56), make_track(57)), notices=("drums are left out.",))
    cast = assign(piece, BAND)
    assert len(cast.parts) == 1 and cast.notices[0] == "drums are left out."
    assert cast.notices[1].startswith("2 tracks are left out, for no instrument here is like trumpet, trombone")


def test_one_instrument_plays_all_when_it_is_named():
    cast = assign(Piece((make_track(73), make_track(56))), BAND, "organ")
    assert [part.instrument for part in cast.parts] == ["organ", "organ"] and cast.notices == ()


@pytest.mark.parametrize(
    ("tracks", "instrument", "words"),
    [
        ((make_track(73),), "flut", "no instrument 'flut': choose one of flute, clarinet, strings, organ, piano. "
                                    "Did you mean 'flute'?"),
        ((make_track(56),), None, "there is nothing to play. 1 track is left out, for no instrument here is like"),
        ((), None, "there is nothing to play. It holds no notes."),
        ((Track(()),), "organ", "there is nothing to play"),
    ],
)  # fmt: skip
def test_nothing_to_play_is_refused(tracks, instrument, words):
    with pytest.raises(InputError, match=re.escape(words)):
        assign(Piece(tracks), BAND, instrument)


def test_tracks_without_places_stand_from_left_to_right():
    assert assign(make_piece(), BAND).pans == pytest.approx((-0.5, -1 / 6, 1 / 6, 0.5))
    assert assign(Piece((make_track(73),)), BAND).pans == (0.0,)
    assert assign(Piece((make_track(73, -0.9), make_track(73))), BAND).pans == (-0.9, 0.0)


@pytest.mark.parametrize("pan", [-1.0, -0.4, 0.0, 1.0])
def test_a_part_is_as_loud_at_every_place(pan):
    ((left, right),) = levels(assign(Piece((make_track(73, pan, 0.5),)), BAND))
    assert math.hypot(left, right) == pytest.approx(0.5)
    assert math.copysign(1, right - left) == (math.copysign(1, pan) if pan else math.copysign(1, right - left))
    assert (left, right) == pytest.approx({-1.0: (0.5, 0), 1.0: (0, 0.5)}.get(pan, (left, right)), abs=1e-9)


# A stretch of it


def spans(piece):
    return [(note.onset, note.end, note.key) for track in piece.tracks for note in track.notes]


def make_line():
    return Piece((Track((Note(0, 2, 60), Note(1, 1, 62), Note(1.99, 0.04, 64), Note(3, 2, 65))),))


@pytest.mark.parametrize(
    ("options", "notes"),
    [
        ({"tempo": 2.0}, [(0, 1, 60), (0.5, 1, 62), (0.995, 1.015, 64), (1.5, 2.5, 65)]),
        ({"transpose": -12, "end": 1.0}, [(0, 1, 48)]),
        ({"start": 1.0, "end": 1.5}, [(0, 0.5, 60), (0, 0.5, 62)]),
        ({"start": 2.0, "end": 4.0, "tempo": 0.5}, [(2, 4, 65)]),
    ],
)
def test_a_stretch_of_a_piece(options, notes):
    found = spans(edited(make_line(), **options))
    assert len(found) == len(notes)
    for note, wanted in zip(found, notes, strict=True):
        assert note == pytest.approx(wanted)


def test_keys_that_leave_midi_are_said():
    piece = edited(make_line(), transpose=64)
    assert spans(piece) == [(0, 2, 124), (1, 2, 126)]
    assert piece.notices == ("2 notes would be beyond the keys of MIDI and are left out: transpose by less.",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tempo": 0}, "tempo must be a number from 0.1 to 10, got '0'"),
        ({"tempo": float("nan")}, "tempo must be"),
        ({"tempo": "fast"}, "tempo must be"),
        ({"transpose": 1.5}, "transpose must be a whole number of keys from -48 to 48, got '1.5'"),
        ({"transpose": 49}, "transpose must be"),
        ({"start": -1}, "start must be a number of at least 0, got '-1'"),
        ({"start": 5, "end": 5}, "end must lie behind start, got 5 s to 5 s"),
        ({"gain": 41}, "gain must be a number from -60 to 40"),
        ({"temperature": 3}, "temperature must be a number from 0 to 2"),
        ({"sample_rate": 22_050}, "sample_rate must be 44100 or 48000, got '22050'"),
        ({"seed": -1}, "seed must be an integer 0..2^64-1"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(InputError, match=re.escape(words)):
        Playing(**options)


def test_a_piece_of_a_day_and_a_stretch_behind_the_end_are_refused():
    day = Piece((Track((Note(86_400, 1, 60),)),))
    with pytest.raises(InputError, match=r"lasts 24\.0 hours, 6 are the most: choose a stretch by start and end"):
        Playing().edit(day)
    assert spans(Playing(start=86_390.0).edit(day)) == [(10, 11, 60)]
    with pytest.raises(InputError, match=r"lasts 5\.0 s: nothing is left from 9 s on"):
        Playing(start=9.0).edit(make_line())
