"""compose(): a piece of the wanted length and key, the same for the same seed, that ends on a cadence."""

import itertools
import time

import pytest

from fastwave import WaveNet, WaveNetConfig
from fastwave.errors import InputError
from fastwave.music.composer import compose, composing, performing, text
from fastwave.music.composer.chorale import Form
from fastwave.music.composer.composing import PHRASE_QUARTERS, PHRASES, plan
from small_chorales import CHORALE

(SMALL,) = text.read(CHORALE)


@pytest.fixture(scope="module")
def piece():
    return compose(10, key="Bb minor", seed=4)


def test_a_piece_has_four_parts_that_sound_together(piece):
    assert [track.name for track in piece.tracks] == ["soprano", "alto", "tenor", "bass"]
    assert len({track.program for track in piece.tracks}) == 4
    for track in piece.tracks:
        assert all(a.end <= b.onset for a, b in itertools.pairwise(track.notes))
    ends = [track.notes[-1].end for track in piece.tracks]
    assert max(ends) - min(ends) < 1e-6
    assert piece.title == "Chorale in Bb minor"


def test_a_piece_ends_at_home(piece):
    last = [track.notes[-1].key % 12 for track in piece.tracks]
    assert last[3] == 10 and set(last) <= {10, 1, 2, 5}


@pytest.mark.parametrize("seconds", [5, 12, 30])
def test_a_piece_is_about_as_long_as_wanted(seconds):
    assert compose(seconds, seed=1).seconds == pytest.approx(seconds, rel=0.35)


def test_the_same_seed_gives_the_same_piece_and_another_does_not(piece):
    assert compose(10, key="Bb minor", seed=4) == piece
    assert compose(10, key="Bb minor", seed=5) != piece


@pytest.mark.alone
def test_ten_seconds_are_composed_in_a_second_of_processor_time(piece):  # which has loaded the model
    times = []
    for seed in range(3):
        begun = time.process_time()
        compose(10, seed=seed)
        times.append(time.process_time() - begun)
    assert min(times) < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seconds": 0}, "seconds must be"),
        ({"seconds": 4000}, "seconds must be"),
        ({"seconds": float("nan")}, "seconds must be"),
        ({"seconds": True}, "seconds must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 1.5}, "seed must be"),
        ({"key": "H"}, "key is a tonic"),
        ({"model": 3}, "model is a WaveNet"),
        ({"temperature": -1.0}, "temperature"),
    ],
)
def test_what_cannot_be_composed_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        compose(**arguments)


def test_a_model_of_sound_is_refused():
    config = WaveNetConfig(residual_channels=8, skip_channels=8, dilations=(1, 2))
    with pytest.raises(InputError, match="model of text"):
        compose(5, model=WaveNet(config))


@pytest.mark.parametrize("seconds", [1, 7, 30, 90, 600, 3600])
def test_a_plan_fills_the_length_with_verses_that_the_model_knows(seconds):
    for seed in range(8):
        forms = plan(seconds, 3, True, seed)
        assert len({form.metre for form in forms}) == 1
        assert all(form.tonic == 3 and form.minor and 1 <= form.phrases <= PHRASES[1] for form in forms)
        quarters = sum(PHRASE_QUARTERS[form.metre] * form.phrases for form in forms)
        if seconds >= 7:
            assert quarters * 60 / performing.TEMPO == pytest.approx(seconds, rel=0.3)


def test_long_pieces_have_verses_of_alike_lengths():
    assert sorted(form.phrases for form in plan(60, 0, False, 0)) in ([5, 5], [4, 4], [4, 5], [6])


def test_the_end_slows_down_and_phrases_breathe():
    moments = performing.times(SMALL, 0.75, True)
    lengths = [after - before for before, after in itertools.pairwise(moments)]
    assert lengths[0] == pytest.approx(0.375)
    assert lengths[12] > lengths[10] > lengths[8] > lengths[0] and lengths[14] == pytest.approx(0.375 * 1.25)
    piece = performing.perform([SMALL], seed=0)
    for track in piece.tracks:
        before = max(note.end for note in track.notes if note.onset < moments[8])
        assert moments[8] - before == pytest.approx(performing.BREATH * 0.75)
    assert piece.seconds == pytest.approx(moments[-1], abs=0.05)


def test_only_the_last_verse_slows_down():
    verse = performing.perform([SMALL], tempo=60).seconds
    two = performing.perform([SMALL, SMALL], tempo=60)
    assert two.seconds == pytest.approx(verse + performing.quarters(SMALL, False), abs=1e-6)


def test_velocities_follow_the_seed_and_stay_in_range():
    notes = [track.notes for track in performing.perform([SMALL] * 20, seed=1).tracks]
    assert all(20 <= note.velocity <= 120 for part in notes for note in part)
    assert notes != [track.notes for track in performing.perform([SMALL] * 20, seed=2).tracks]
    means = [sum(note.velocity for note in part) / len(part) for part in notes]
    assert means[0] > means[3] > means[2] - 1 > means[1] - 6


def test_the_bundled_model_is_loaded_once():
    assert composing._engine(None) is composing._engine(None)


def test_a_form_without_phrases_cannot_be_written():
    writer = composing.Writer(composing._engine(None), 1.0, 0)
    with pytest.raises(InputError, match="number of phrases"):
        writer.write(Form(0, False, "4/4", "eighths", None))
