"""Recordings with MIDI beside them: the notes that sound alone are found, and learned from by the same command."""

import numpy as np
import pytest

from fastwave.cli.main import main
from fastwave.music import Note, Piece, Track, corpus, performances, training, write_midi
from fastwave.music.analysis import FRAMES, LEAD
from fastwave.music.notes import hertz
from fastwave.music.timbre import Shape
from fastwave.sound import audio
from fastwave.vocoder import vocoder

RATE = 16_000
CONFIG = vocoder.config(frames=FRAMES, residual_channels=4, skip_channels=4, dilations=(1, 2))
FLUTE = 73


def recorded(folder, name, notes, program=FLUTE, suffix=".midi"):
    """A recording of sines, and its MIDI."""
    path = folder / f"{name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_midi(Piece((Track(tuple(notes), program=program),)), path)
    wave = np.zeros(round(RATE * (max(note.end for note in notes) + 1)))
    for note in notes:
        time = np.arange(round(note.length * RATE)) / RATE
        wave[round(note.onset * RATE) :][: len(time)] += 0.3 * np.sin(2 * np.pi * hertz(note.key) * time)
    audio.save(path.with_suffix(".wav"), wave, RATE)


def scale(count, start=0.5):
    return [Note(start + 1.25 * number, 0.5, 60 + number % 7, 64) for number in range(count)]


def times(notes):
    return [(round(note.begin, 2), round(note.held, 2), round(note.end, 2), note.key) for note in notes]


def test_notes_that_sound_alone_are_taken_and_others_are_not(tmp_path):
    mixed = [
        Note(1.0, 0.5, 60),  # alone, and dies away
        Note(3.0, 0.5, 62),  # alone, until the next one begins
        Note(3.75, 0.5, 64),  # the one before may still ring
        Note(6.0, 0.5, 65), Note(6.0, 0.5, 69),  # a chord
        Note(8.0, 2.0, 67), Note(9.0, 0.25, 71),  # one over another
        Note(12.0, 0.25, 72), Note(12.125, 0.25, 74),  # too short a time alone
        Note(14.0, 0.5, 76),
    ]  # fmt: skip
    recorded(tmp_path, "piece", [*mixed, *scale(12, 20.0)])
    found = performances.read(tmp_path)
    assert times(found[:4]) == [(1.0, 0.5, 2.0, 60), (3.0, 0.5, 3.75, 62), (8.0, 1.0, 9.0, 67), (14.0, 0.5, 15.0, 76)]
    assert len(found) == 16 and {note.instrument for note in found} == {"flute"}
    assert all(note.velocity in (64, 80) and note.file == "piece.wav" for note in found)


def test_files_at_any_depth_are_read_in_order_and_some_notes_are_held_out(tmp_path):
    recorded(tmp_path, "2004/b", scale(25), suffix=".mid")
    recorded(tmp_path, "2003/a", scale(15))
    found = performances.read(tmp_path)
    assert [note.file for note in found] == ["2003/a.wav"] * 15 + ["2004/b.wav"] * 25
    assert [number for number, note in enumerate(found, 1) if note.held_out] == [20, 40]
    waves = list(corpus.waves(tmp_path, found))
    assert all(np.abs(wave[:LEAD]).max() < 0.01 and np.abs(wave[LEAD : LEAD + 400]).max() > 0.5 for wave in waves)


def test_a_band_is_made_of_them_by_the_same_call(tmp_path):
    recorded(tmp_path / "data", "piece", scale(16))
    band = training.train(
        tmp_path / "data", tmp_path / "band", steps=2, config=CONFIG, shape=Shape(1, 12, 4), progress=False
    )
    assert band.names == ("flute",)


def test_an_index_of_notes_comes_first(tmp_path):
    recorded(tmp_path, "piece", scale(14))
    assert performances.has_pairs(tmp_path)
    (tmp_path / "notes.jsonl").write_text("")
    assert not performances.has_pairs(tmp_path)


@pytest.mark.parametrize("case", ["no recording", "drums", "few", "chords", "nothing"])
def test_what_cannot_be_learned_from_is_refused_with_a_sentence(tmp_path, case, capsys):
    data = tmp_path / "data"
    data.mkdir()
    if case == "no recording":
        recorded(data, "piece", scale(14))
        (data / "piece.wav").unlink()
        words = "piece.wav"
    elif case == "drums":
        recorded(data, "piece", scale(14))
        content = bytearray((data / "piece.midi").read_bytes())
        at = content.find(bytes([0x90, 60]))
        content[at] = 0x99  # the channel of drums
        (data / "piece.midi").write_bytes(content)
        words = "drums"
    elif case == "few":
        recorded(data, "piece", scale(5))
        words = "5 of 5 notes sound alone: an instrument is learned from 12 notes or more, got flute (5)"
    elif case == "chords":
        recorded(data, "piece", [Note(1.0, 1.0, key) for key in range(60, 80)])
        words = "0 of 20 notes sound alone"
    else:
        words = "no MIDI files"
    assert main(["instrument", "train", str(data), "--out", str(tmp_path / "band")]) == 1
    assert words in capsys.readouterr().err
