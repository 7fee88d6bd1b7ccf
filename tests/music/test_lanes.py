"""Notes are allotted to lanes: no two sound in one lane at once, and no lane is made in vain."""

import random

import pytest

from fastwave import InputError
from fastwave.music.band import Part
from fastwave.music.lanes import Lanes, allot, count
from fastwave.music.notes import Note


def make_parts(seed, parts=3, notes=40):
    source = random.Random(seed)
    made = []
    for _ in range(parts):
        onsets = sorted(source.choice([source.uniform(0, 10), source.randrange(10)]) for _ in range(notes))
        made.append(Part("flute", tuple(Note(onset, source.uniform(0.05, 2), 60) for onset in onsets)))
    return made


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tail", [0.0, 0.3, lambda note, part: 0.1 * part])
def test_a_lane_plays_one_note_at_a_time_and_lanes_are_as_few_as_can_be(seed, tail):
    parts = make_parts(seed)
    rings = tail if callable(tail) else lambda *_: tail
    allotted = list(allot(parts, tail))
    assert [each.note.onset for each in allotted] == sorted(note.onset for part in parts for note in part.notes)
    for index, part in enumerate(parts):
        assert tuple(each.note for each in allotted if each.part == index) == part.notes
    free = {}
    for note, part, lane in allotted:
        assert free.get(lane, 0) <= note.onset
        free[lane] = note.end + rings(note, part)
    ends = [(each.note.onset, each.note.end + rings(each.note, each.part)) for each in allotted]
    most = max(sum(begin <= onset < end for begin, end in ends) for onset, _ in ends)
    assert len(free) == count(parts, tail) == most


def test_a_note_takes_the_lane_that_has_been_free_for_longest():
    lanes = Lanes()
    taken = [lanes.take(Note(onset, length, 60)) for onset, length in [(0, 3), (0, 1), (0, 2), (4, 1), (4, 1), (4, 1)]]
    assert taken == [0, 1, 2, 1, 2, 0]


def test_a_tail_keeps_the_lane():
    assert [count([Part("flute", (Note(0, 1, 60), Note(1, 1, 60)))], tail) for tail in (0.0, 0.1)] == [1, 2]
    assert count([]) == 0


def test_notes_out_of_order_are_refused():
    lanes = Lanes()
    lanes.take(Note(1, 1, 60))
    with pytest.raises(InputError, match=r"in the order of their onsets, got 0\.5 s after 1 s"):
        lanes.take(Note(0.5, 1, 60))
