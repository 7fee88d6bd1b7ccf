"""Measure chorales: held-out data, what a model writes freely, what the composer makes of it, and a Markov control."""

from __future__ import annotations

import argparse
import dataclasses
import lzma
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools
from figures import Copies, Figures, measure
from markov_text import Markov

import fastwave
from fastwave.errors import InputError
from fastwave.music.composer import text
from fastwave.music.composer.chorale import Chorale, Form
from fastwave.music.composer.writing import Writer

LONGEST = 3000  # characters of one free chorale
Continue = Callable[[str, int, int], str]  # prime, characters, number of the piece -> text
ROWS = {
    "well-formed lines": ("lines", "{:.2%}"),
    "whole chorales": ("whole", "{:.0%}"),
    "beats that are triads": ("triads", "{:.1%}"),
    "beats that are seventh chords": ("sevenths", "{:.1%}"),
    "beats with two notes or one": ("open", "{:.1%}"),
    "notes out of their voice's range": ("out_of_range", "{:.2%}"),
    "parallel fifths, a hundred beats": ("fifths", "{:.2f}"),
    "parallel octaves, a hundred beats": ("octaves", "{:.2f}"),
    "crossings, a hundred beats": ("crossings", "{:.2f}"),
    "moves of a whole tone at most": ("together", "{:.1%}"),
    "steps between beats that move": ("moving", "{:.1%}"),
    "chorales that end at home": ("home", "{:.0%}"),
    "longest chord, beats": ("longest_chord", "{:.1f}"),
    "longest copied run, beats": ("copied", "{:.1f}"),
}


def freely(write: Continue, forms: list[Form]) -> str:
    """A text of one chorale a form, each as a model goes on from its header until an empty line."""
    made = []
    for number, form in enumerate(forms):
        prime = text.header(form) + "\n"
        content = write(prime, LONGEST, number)
        made.append(prime + content.split("\n\n")[0] + "\n\n")
    return "".join(made)


def by_model(model: fastwave.WaveNet, temperature: float) -> Continue:
    """A model that writes without any check, in parts until the chorale is over."""
    engine = fastwave.Engine(model, dtype="float32", threads=1)

    def write(prime: str, characters: int, number: int) -> str:
        made, parts = "", fastwave.stream(
            engine, samples=characters, seed=number, temperature=temperature, prime=prime, chunk=128
        )  # fmt: skip
        for part in parts:
            made += bytes(part.tokens[0].tolist()).decode("latin-1")
            if "\n\n" in made:
                break
        return made

    return write


def by_markov(chain: Markov) -> Continue:
    """The control, seeded by the number of the piece."""

    def write(prime: str, characters: int, number: int) -> str:
        made = ""
        while len(made) < characters and "\n\n" not in made:
            made += chain.write(np.random.default_rng([number, len(made)]), 128, (prime + made).encode("latin-1"))
        return made

    return write


def column(content: str, copies: Copies | None) -> dict[str, str]:
    """The figures of one text."""
    chorales, good, lines = text.read_tolerantly(content)
    figures: Figures | None = measure(chorales) if chorales else None
    values: dict[str, float] = dataclasses.asdict(figures) if figures else {}
    values["lines"] = good / max(lines, 1)
    values["whole"] = len(chorales) / max(content.count("\n\n"), 1)
    if copies is not None and chorales:
        values["copied"] = max(map(copies.longest, chorales))
    return {row: form.format(values[name]) if name in values else "" for row, (name, form) in ROWS.items()}


def xz_bits(train: str, held_out: str) -> float:
    """Bits a character that xz needs for a text, with the training text before it."""
    sizes = [len(lzma.compress(each.encode(), preset=9 | lzma.PRESET_EXTREME)) for each in (train, train + held_out)]
    return (sizes[1] - sizes[0]) * 8 / len(held_out)


def read_folder(folder: Path) -> tuple[str, list[Chorale]]:
    """All text in a folder, and its chorales."""
    content = "".join(file.read_text() for file in tools.files_of([str(folder)], (".txt",)))
    return content, text.read(content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a run, a folder with a model, or the name of a bundled one")
    parser.add_argument("data", help="the folder that make_data.py or read_bach.py wrote")
    parser.add_argument("--pieces", type=int, default=60, help="so many of each kind (60)")
    parser.add_argument("--temperature", type=float, default=0.9, help="of the model's draws (0.9)")
    options = parser.parse_args()
    if not 1 <= options.pieces <= 10_000:
        raise InputError(f"--pieces must be from 1 to 10000, got {options.pieces}")
    train, known = read_folder(Path(options.data) / "train")
    held_out, others = read_folder(Path(options.data) / "held-out")
    forms = [others[index % len(others)].form for index in range(options.pieces)]
    model, copies = fastwave.WaveNet.from_pretrained(options.model), Copies(known)

    chains = {order: Markov(train.encode(), order) for order in (4, 6, 8)}
    bits = {order: chain.bits(held_out.encode()[:8000]) for order, chain in chains.items()}
    best = min(bits, key=lambda order: bits[order])
    writer = Writer(fastwave.Engine(model, dtype="float32", threads=1), options.temperature, 0)
    begun = time.process_time()
    composed = [writer.choose(form) for form in forms]
    seconds = time.process_time() - begun

    columns = {
        "held out": column(held_out, copies),
        "model": column(freely(by_model(model, options.temperature), forms), copies),
        "composer": column("".join(map(text.write, composed)), copies),
        f"Markov, {best} letters": column(freely(by_markov(chains[best]), forms), copies),
    }
    print("| | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for row in ROWS:
        print(f"| {row} | " + " | ".join(cells[row] for cells in columns.values()) + " |")
    print(f"\nbits a character of the held-out text: model {fastwave.score(model, held_out):.3f}, ", end="")
    print(f"Markov {bits[best]:.3f}, xz behind the training text {xz_bits(train, held_out):.3f}")
    beats = sum(len(each.steps) for each in composed) / 2
    print(f"composed {len(composed)} pieces, {beats:.0f} beats, in {seconds:.1f} s of processor time: {writer.count}")


if __name__ == "__main__":
    tools.run(main)
