"""Make plucked-string melodies: Karplus-Strong strings on a pentatonic scale, one note at a time, as 8 s wav files."""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools

import fastwave.sound.audio
from fastwave.errors import InputError

Wave = NDArray[np.float64]

# A minor pentatonic from G3 to A5, in semitones above A4 = 440 Hz
SCALE = tuple(440 * 2 ** (semitone / 12) for semitone in (-14, -12, -9, -7, -5, -2, 0, 3, 5, 7, 10, 12))
FILE_SECONDS = 8.0
PEAK = 0.5
DAMPING_SECONDS = 0.010  # how fast a new note silences the one before it
LONGEST_NOTE = 0.6
PLUCKS = 24  # different plucks of each string: enough variety that a network cannot learn them by heart
_RING_SECONDS = 3.5  # in which the fundamental would fall by 60 dB


def string(frequency: float, plucks: int, seconds: float, sample_rate: int, rng: np.random.Generator) -> Wave:
    """[plucks, time], each with a peak of 1: a delay line of one period, fed back through a short filter.

    The filter is a three-tap lowpass, whose delay is exactly one sample, times a cubic Lagrange interpolator,
    whose delay is the fraction that tunes the string. No tap looks back less than `shortest` samples, so that
    many samples are computed at once.
    """
    period = sample_rate / frequency
    shortest = math.floor(period - 2)
    # per period, so that 3 kHz falls by 60 dB in 0.4 s on every string; beyond a quarter it would pass the treble again
    lowpass = min(0.25, 8.6 / frequency / (1 - math.cos(2 * math.pi * 3000 / sample_rate)))
    gain = 10 ** (-3 / (_RING_SECONDS * frequency))
    taps = gain * np.convolve([lowpass, 1 - 2 * lowpass, lowpass], _lagrange(1 + period - 2 - shortest))
    time_steps = math.ceil(seconds * sample_rate)
    start = shortest + len(taps) - 1
    wave = np.zeros((plucks, time_steps + start + shortest))
    wave[:, :start] = _excitation(period, plucks, start, rng)
    for now in range(start, time_steps + start, shortest):
        for lag, tap in enumerate(taps, shortest):
            wave[:, now : now + shortest] += tap * wave[:, now - lag : now - lag + shortest]
    wave = wave[:, :time_steps]
    return wave / np.abs(wave).max(axis=1, keepdims=True)


def _lagrange(delay: float) -> Wave:
    """Four taps that delay by `delay`, between 1 and 2 samples."""
    return np.array([math.prod((delay - j) / (k - j) for j in range(4) if j != k) for k in range(4)])


def _excitation(period: float, plucks: int, length: int, rng: np.random.Generator) -> Wave:
    """[plucks, length]: a string pulled aside a fifth of the way along and let go, with a little noise of the pick."""
    place = rng.uniform(0.16, 0.24, (plucks, 1))
    phase = 2 * math.pi * np.arange(length) / period
    partials = range(1, math.floor(0.45 * period) + 1)
    wave = sum(np.sin(math.pi * n * place) * np.sin(n * phase) / n for n in partials)
    noise = rng.standard_normal((plucks, length))
    return np.asarray(wave + 0.08 * (noise - noise.mean(axis=1, keepdims=True)))


def melody(seconds: float, rng: np.random.Generator) -> list[tuple[float, float, int, float]]:
    """(start, end, step of the scale, strength) of each note: a random walk in small steps on a steady beat."""
    beat = rng.uniform(0.18, LONGEST_NOTE / 3)
    step = int(rng.integers(len(SCALE)))
    notes = []
    start = rng.uniform(0.02, 0.05)
    while start < seconds:
        end = start + beat * rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15])
        notes.append((start, min(end, seconds), step, rng.uniform(0.6, 1.0)))
        move = int(rng.choice([-3, -2, -1, 0, 1, 2, 3], p=[0.05, 0.15, 0.25, 0.1, 0.25, 0.15, 0.05]))
        # a walk that would leave the scale turns back
        step = step + move if 0 <= step + move < len(SCALE) else step - move
        start = end
    return notes


def render(
    notes: list[tuple[float, float, int, float]], strings: list[Wave], sample_rate: int, rng: np.random.Generator
) -> Wave:
    """[time] of one file."""
    fade = 0.5 + 0.5 * np.cos(np.pi * np.linspace(0, 1, round(DAMPING_SECONDS * sample_rate)))
    wave = np.zeros(round(FILE_SECONDS * sample_rate) + len(fade))
    for start, end, step, strength in notes:
        first, last = round(start * sample_rate), round(end * sample_rate) + len(fade)
        sound = strings[step][rng.integers(PLUCKS), : last - first].copy()
        sound[-len(fade) :] *= fade
        wave[first:last] += strength * sound
    # the end of a damped note may stand under the start of the next
    return PEAK * wave[: -len(fade)] / max(1.0, np.abs(wave).max())


def make(folder: Path, minutes: float, seed: int, sample_rate: int) -> int:
    """Write the files into `folder`; how many."""
    rng = np.random.default_rng(seed)
    longest = LONGEST_NOTE + 2 * DAMPING_SECONDS
    strings = [string(frequency, PLUCKS, longest, sample_rate, rng) for frequency in SCALE]
    files = max(1, math.ceil(minutes * 60 / FILE_SECONDS))
    for index in range(files):
        wave = render(melody(FILE_SECONDS, rng), strings, sample_rate, rng)
        fastwave.sound.audio.save(folder / f"pluck-{index:05d}.wav", wave, sample_rate)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="new or empty folder for the wav files")
    parser.add_argument("--minutes", type=float, default=20.0, help="how much sound (20), rounded up to whole files")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same files (0)")
    parser.add_argument("--sample-rate", type=int, default=16000, help="in Hz, 8000 to 48000 (16000)")
    options = parser.parse_args()
    if not 0 < options.minutes <= 600:
        raise InputError(f"--minutes must be above 0 and at most 600, got {options.minutes}")
    if not 8000 <= options.sample_rate <= 48000:
        raise InputError(f"--sample-rate must be from 8000 to 48000 Hz, got {options.sample_rate}")
    if options.seed < 0:
        raise InputError(f"--seed must be 0 or more, got {options.seed}")
    begun = time.perf_counter()
    folder = tools.empty_folder(options.out)
    files = make(folder, options.minutes, options.seed, options.sample_rate)
    print(
        f"{folder}: {files} files, {files * FILE_SECONDS / 60:.1f} minutes at {options.sample_rate} Hz, "
        f"in {time.perf_counter() - begun:.1f} s"
    )


if __name__ == "__main__":
    tools.run(main)
