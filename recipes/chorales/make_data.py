"""Make chorales of our own grammar as text, in all keys, and some that are held out."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import chorale_grammar
import tools

from fastwave.errors import InputError
from fastwave.music.composer import text
from fastwave.music.composer.chorale import Chorale

FILE_CHORALES = 50
TONICS = (0, 6)  # with SHIFTS: every key
SHIFTS = range(-3, 3)


def make(rng: np.random.Generator, count: int) -> list[Chorale]:
    """Chorales of the grammar in all keys, in no order."""
    keys = [(tonic, minor) for tonic in TONICS for minor in (False, True)]
    made = []
    for index, key in enumerate(keys):  # one key at a time: its voice leading is computed once
        for _ in range(count * index // len(keys), count * (index + 1) // len(keys)):
            chorale = chorale_grammar.chorale(rng, key=key)
            made.append(chorale.transposed(int(rng.choice(SHIFTS))) or chorale)
    return [made[index] for index in rng.permutation(len(made))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="new or empty folder: train/ and held-out/ will lie in it")
    parser.add_argument("--chorales", type=int, default=3000, help="so many to train on (3000)")
    parser.add_argument("--held-out", type=int, default=200, help="so many that are not in train/ (200)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same files (0)")
    options = parser.parse_args()
    for name, value in (("chorales", options.chorales), ("held-out", options.held_out)):
        if not 1 <= value <= 1_000_000:
            raise InputError(f"--{name} must be from 1 to 1000000, got {value}")
    if options.seed < 0:
        raise InputError(f"--seed must be 0 or more, got {options.seed}")
    begun, folder = time.perf_counter(), tools.empty_folder(options.out)
    rng = np.random.default_rng(options.seed)
    characters = steps = 0
    for name, count in (("held-out", options.held_out), ("train", options.chorales)):
        (folder / name).mkdir()
        chorales = make(rng, count)
        for first in range(0, len(chorales), FILE_CHORALES):
            part = chorales[first : first + FILE_CHORALES]
            content = "".join(map(text.write, part))
            tools.write_text(folder / name / f"chorales-{first // FILE_CHORALES:05d}.txt", content)
            characters, steps = characters + len(content), steps + sum(len(each.steps) for each in part)
    print(f"{folder}: {characters} characters, {steps} steps, in {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    tools.run(main)
