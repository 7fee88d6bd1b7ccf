"""MIDI files are read as a musician means them, and what is not read is said."""

import collections
import re
import time

import numpy as np
import pytest

from fastwave import FastwaveError, InputError
from fastwave.music import midi
from fastwave.music.midi_events import MOST_TRACKS
from fuzz_inputs import midi_originals, mutate_bytes
from midi_bytes import END, chunk, control, meta, off, on, program, quantity, tempo, track
from midi_bytes import midi as make


def read(*tracks, **header):
    return midi.parse(make(*tracks, **header))


def spans(piece, part=0):
    """Onset, end and key of each note of a track, in milliseconds."""
    return [(round(1000 * note.onset), round(1000 * note.end), note.key) for note in piece.tracks[part].notes]


def test_notes_have_times_keys_and_velocities():
    piece = read(track((0, on(60, 90)), (480, off(60)), (240, on(64, 30)), (960, on(64, 0))))
    assert spans(piece) == [(0, 500, 60), (750, 1750, 64)]
    assert [note.velocity for note in piece.tracks[0].notes] == [90, 30]
    assert piece.notices == () and piece.seconds == 1.75


def test_running_status_is_kept_also_across_meta_events_and_sysex():
    piece = read(
        track((0, on(60)), (480, b"\x3c\x00"), (0, meta(1, b"la")), (0, b"\x3e\x40"), (0, b"\xf0\x03ab\xf7"),
              (480, b"\x3e\x00"))
    )  # fmt: skip
    assert spans(piece) == [(0, 500, 60), (500, 1000, 62)]


def test_messages_of_one_byte_and_of_the_system_have_their_length():
    piece = read(
        track(
            (0, b"\xd0\x40"),
            (0, b"\x41"),
            (0, b"\xf2\x01\x02"),
            (0, b"\xf3\x05"),
            (0, b"\xf6"),
            (0, on()),
            (480, off()),
        )
    )
    assert spans(piece) == [(0, 500, 60)] and piece.notices == ()


TIMES = [
    ("two tempos", {}, [(0, tempo(1_000_000)), (0, on()), (480, tempo(250_000)), (480, off())], 1.25),
    ("a tempo of zero is none", {}, [(0, tempo(0)), (0, on()), (480, off())], 0.5),
    ("25 frames of 40 ticks", {"division": (256 - 25) << 8 | 40}, [(0, tempo(9)), (0, on()), (1000, off())], 1.0),
    ("29.97 frames", {"division": (256 - 29) << 8 | 100}, [(0, on()), (3000, off())], 1.001),
    ("long delta", {"division": 32767}, [(0, on()), (32767 * 8, off())], 4.0),
]


@pytest.mark.parametrize(("name", "header", "events", "end"), TIMES, ids=[row[0] for row in TIMES])
def test_ticks_become_seconds(name, header, events, end):
    assert read(track(*events), **header).tracks[0].notes[0].end == pytest.approx(end)


def test_a_tempo_of_one_track_holds_for_all():
    piece = read(track((480, tempo(1_000_000))), track((0, on()), (960, off())))
    assert spans(piece) == [(0, 1500, 60)]
    assert spans(read(track((0, on()), (960, off())), track((480, tempo(1_000_000))))) == [(0, 1500, 60)]


