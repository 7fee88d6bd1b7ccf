"""recipes/music: the measures of how notes begin and end see late onsets, bursts and clicks."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "music"
if not RECIPE.is_dir():
    pytest.skip("recipes/ is not beside tests/", allow_module_level=True)
before = list(sys.path)
sys.path.insert(0, str(RECIPE))  # as `python recipes/music/...` does
import edges  # noqa: E402

sys.path[:] = before
NOTES = edges.detached(48, 84, 6, random.Random(1))


def played(late=0.0, burst=0.0, click=0.0):
    """The notes as sines that die away within 0.1 s of their release, each with the same fault."""
    time = np.arange(round((NOTES[-1].end + 1) * edges.OURS)) / edges.OURS
    sound = 1e-5 * np.random.default_rng(0).normal(size=len(time))
    for note in NOTES:
        since = time - note.onset - late
        envelope = np.clip(since / 0.01, 0, 1) * np.exp(-np.maximum(0, time - note.end) / 0.1)
        sound += 0.1 * envelope * np.sin(2 * np.pi * 440 * 2 ** ((note.key - 69) / 12) * since)
        sound += burst * (np.abs(time - note.end - 0.2) < 0.02) * np.sin(5000 * time)
        sound[round((note.end + 0.15) * edges.OURS)] += click
    return edges.edges(NOTES, sound, "flute")


def test_an_onset_is_measured_from_the_time_that_a_note_asks_for():
    clean, late = played(), played(late=0.012)
    assert [one.onsets for one in clean] == [pytest.approx((0.001, 0.005), abs=0.002)] * len(NOTES)
    for one, other in zip(clean, late, strict=True):
        assert np.subtract(other.onsets, one.onsets) == pytest.approx([0.012, 0.012], abs=2e-4)
    assert edges.summary(clean, late).split(" | ")[1] == "12.0, 12.0, 0%"


@pytest.mark.parametrize(("fault", "kind", "least"), [({"burst": 0.05}, "rise", 3), ({"click": 0.03}, "jump", 6)])
def test_a_burst_and_a_click_in_a_decay_are_seen(fault, kind, least):
    assert max(getattr(edge, kind) for edge in played()) < 1
    assert min(getattr(edge, kind) for edge in played(**fault)) > least


def test_a_sound_that_is_cut_off_is_a_click():
    sound = np.sin(0.3 * np.arange(3 * edges.OURS))
    cut = 14_560 + int(np.argmax(np.abs(sound[14_560:14_570])))  # at a crest, within the release of the note
    sound[cut + 1 :] = 0
    assert edges.edges([edges.Note(0.2, 0.6, 60, 80)], sound, "flute")[0].jump > 6


def test_what_is_left_of_the_note_before_hides_an_onset():
    sound = np.sin(0.3 * np.arange(3 * edges.OURS))
    assert edges.edges([edges.Note(1.0, 0.5, 60, 80)], sound, "flute")[0].onsets is None
