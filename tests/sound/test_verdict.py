"""The measures of one sound and the verdict on it, each against a sound that is known to have that fault."""

import json
import time

import numpy as np
import pytest

from fastwave.errors import InputError
from fastwave.sound import measures, verdict

RATE = 16_000


def melody(seconds=3.0, rate=RATE, seed=0):
    """Notes that die away, a new pitch each quarter of a second: nothing is wrong with it."""
    rng = np.random.default_rng(seed)
    notes = []
    for _ in range(round(4 * seconds)):
        place = np.arange(rate // 4) / rate
        frequency = 220 * 2 ** (rng.integers(0, 13) / 12)
        partials = sum(np.sin(2 * np.pi * n * frequency * place) / n for n in (1, 2, 3))
        notes.append(0.2 * partials * np.exp(-6 * place) * np.clip(200 * np.minimum(place, 0.25 - place), 0, 1))
    return np.concatenate(notes)


def noise(seconds=3.0, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, round(seconds * RATE))


def jittery_vowel(seconds=3.0):
    """What a half-trained model makes that is stuck: one vowel, no two periods alike."""
    rng = np.random.default_rng(0)
    wave, place = np.zeros(round(seconds * RATE)), 0.0
    ring = np.exp(-np.arange(150) / 30) * np.cos(np.arange(150) * 0.3)
    while place < len(wave) - 150:
        wave[int(place) : int(place) + 150] += 0.3 * ring
        place += 100 * (1 + 0.03 * rng.normal())
    return wave + 0.01 * rng.normal(size=len(wave))


def of(wave, rate=RATE):
    return measures.of(wave, rate)


# Verdicts


def test_a_melody_sounds_ordinary():
    judged = verdict.of(melody(), RATE)
    assert str(judged) == "sounds ordinary" and judged.ordinary


@pytest.mark.parametrize(
    ("wave", "words"),
    [
        (np.zeros(48_000), "silent"),
        (1e-4 * melody(), "silent"),
        (0.02 * melody(), "very quiet"),
        (noise(), "noise: no pitch and a flat spectrum"),
        (0.05 * noise(), "noise: no pitch and a flat spectrum"),
        (np.clip(8 * melody(), -1, 1), "clipped"),
        (0.3 * np.sin(np.arange(48_000) * 0.1), "stuck on one sound"),
        (np.tile(melody(0.75), 6), "stuck on one sound"),
        (jittery_vowel(), "stuck on one sound"),
        (np.concatenate([melody(1.0), np.full(20_000, 0.25)]), "stuck on one sound"),
    ],
    ids=["silence", "-80 dB", "-50 dB", "noise", "soft noise", "clipped", "tone", "loop", "vowel", "held value"],
)
def test_each_fault_has_its_words(wave, words):
    assert str(verdict.of(wave, RATE)) == words


def test_two_faults_are_both_named_and_a_pause_is_none():
    assert verdict.of(np.clip(6 * np.sin(np.arange(48_000) * 0.1), -1, 1), RATE).problems == (
        "stuck on one sound",
        "clipped",
    )
    assert verdict.of(np.concatenate([melody(2.0), np.zeros(20_000), melody(2.0, seed=1)]), RATE).ordinary


def test_one_short_note_is_not_stuck():
    assert verdict.of(0.3 * np.sin(np.arange(RATE) * 0.1), RATE).ordinary


@pytest.mark.alone
def test_three_seconds_are_judged_in_less_than_300_ms_of_processor_time():
    wave = melody()
    verdict.of(wave, RATE)  # FFT plans
    times = []
    for _ in range(3):
        begun = time.process_time()
        verdict.of(wave, RATE)
        times.append(time.process_time() - begun)
    assert min(times) < 0.3


# Measures


def test_levels_of_a_sine_are_what_they_are_by_definition():
    measured = of(0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE))
    assert measured.seconds == 2 and measured.sample_rate == RATE
    assert measured.peak_db == pytest.approx(-6.02, abs=0.01)
    assert measured.rms_db == pytest.approx(-9.03, abs=0.01)
    assert measured.noise_floor_db == pytest.approx(-9.03, abs=0.1)
    assert measured.flatness < 0.01 and measured.repetition > 0.99


def test_silence_and_the_noise_floor_are_those_of_the_quiet_frames():
    hiss = 0.001 * noise(1.0)  # -65 dB, and above 4 kHz half of its power: -68 dB
    measured = of(np.concatenate([melody(1.0), hiss]))
    assert measured.silent_share == pytest.approx(0.5, abs=0.05)
    assert measured.noise_floor_db == pytest.approx(-64.8, abs=1)
    assert measured.hiss_db == pytest.approx(-67.8, abs=1)
    assert of(melody(rate=8000), 8000).hiss_db is None


def test_a_single_sample_at_full_scale_is_counted_but_is_no_clipped_run():
    wave = melody()
    wave[1000] = 1.0
    measured = of(wave)
    assert (measured.clipped_share, measured.clipped_runs) == (pytest.approx(1 / len(wave)), 0)
    wave[2000:2003] = -1.0
    assert of(wave).clipped_runs == 1


@pytest.mark.parametrize("jump", [0.1, -0.3])
def test_clicks_are_counted_and_notes_and_noise_hold_none(jump):
    wave = melody()
    gaussian = 0.1 * np.random.default_rng(0).normal(size=3 * RATE)
    assert of(wave).clicks == of(noise()).clicks == of(gaussian).clicks == 0
    for place in (10_000, 20_000, 30_000):
        wave[place] += jump
    wave[40_000:] += jump  # a step is one too
    assert of(wave).clicks == 4


def test_pitch_is_found_at_any_level_and_its_percentiles_hold_the_notes():
    for gain in (1.0, 0.01):
        measured = of(gain * melody())
        assert measured.voiced_share > 0.9
        assert 219 <= measured.pitch_low_hz <= measured.pitch_hz <= measured.pitch_high_hz <= 441
    assert of(noise()).pitch_hz is None and of(noise()).voiced_share < 0.01


def test_the_longest_held_value_is_measured_and_silence_is_none():
    assert of(np.concatenate([melody(1.0), np.full(8000, 0.1)])).held_seconds == pytest.approx(0.5)
    assert of(np.concatenate([melody(1.0), np.zeros(8000)])).held_seconds < 0.01


@pytest.mark.parametrize("length", [1, 2, 100, 1000])
@pytest.mark.parametrize("rate", [100, 8000, 48_000])
def test_the_shortest_sounds_have_measures_that_are_json(length, rate):
    measured = of(np.full(length, 0.1), rate)
    text = json.dumps(measured.to_dict(), allow_nan=False)
    assert json.loads(text)["peak_db"] == pytest.approx(-20)
    str(verdict.of_measures(measured))


@pytest.mark.parametrize(
    "wave",
    [np.zeros(0), np.zeros((2, 100)), np.zeros(10, dtype=np.int16), np.array([0.0, np.nan]), "x.wav"],
    ids=["empty", "stereo", "integers", "NaN", "path"],
)
def test_what_is_no_wave_is_refused(wave):
    with pytest.raises(InputError):
        of(wave)
