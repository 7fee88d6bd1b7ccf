"""A piece becomes a MIDI file that holds the same notes."""

import pytest

from fastwave import InputError
from fastwave.music import midi
from fastwave.music.midi_writing import to_bytes, write
from fastwave.music.notes import Note, Piece, Track
from small_band import make_piece


def test_a_piece_that_was_written_is_read_again(tmp_path):
    piece = make_piece()
    write(piece, tmp_path / "x.mid", tempo=97)
    again = midi.read(tmp_path / "x.mid")
    assert (again.title, again.notices) == (piece.title, ())
    for track, other in zip(piece.tracks, again.tracks, strict=True):
        assert (other.name, other.program, other.pan, other.gain) == (track.name, track.program, 0.0, 1.0)
        for note, same in zip(track.notes, other.notes, strict=True):
            assert (same.key, same.velocity) == (note.key, note.velocity)
            assert same.onset == pytest.approx(note.onset, abs=4e-4)
            assert same.length == pytest.approx(note.length, abs=8e-4)


@pytest.mark.parametrize(("pan", "gain"), [(-1.0, 0.25), (0.5, 1.6), (1.0, 1.0)])
def test_place_and_volume_are_written(pan, gain):
    track = Track((Note(0, 1, 60),), 40, "Ä", pan, gain)
    (again,) = midi.parse(to_bytes(Piece((track,)))).tracks
    assert again.pan == pytest.approx(pan, abs=0.02) and again.gain == pytest.approx(gain, rel=0.02)
    assert again.name == "Ä"


def test_a_key_is_let_go_before_it_is_struck_again_at_the_same_moment():
    track = Track((Note(0, 1, 60, 30), Note(1, 1, 60, 90)))
    (again,) = midi.parse(to_bytes(Piece((track,)))).tracks
    assert [(note.onset, note.length, note.velocity) for note in again.notes] == [(0, 1, 30), (1, 1, 90)]


def test_forty_tracks_have_channels_of_their_own_and_none_is_that_of_drums():
    tracks = tuple(Track((Note(0, 1, 60 + index),), index, str(index)) for index in range(40))
    again = midi.parse(to_bytes(Piece(tracks)))
    assert [(track.program, track.notes[0].key) for track in again.tracks] == [(n, 60 + n) for n in range(40)]
    assert again.notices == ()


@pytest.mark.parametrize(
    ("piece", "tempo", "words"),
    [
        (make_piece(), 0, "a tempo is a number of quarter notes a minute, at least 4"),
        (make_piece(), float("nan"), "a tempo is a number"),
        (Piece((Track((Note(1e9, 1, 60),)),)), 120, "too late for a MIDI file"),
        (Piece((Track((Note(0, 1, 60),)),) * 1024), 120, "up to 1023 tracks"),
    ],
)
def test_what_a_file_cannot_hold_is_refused(piece, tempo, words):
    with pytest.raises(InputError, match=words):
        to_bytes(piece, tempo)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        write(make_piece(), tmp_path / "nowhere" / "x.mid")
