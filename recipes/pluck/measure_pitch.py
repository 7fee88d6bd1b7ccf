"""Measure how well a sound is in tune: the share of its voiced frames whose pitch is near a note of the scale."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import tools
from make_data import SCALE

import fastwave.sound.audio
from fastwave.sound import pitch

LOWEST, HIGHEST = 150.0, 1250.0  # the range searched: well beyond the scale on both sides
SILENCE = 0.01  # root mean square of a frame: 31 dB below a plucked note's start
_SHORTEST_NOTE = 5  # frames of 10 ms
_ATTACK = 1.4  # the level rises by this factor within 30 ms where the same note is plucked again


@dataclass(frozen=True)
class Measure:
    """One sound. `voiced` and `silent` are shares of all frames."""

    seconds: float
    within_50: float  # share of the voiced frames within 50 cents of a note
    within_30: float
    voiced: float
    silent: float
    notes: int
    level: float
    peak: float
    clipped: int


def measure(wave: NDArray[np.float64], sample_rate: int) -> Measure:
    """wave [time] in [-1, 1]"""
    track = pitch.track(wave, sample_rate, LOWEST, HIGHEST, SILENCE)
    step, distance = nearest_note(track.pitch[track.voiced])
    every_step = np.full(len(track.pitch), -1)
    every_step[track.voiced] = step
    frames = max(1, len(track.pitch))
    return Measure(
        seconds=len(wave) / sample_rate,
        within_50=float((distance <= 50).mean()) if len(distance) else 0.0,
        within_30=float((distance <= 30).mean()) if len(distance) else 0.0,
        voiced=float(track.voiced.sum() / frames),
        silent=float((track.level < SILENCE).sum() / frames),
        notes=count_notes(every_step, track.level),
        level=float(np.sqrt((wave**2).mean())) if len(wave) else 0.0,
        peak=float(np.abs(wave).max(initial=0.0)),
        clipped=int((np.abs(wave) >= 0.999).sum()),
    )


def nearest_note(frequencies: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The nearest step of the scale, and the distance to it in cents."""
    distance = np.abs(pitch.cents(frequencies[:, None], np.array(SCALE)))
    return distance.argmin(axis=1), distance.min(axis=1)


def count_notes(step: NDArray[np.intp], level: NDArray[np.float64]) -> int:
    """Runs of at least 50 ms on one step of the scale (-1 = not voiced), cut where the level jumps up."""
    notes, length = 0, 0
    for now in range(len(step)):
        struck = now >= 3 and level[now] > _ATTACK * level[now - 3] and length >= _SHORTEST_NOTE
        length = length + 1 if now and step[now] == step[now - 1] and step[now] >= 0 and not struck else 0
        notes += length == _SHORTEST_NOTE - 1
    return notes


def chance(within: float) -> float:
    """The share of pitches within so many cents of a note, for pitches spread evenly (in cents) over the scale."""
    notes = pitch.cents(np.array(SCALE), SCALE[0])
    covered = np.minimum(np.diff(notes), 2 * within).sum()
    return float(covered / notes[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sound", nargs="+", help="wav files, or folders of them")
    options = parser.parse_args()
    print(f"pitch within 50 and 30 cents of the scale: chance gives {chance(50):.0%} and {chance(30):.0%}")
    print("  50 c   30 c  voiced  silent  notes/s  level   peak  clipped  file")
    measures = []
    for file in tools.files_of(options.sound, (".wav", ".flac")):
        wave, sample_rate = fastwave.sound.audio.load(file)
        measures.append(measure(wave.numpy().astype(np.float64), sample_rate))
        print(row(measures[-1], str(file)))
    if len(measures) > 1:
        print(row(mean(measures), f"all {len(measures)}"))


def mean(measures: list[Measure]) -> Measure:
    """Of several sounds, each weighted by its length."""
    seconds = sum(each.seconds for each in measures)
    voiced = sum(each.voiced * each.seconds for each in measures) or 1.0
    return Measure(
        seconds=seconds,
        within_50=sum(each.within_50 * each.voiced * each.seconds for each in measures) / voiced,
        within_30=sum(each.within_30 * each.voiced * each.seconds for each in measures) / voiced,
        voiced=sum(each.voiced * each.seconds for each in measures) / seconds,
        silent=sum(each.silent * each.seconds for each in measures) / seconds,
        notes=sum(each.notes for each in measures),
        level=float(np.sqrt(sum(each.level**2 * each.seconds for each in measures) / seconds)),
        peak=max(each.peak for each in measures),
        clipped=sum(each.clipped for each in measures),
    )


def row(measured: Measure, name: str) -> str:
    return (
        f"{measured.within_50:6.1%} {measured.within_30:6.1%} {measured.voiced:7.1%} {measured.silent:7.1%} "
        f"{measured.notes / measured.seconds:8.2f} {measured.level:6.3f} {measured.peak:6.3f} "
        f"{measured.clipped:8d}  {name}"
    )


if __name__ == "__main__":
    tools.run(main)