# Events, and onset, end and key of the notes. A tick is 1/960 s: 480 are 500 ms.
HELD = [
    ("the pedal holds a key that is let go", [(0, control(64, 64)), (0, on()), (480, off()), (480, control(64, 63))],
     [(0, 1000, 60)]),
    ("half a pedal below 64 is none", [(0, control(64, 63)), (0, on()), (480, off()), (480, control(64, 0))],
     [(0, 500, 60)]),
    ("a key that is still down outlasts the pedal", [(0, control(64, 127)), (0, on()), (480, control(64, 0)),
     (480, off())], [(0, 1000, 60)]),
    ("a string that rings is struck anew", [(0, control(64, 127)), (0, on()), (240, off()), (240, on()), (240, off()),
     (240, control(64, 0))], [(0, 500, 60), (500, 1000, 60)]),
    ("sostenuto holds the keys that were down, not later ones", [(0, on(60)), (0, control(66, 127)), (240, off(60)),
     (0, on(64)), (240, off(64)), (480, control(66, 0))], [(0, 1000, 60), (250, 500, 64)]),
    ("from sostenuto into the sustain pedal", [(0, on()), (0, control(66, 127)), (240, off()), (0, control(64, 127)),
     (240, control(66, 0)), (480, control(64, 0))], [(0, 1000, 60)]),
    ("sostenuto is down from 64 on", [(0, on()), (0, control(66, 64)), (240, off()), (240, control(66, 63))],
     [(0, 500, 60)]),
    ("sostenuto that moves while it is down takes no more keys", [(0, on(60)), (0, control(66, 100)), (0, on(64)),
     (0, control(66, 127)), (240, off(60)), (0, off(64)), (240, control(66, 0))], [(0, 500, 60), (0, 250, 64)]),
    ("a string that sostenuto holds is struck anew", [(0, on()), (0, control(66, 127)), (240, off()), (240, on()),
     (240, off()), (240, control(66, 0))], [(0, 500, 60), (500, 750, 60)]),
    ("all notes off lets go of all keys", [(0, on(60)), (0, on(64)), (480, control(123, 0)), (480, off(60))],
     [(0, 500, 60), (0, 500, 64)]),
    ("all notes off leaves them to the pedal", [(0, control(64, 127)), (0, on()), (480, control(123, 0)),
     (480, control(64, 0))], [(0, 1000, 60)]),
    ("all sound off ends what the pedal holds", [(0, control(64, 127)), (0, on()), (240, off()),
     (240, control(120, 0)), (480, control(64, 0))], [(0, 500, 60)]),
    ("reset controllers lifts the pedal", [(0, control(64, 127)), (0, on()), (240, off()), (240, control(121, 0)),
     (480, control(64, 0))], [(0, 500, 60)]),
    ("the first strike is let go first", [(0, on()), (240, on()), (240, off()), (480, off())],
     [(0, 500, 60), (250, 1000, 60)]),
    ("an off without an on is nothing", [(0, off()), (0, on()), (480, off()), (0, off())], [(0, 500, 60)]),
    ("a note without length is heard", [(0, on()), (0, off())], [(0, 10, 60)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "events", "notes"), HELD, ids=[row[0] for row in HELD])
def test_keys_and_pedals(name, events, notes):
    assert spans(read(track(*events))) == notes


def test_a_pedal_is_that_of_its_channel():
    others = (0, on(70, channel=1)), (0, control(64, 127)), (480, off(70, channel=1))
    piece = read(track((0, on()), *others, (0, off()), (480, control(64, 0))))
    assert [spans(piece, part) for part in (0, 1)] == [[(0, 1000, 60)], [(0, 500, 70)]]


def test_a_note_that_is_never_let_go_ends_with_the_piece_or_after_ten_seconds():
    piece = read(track((0, on(60)), (480, on(64)), (480, off(64))), track((0, on(70)), (19_200, off(70))))
    assert spans(piece) == [(0, 10_000, 60), (500, 1000, 64)]
    assert piece.notices == ("1 note is never let go: it is ended.",)


def test_a_pedal_that_is_never_lifted_holds_for_ten_seconds_at_most():
    piece = read(track((0, control(64, 127)), (0, on()), (480, off()), (19_200, on(70)), (480, off(70))))
    assert spans(piece)[0] == (0, 10_500, 60)
    assert piece.notices == ()


def test_tracks_are_told_apart_by_track_channel_and_program():
    piece = read(
        track((0, meta(3, b"Sonata")), (0, tempo(500_000))),
        track((0, meta(3, b"Violins")), (0, program(40)), (0, on()), (480, off())),
        track((0, meta(3, b"Winds")), (0, program(73, 1)), (0, on(70, channel=1)), (480, off(70, channel=1)),
              (0, program(71, 1)), (0, on(58, channel=1)), (480, off(58, channel=1))),
        track((0, program(19, 2)), (0, on(40, channel=2)), (480, off(40, channel=2))),
    )  # fmt: skip
    assert piece.title == "Sonata"
    names = [(track.name, track.program) for track in piece.tracks]
    assert names == [("Violins", 40), ("flute", 73), ("clarinet", 71), ("church organ", 19)]


def test_tracks_that_share_a_channel_keep_their_programs():
    notes = [(0, on()), (480, off())]
    piece = read(track((0, program(40)), *notes), track((0, program(60)), *notes), track(*notes))
    assert [track.program for track in piece.tracks] == [40, 60, 60]


def test_ports_are_channels_of_their_own():
    piece = read(
        track((0, program(40)), (0, on()), (480, off())), track((0, meta(0x21, b"\1")), (0, on()), (480, off()))
    )
    assert [track.program for track in piece.tracks] == [40, 0]


def test_a_file_of_one_track_names_the_piece_and_not_its_parts():
    piece = read(track((0, meta(3, b"Sonata")), (0, program(40)), (0, on()), (480, off())), kind=0)
    assert (piece.title, piece.tracks[0].name) == ("Sonata", "violin")


def test_names_are_utf_8_or_latin_1_and_one_line():
    notes = [(0, on()), (480, off())]
    names = [b"Fl\xc3\xb6te\n 1", b"Fl\xf6te\x00", b"a" * 4000]
    piece = read(track(), *(track((0, meta(3, name)), *notes) for name in names))
    assert [track.name for track in piece.tracks] == ["Flöte 1", "Flöte", "a" * 200]


# Volume and place


@pytest.mark.parametrize(("value", "pan"), [(0, -1.0), (64, 0.0), (127, 1.0), (32, -32 / 63)])
def test_pan_is_from_left_to_right(value, pan):
    assert read(track((0, control(10, value)), (0, on()), (480, off()))).tracks[0].pan == pytest.approx(pan)


@pytest.mark.parametrize(
    ("controls", "gain"),
    [((), 1.0), (((7, 100),), 1.0), (((7, 50),), 0.25), (((7, 127), (11, 64)), 0.64**2), (((11, 0), (121, 0)), 1.0)],
)  # fmt: skip
def test_volume_and_expression_are_squared_into_the_gain(controls, gain):
    events = [(0, control(number, value)) for number, value in controls]
    assert read(track(*events, (0, on()), (480, off()))).tracks[0].gain == pytest.approx(gain)


def test_quieter_stretches_of_a_track_are_softer_strikes():
    """At half the volume a note has a quarter of the gain, as one of half the velocity has."""
    piece = read(track((0, on(60, 80)), (480, off()), (0, control(7, 50)), (0, on(60, 80)), (480, off())))
    assert piece.tracks[0].gain == 1.0 and [note.velocity for note in piece.tracks[0].notes] == [80, 40]


def test_a_swell_counts_as_its_loudest_moment_and_is_said():
    piece = read(
        track((0, control(11, 0)), (0, on()), (240, control(11, 127)), (120, control(11, 90)), (480, off()),
              (0, on()), (480, off()))
    )  # fmt: skip
    assert piece.tracks[0].gain == pytest.approx(1.0)
    assert [note.velocity for note in piece.tracks[0].notes] == [100, round(100 * 90 / 127)]
    assert piece.notices == ("1 note swells or fades while it is held: it keeps its loudest volume.",)


def test_controls_at_the_moment_of_a_note_count_from_where_they_stand():
    piece = read(track((0, control(7, 127)), (0, control(7, 50)), (0, on()), (480, off())))
    assert piece.tracks[0].gain == pytest.approx(0.25)


# What is left out


def test_drums_are_left_out_and_said():
    bank = [(0, control(0, 127, 3)), (0, on(channel=3)), (9, off(channel=3))]
    piece = read(track((0, on()), (480, off())), track((0, on(36, channel=9)), (9, off(36, channel=9)), *bank))
    assert len(piece.tracks) == 1
    assert piece.notices == ("drums are left out: 2 notes on channel 4, 10.",)


def test_pitch_bends_and_silence_are_said():
    piece = read(
        track((0, b"\xe0\x00\x50"), (0, on()), (480, off()), (0, control(7, 0)), (0, on()), (480, off())),
        track((0, control(7, 0, 1)), (0, on(channel=1)), (480, off(channel=1))),
    )
    assert len(piece.tracks) == 1 and len(piece.tracks[0].notes) == 1
    assert piece.notices == (
        "2 notes are left out: their volume is 0.", "pitch bends are left out: every note keeps its pitch.",
    )  # fmt: skip


def test_a_bend_that_nobody_hears_is_not_worth_a_word():
    assert read(track((0, b"\xe0\x00\x41"), (0, on()), (480, off()))).notices == ()


NOTES = [(0, on()), (480, off()), (0, on(64)), (480, off(64))]
DAMAGED = [
    ("cut in an event", lambda whole: whole[:-6], 2, "track 1 is damaged: the file ends in the midst of it"),
    ("cut behind a note", lambda whole: whole[:-13], 1, "track 1 is damaged: the file ends in the midst of it"),
    ("without its end", lambda whole: whole[:-4].replace(b"\0\0\0\x16", b"\0\0\0\x12"), 2, None),
    ("a data byte in place of a status", lambda whole: whole.replace(on(), b"\x10\x3c\x64"), 0,
     "track 1 is damaged: a message without a status at byte 2"),
    ("a status in place of data", lambda whole: whole.replace(on(64), b"\x90\x40\x90"), 1,
     "track 1 is damaged: a message that is none at byte"),
    ("a number of five bytes", lambda whole: whole.replace(b"\0" + on(64), b"\xff\xff\xff\xff"), 1,
     "track 1 is damaged: a number of more than four bytes"),
    ("more tracks promised", lambda whole: whole[:11] + b"\3" + whole[12:], 2, "2 of 3 tracks are missing"),
    ("foreign chunks and bytes behind", lambda whole: whole[:14] + chunk(b"XFIH", b"abc") + whole[14:] + b"\0\1\2", 2,
     None),
    ("a longer header", lambda whole: whole[:7] + b"\x08" + whole[8:14] + b"\0\0" + whole[14:], 2, None),
    ("a track that claims 4 GiB", lambda whole: whole[:18] + b"\xff" * 4 + whole[22:], 2, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "damage", "notes", "notice"), DAMAGED, ids=[row[0] for row in DAMAGED])
def test_what_stands_before_damage_is_read(name, damage, notes, notice):
    piece = midi.parse(damage(make(track(*NOTES))))
    assert sum(len(track.notes) for track in piece.tracks) == notes
    assert (
        [each for each in piece.notices if "never let go" not in each] == []
        if notice is None
        else any(each.startswith(notice) for each in piece.notices)
    )


def test_damage_in_one_track_costs_nothing_of_the_others():
    piece = read(track((0, b"\x10\x10")), track(*NOTES))
    assert len(piece.tracks[0].notes) == 2 and "track 1 is damaged" in piece.notices[0]


def test_wrapped_files_are_read():
    whole = make(track(*NOTES))
    riff = b"RMID" + b"LIST\x03\0\0\0abc\0" + b"data" + len(whole).to_bytes(4, "little") + whole
    for content in (b"RIFF" + len(riff).to_bytes(4, "little") + riff, bytes(128) + whole):
        assert spans(midi.parse(content)) == [(0, 500, 60), (500, 1000, 64)]


REFUSED = [
    (b"", "x.mid is not a MIDI file: it is empty. Give a .mid file."),
    (b"a poem\n", "it is a text"),
    (b"PK\x03\x04", "compressed MusicXML or a score of MuseScore. Export it as MIDI"),
    (b"<?xml version", "XML, such as MusicXML. Export it as MIDI"),
    (b"RIFF\0\0\0\0WAVE", "a sound file"),
    (b"\x89\x01", "a file of another kind"),
    (b"MThd\0\0\0\6\0", "ends within its header"),
    (make(track(), kind=2), "format 2, a collection of patterns without an order: save it as format 0 or 1"),
    (make(track(), kind=7), "format 7; there are 0, 1 and 2. It is damaged"),
    (make(track(), division=0), "units of 0 ticks"),
    (make(track(), division=(256 - 26) << 8 | 4), "26 frames a second; MIDI knows 24, 25, 29.97 and 30"),
    (make(*[track()] * (MOST_TRACKS + 1)), "over 1024 tracks"),
    (b"MThd" + bytes(midi.MOST_BYTES), "over 4 MiB"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_is_no_midi_file_is_refused_by_a_sentence(content, words):
    with pytest.raises(InputError, match=re.escape(words)):
        midi.parse(content, "x.mid")


def test_a_file_with_more_notes_than_anybody_hears_is_refused(monkeypatch):
    monkeypatch.setattr(midi, "MOST_NOTES", 1)
    with pytest.raises(InputError, match="over 1 notes"):
        read(track(*NOTES))


@pytest.mark.parametrize("path", ["nowhere.mid", ".", "a\0b"])
def test_a_path_that_cannot_be_read_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FastwaveError, match="cannot read"):
        midi.read(path)


def test_the_work_of_a_control_does_not_grow_with_the_notes_that_sound():
    """Walking through all notes for each control would take a minute of processor time here, not a fraction of 3 s."""
    notes = b"".join(b"\0" + bytes([key % 128, 100]) for key in range(5000))
    controls = b"\0\xb0" + b"\0".join(bytes([number, value % 128]) for value in range(5000) for number in (7, 64, 66))
    content = make(chunk(b"MTrk", b"\0\x90" + notes[1:] + controls + quantity(0) + END[1]))
    begun = time.process_time()
    assert len(midi.parse(content).tracks[0].notes) == 5000
    assert time.process_time() - begun < 3


def test_damaged_files_are_read_or_refused():
    """A sample of what `python tests/helpers/fuzz_inputs.py --only midi` does by the ten thousand."""
    originals, outcomes = midi_originals(), collections.Counter()
    for number in range(2000):
        random = np.random.default_rng((7, number))
        try:
            piece = midi.parse(mutate_bytes(originals[number % len(originals)], random))
            outcomes["read" if piece.tracks else "empty"] += 1
        except FastwaveError:
            outcomes["refused"] += 1
    assert outcomes["read"] > 1000 and outcomes["refused"] > 50
