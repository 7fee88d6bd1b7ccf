"""B of stiff strings: found in notes, decided for an instrument, checked in a file."""

import numpy as np
import pytest

from fastwave.music import analysis, harmonics, stiffness
from fastwave.music.analysis import FRAMES, LEAD
from fastwave.music.notes import hertz
from fastwave.music.stiffness import Stiffness

RATE = FRAMES.sample_rate


def string(key, stretch, cents=0.0, seconds=1.0):
    """A plucked string that begins at LEAD, its harmonics as weak as their number is high."""
    f0 = hertz(key) * 2 ** (cents / 1200)
    time = np.arange(round(seconds * RATE)) / RATE
    partials = harmonics.ratios(stretch)[: harmonics.count(f0, stretch)] * f0
    wave = sum(np.sin(2 * np.pi * each * time + number**2) / number for number, each in enumerate(partials, 1))
    return np.concatenate([np.zeros(LEAD), 0.1 * wave * np.exp(-2 * time)])


@pytest.mark.parametrize(("key", "stretch"), [(40, 1e-4), (60, 4e-4), (76, 1.2e-3)])
@pytest.mark.parametrize("cents", [-7, 0, 9])
def test_the_stretch_of_a_string_is_found_however_it_is_tuned(key, stretch, cents):
    found = stiffness.of(string(key, stretch, cents), hertz(key), LEAD, RATE)
    assert found.stretch == pytest.approx(stretch, rel=0.15) and found.gain > stiffness.STIFF


@pytest.mark.parametrize("cents", [-12, 0, 20])
def test_a_tone_that_is_only_off_its_key_is_not_stretched(cents):
    found = stiffness.of(string(55, 0.0, cents), hertz(55), LEAD, RATE)
    assert found.stretch < 2e-5 and found.gain < stiffness.STIFF


def test_harmonics_of_a_string_leave_no_residual_where_its_stretch_is_known():
    wave, loud = string(60, 4e-4), slice(LEAD + 1_600, LEAD + 12_000)
    known, unknown = (analysis.analyse(wave, 60, stretch).residual for stretch in (4e-4, 0.0))
    assert np.std(known[loud]) < 0.03 * np.std(wave[loud]) < 0.3 * np.std(unknown[loud])


def test_a_played_tone_has_its_harmonics_where_the_stretch_puts_them():
    levels = np.tile(harmonics.levels(np.full(10, 0.05)), (160, 1))
    attack = analysis.attack_of(np.zeros((12, analysis.WIDTH)))
    wave = harmonics.tone(levels, np.full(160, np.log(300.0)), attack, FRAMES, 1e-3)[2_000:]
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 2**18))
    near = 300.0 * harmonics.ratios(1e-3)[9]
    bins = np.fft.rfftfreq(2**18, 1 / RATE)
    around = (bins > near - 100) & (bins < near + 100)
    assert near > 3_100 and bins[around][np.argmax(spectrum[around])] == pytest.approx(near, abs=1)


def test_an_instrument_is_stiff_by_its_median_note_and_a_key_has_the_median_of_its_nearest_notes():
    notes = [
        (60, Stiffness(3e-4, 1.2)),
        (60, Stiffness(4e-4, 1.2)),
        (60, Stiffness(9e-3, 1.01)),
        (72, Stiffness(1e-3, 1.3)),
    ]
    assert stiffness.of_keys(notes, [60, 61]) == {60: 4e-4, 61: 4e-4}
    assert stiffness.of_keys([(key, found._replace(gain=1.05)) for key, found in notes], [60]) == {60: 0.0}


@pytest.mark.parametrize(
    ("values", "good"),
    [
        ({}, True),
        ({"piano": [0.0, 1e-4]}, True),
        ({"piano": [0.0]}, False),
        ({"piano": [0.0, -1e-4]}, False),
        ({"piano": [0.0, 0.5]}, False),
        ({"piano": [0.0, "1"]}, False),
        ({"harp": [0.0, 0.0]}, False),
        ([], False),
    ],
)
def test_only_a_number_for_each_key_passes(values, good):
    assert stiffness.checked(values, {"piano": (60, 61)}) is good
