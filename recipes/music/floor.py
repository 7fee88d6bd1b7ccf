"""How near a model can come to a tone that is never twice the same, by the constant-Q error of measure.py.

    python recipes/music/floor.py data/notes

Held notes are compared with themselves from 0.3 s after their onset until they are let go, each frame at the level of
the note's mean.

    steady     against their own mean in time: the least error that a tone which does not change can have
    another    against themselves half a second later: the error of another drawing of the same tone
"""

from __future__ import annotations

import argparse
from pathlib import Path

import librosa
import numpy as np

from fastwave.music import corpus
from fastwave.music.analysis import FRAMES, LEAD

RATE, HOP = FRAMES.sample_rate, 256
FIRST, LATER, LEAST = 0.3, 0.5, 1.4  # seconds: where a tone stands, how much later it is another, how long it is held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notes", type=Path)
    parser.add_argument("--instruments", nargs="+", default=["strings", "violin", "cello", "flute", "horn", "organ"])
    arguments = parser.parse_args()
    notes = [note for note in corpus.read(arguments.notes) if note.instrument in arguments.instruments]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in arguments.instruments}
    for note, wave in zip(notes, corpus.waves(arguments.notes, notes), strict=True):
        if note.held >= LEAST:
            found[note.instrument].append(errors(wave[LEAD : LEAD + round(note.held * RATE)]))
    print("| | notes | steady | another |\n|---|---|---|---|")
    for name, each in found.items():
        steady, another = np.median(each, axis=0)
        print(f"| {name} | {len(each)} | {steady:.2f} | {another:.2f} |")


def errors(wave: np.ndarray) -> tuple[float, float]:
    """Of one held note."""
    spectra = librosa.cqt(wave.astype(np.float32), sr=RATE, hop_length=HOP, fmin=librosa.note_to_hz("C2"), n_bins=72)
    tone = np.abs(spectra)[:, round(FIRST * RATE / HOP) : len(wave) // HOP - round(0.05 * RATE / HOP)]
    tone = tone / np.linalg.norm(tone, axis=0, keepdims=True)
    later = round(LATER * RATE / HOP)
    steady = np.linalg.norm(tone - tone.mean(axis=1, keepdims=True)) / np.linalg.norm(tone)
    another = np.linalg.norm(tone[:, later:] - tone[:, :-later]) / np.linalg.norm(tone[:, :-later])
    return float(steady), float(another)


if __name__ == "__main__":
    main()
