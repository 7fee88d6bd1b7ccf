"""Make little stories in plain English from our own grammar, as .txt files, and say what entropy they have."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import grammar
import tools

from fastwave.errors import InputError

FILE_CHARACTERS = 100_000


def make(folder: Path, characters: int, seed: int) -> tuple[int, int]:
    """Write whole stories until there are at least `characters`; how many files and characters."""
    rng = np.random.default_rng(seed)
    files, written = 0, 0
    while written < characters:
        stories: list[str] = []
        length = 0
        while length < min(FILE_CHARACTERS, characters - written):
            stories.append(grammar.story(rng))
            length += len(stories[-1])
        tools.write_text(folder / f"stories-{files:05d}.txt", "".join(stories))
        files, written = files + 1, written + length
    return files, written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="new or empty folder for the text files")
    parser.add_argument("--characters", type=int, default=2_000_000, help="at least so many (2000000)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same files (0)")
    options = parser.parse_args()
    if not 1 <= options.characters <= 10**9:
        raise InputError(f"--characters must be from 1 to 1000000000, got {options.characters}")
    if options.seed < 0:
        raise InputError(f"--seed must be 0 or more, got {options.seed}")
    begun = time.perf_counter()
    folder = tools.empty_folder(options.out)
    files, characters = make(folder, options.characters, options.seed)
    print(
        f"{folder}: {files} files, {characters} characters, {len(grammar.vocabulary())} different words, "
        f"{grammar.bits_per_character():.4f} bits a character, in {time.perf_counter() - begun:.1f} s"
    )


if __name__ == "__main__":
    tools.run(main)
