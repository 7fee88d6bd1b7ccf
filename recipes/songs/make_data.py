"""Songs as training data at 8 kHz: the recordings of each song are mixed, made mono, resampled and cut into pieces.

    python recipes/songs/make_data.py songs/usr/share/games/fretsonfire/data/songs data/songs

A song is a folder of sound files of one length, which sound together: `song.ogg` and `guitar.ogg` are the band and its
guitar. A folder with one file is a song, too.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools

import fastwave.sound.audio
from fastwave.errors import InputError

SAMPLE_RATE = 8000
SUFFIXES = (".ogg", ".flac", ".mp3", ".wav")
ALIKE = 0.1  # seconds: recordings of one song differ by less


def mix(files: list[Path]) -> NDArray[np.float32]:
    """The sum of recordings that begin together, [time]; its peak is at most 1."""
    waves = [fastwave.sound.audio.load(file, SAMPLE_RATE)[0].numpy() for file in files]
    lengths = [len(wave) for wave in waves]
    if max(lengths) - min(lengths) > ALIKE * SAMPLE_RATE:
        seconds = ", ".join(
            f"{file.name} {length / SAMPLE_RATE:.1f} s" for file, length in zip(files, lengths, strict=True)
        )
        raise InputError(
            f"{files[0].parent}: the recordings of a song must have one length, got {seconds}: move other songs to "
            "folders of their own"
        )
    mixed = np.sum([wave[: min(lengths)] for wave in waves], axis=0, dtype=np.float32)
    return np.asarray(mixed / max(1.0, float(np.abs(mixed).max(initial=0.0))), dtype=np.float32)


def pieces(wave: NDArray[np.float32], seconds: float) -> list[NDArray[np.float32]]:
    """Consecutive stretches of equal length, the nearest to `seconds` that leaves no rest."""
    return np.array_split(wave, max(1, round(len(wave) / (seconds * SAMPLE_RATE))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs", help="a folder with a folder for each song, at any depth")
    parser.add_argument("out", help="new or empty folder for the pieces")
    parser.add_argument("--seconds", type=float, default=15.0, help="about how long a piece is (15)")
    options = parser.parse_args()
    if not 2 <= options.seconds <= 600:
        raise InputError(f"--seconds must be from 2 to 600, got {options.seconds}")
    songs: dict[Path, list[Path]] = {}
    for file in tools.files_of([options.songs], SUFFIXES):
        songs.setdefault(file.parent, []).append(file)
    folder = tools.empty_folder(options.out)
    for song, files in sorted(songs.items()):
        wave = mix(files)
        cut = pieces(wave, options.seconds)
        for number, piece in enumerate(cut):
            fastwave.sound.audio.save(folder / f"{song.name}-{number:03d}.wav", piece, SAMPLE_RATE)
        print(f"{song.name}: {len(files)} recordings, {len(wave) / SAMPLE_RATE:.0f} s, {len(cut)} pieces")


if __name__ == "__main__":
    tools.run(main)
