"""The pitch tracker: right within cents on known sounds, silent about noise, and free of octave errors."""

import shutil
import subprocess

import numpy as np
import pytest

from fastwave.sound import audio, pitch

RATE = 16_000


def tone(frequency, rate=RATE, seconds=0.5, partials=(1, 0.5, 0.3)):
    time = np.arange(round(seconds * rate)) / rate
    waves = (weight * np.sin(2 * np.pi * n * frequency * time + n) for n, weight in enumerate(partials, 1))
    return 0.2 * sum(waves)


def pulses(heights, frequency=200.0):
    """A vowel-like sound of pulses of these heights, one a period."""
    wave = np.zeros(round(len(heights) * RATE / frequency) + 200)
    ring = np.exp(-np.arange(60) / 8) * np.cos(np.arange(60) * 0.5)
    for index, height in enumerate(heights):
        first = round(index * RATE / frequency)
        wave[first : first + 60] += 0.3 * height * ring
    return wave


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 48_000])
@pytest.mark.parametrize("frequency", [55.0, 110.0, 246.9, 440.0, 1100.0])
def test_the_pitch_of_a_tone_is_right_within_three_cents_at_any_rate(frequency, rate):
    track = pitch.track(tone(frequency, rate), rate)
    assert track.voiced.all()
    assert np.abs(pitch.cents(track.pitch, frequency)).max() < 3


@pytest.mark.parametrize("partials", [(1, 1.5), (0.4, 1, 1), (1,), (0, 1, 1, 1)])
def test_strong_or_missing_partials_cause_no_octave_error(partials):
    track = pitch.track(tone(220.0, partials=partials), RATE)
    assert np.abs(pitch.cents(track.pitch, 220.0)).max() < 5


def test_a_glide_over_an_octave_is_followed_within_20_cents():
    seconds = 2.0
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * 110 * seconds / np.log(2) * (2 ** (time / seconds) - 1)
    track = pitch.track(0.3 * (np.sin(phase) + 0.5 * np.sin(2 * phase)), RATE)
    middles = np.arange(len(track.pitch)) * pitch.HOP_SECONDS + pitch.FRAME_SECONDS / 2
    assert track.voiced.all()
    assert np.abs(pitch.cents(track.pitch, 110 * 2 ** (middles / seconds))).max() < 20


def test_pulses_of_alternating_height_for_a_moment_do_not_halve_the_pitch():
    heights = [1.0] * 100
    heights[50:64:2] = [0.58] * 7  # 70 ms in which every second period is like the last but one only
    track = pitch.track(pulses(heights), RATE)
    assert np.abs(pitch.cents(track.pitch[track.voiced], 200.0)).max() < 50


def test_a_leap_of_an_octave_that_lasts_is_kept():
    wave = np.concatenate([tone(200.0, seconds=0.4), tone(400.0, seconds=0.4)])
    track = pitch.track(wave, RATE)
    assert abs(pitch.cents(np.median(track.pitch[:30]), 200.0)) < 5
    assert abs(pitch.cents(np.median(track.pitch[-30:]), 400.0)) < 5
    assert (np.abs(pitch.cents(track.pitch[45:], 400.0)) < 50).all()


@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
def test_noise_has_no_pitch(kind):
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.5, 0.5, 3 * RATE) if kind == "uniform" else 0.1 * rng.normal(size=3 * RATE)
    assert pitch.track(noise, RATE).voiced.mean() < 0.01


def test_silence_a_quiet_frame_and_a_sound_shorter_than_a_frame_are_unvoiced():
    assert not pitch.track(np.zeros(RATE), RATE).voiced.any()
    assert not pitch.track(0.01 * tone(200.0), RATE).voiced.any()
    assert pitch.track(0.01 * tone(200.0), RATE, silence=1e-4).voiced.all()
    assert len(pitch.track(tone(200.0)[:500], RATE).pitch) == 0


def test_pitches_outside_the_range_are_not_reported():
    track = pitch.track(tone(300.0), RATE, lowest=80, highest=200)
    assert ((track.pitch[track.voiced] >= 79) & (track.pitch[track.voiced] <= 201)).all()


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
@pytest.mark.parametrize(("voice", "lowest", "highest"), [("slt", 150, 185), ("rms", 85, 115)])
def test_most_of_speech_is_voiced_at_its_speakers_pitch_without_octave_jumps(voice, lowest, highest, tmp_path):
    text = "The quick brown fox jumps over the lazy dog, and then it went home to sleep until noon."
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(tmp_path / "x.wav")], check=True, timeout=60)
    wave, rate = audio.load(tmp_path / "x.wav")
    heard = pitch.track(wave.numpy(), rate)
    pitches = heard.pitch[heard.voiced]
    assert 0.6 < heard.voiced.mean() < 0.9
    assert lowest < np.median(pitches) < highest
    assert (np.abs(pitch.cents(pitches, np.median(pitches))) > 900).mean() < 0.01
