"""How a note begins: found in a recording, kept in a row, played."""

import numpy as np
import pytest

from fastwave.music import analysis, attacks, harmonics
from fastwave.music.analysis import FRAMES, LEAD
from fastwave.music.attacks import Attack
from fastwave.music.notes import hertz

RATE = FRAMES.sample_rate


def note(begin, rise, key=64, seconds=0.6):
    """A tone whose attack begins so many samples after the onset."""
    samples = LEAD + round(seconds * RATE)
    turns = 2 * np.pi * hertz(key) / RATE * np.arange(samples)
    return Attack(LEAD + begin, rise).gain(samples) * (0.3 * np.sin(turns) + 0.1 * np.sin(3 * turns))


def onset(wave, part):
    """When the level comes to this part of the highest, in samples after LEAD."""
    level = np.sqrt(np.convolve(wave**2, np.ones(48) / 48, "same"))
    return int(np.argmax(level >= part * level.max())) - LEAD


@pytest.mark.parametrize(("begin", "rise"), [(0, 32), (100, 48), (150, 160), (40, 300)])
def test_delay_and_rise_of_a_note_are_found(begin, rise):
    found = attacks.of(note(begin, rise), LEAD)
    assert found.begin - LEAD == pytest.approx(begin, abs=24) and found.rise == pytest.approx(rise, rel=0.2, abs=32)


@pytest.mark.parametrize(("begin", "rise"), [(0, 32), (100, 48), (150, 160), (40, 300)])
def test_what_is_learned_of_a_note_puts_its_onset_within_a_millisecond_and_a_half(begin, rise):
    wave = note(begin, rise)
    rows = analysis.analyse(wave, 64).rows
    levels = rows[:, analysis.TONE : analysis.TONE + 3]
    again = harmonics.tone(levels, rows[:, FRAMES.log_f0], analysis.attack_of(rows), FRAMES)
    for part in (0.1, 0.5):
        assert onset(again, part) == pytest.approx(onset(wave, part), abs=24)


def test_nothing_is_heard_before_the_attack_and_all_after_it():
    gain = Attack(100.0, 50.0).gain(200)
    assert not gain[:101].any() and gain[125] == 0.5 and (gain[150:] == 1).all()
    assert Attack(100.0, 50.0).at_once() == (100.0, attacks.LEAST)


def test_silence_and_a_note_shorter_than_its_attack_have_an_attack():
    for wave in (np.zeros(4_000), np.zeros(LEAD + 1), note(0, 32, seconds=0.01)):
        found = attacks.of(wave, LEAD)
        assert LEAD <= found.begin <= LEAD + attacks.LATEST and attacks.LEAST <= found.rise <= attacks.MOST


def test_rows_that_ask_for_an_impossible_attack_have_the_nearest():
    rows = np.zeros((20, analysis.WIDTH))
    rows[:, analysis.BEGIN], rows[:, analysis.RISE] = -3.0, 9.0
    assert analysis.attack_of(rows) == (LEAD, pytest.approx(attacks.MOST))
    rows[:, analysis.BEGIN] = 99.0
    assert analysis.attack_of(rows).begin == LEAD + attacks.LATEST
