"""The JSB chorales in sixteenths, from a JSON file that you have: as text to train on, and nats a token of a model.

The file is an object of "train", "valid" and "test"; each is a list of pieces, a piece a list of steps, a step the
MIDI keys of soprano, alto, tenor and bass, where null or a number below 1 is a rest.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools

import fastwave
from fastwave.errors import InputError
from fastwave.music.composer import text
from fastwave.music.composer.chorale import HELD, HIGHEST, LOWEST, MAX_STEPS, REST, Chorale, Form

PARTS = ("train", "valid", "test")
LARGEST = 1 << 26  # bytes of the file
MOST_PIECES = 10_000
SHIFTS = range(-5, 7)
PUBLISHED = {"Music Transformer": 0.335, "plain Transformer": 0.417, "Coconet": 0.436}  # nats a token


def read(path: Path) -> dict[str, list[Chorale]]:
    """The pieces of the three parts. A key that goes on is written as held: the file does not tell a new note."""
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: the file is over {LARGEST} bytes")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: this is not a readable JSON file ({str(error)[:100]})") from error
    if not isinstance(content, dict) or any(not isinstance(content.get(part), list) for part in PARTS):
        raise InputError(f"{path}: it must be an object with the lists train, valid and test")
    if sum(len(content[part]) for part in PARTS) > MOST_PIECES:
        raise InputError(f"{path}: it has more than {MOST_PIECES} pieces")
    return {
        part: [_piece(piece, f"{path}: {part}[{index}]") for index, piece in enumerate(content[part])] for part in PARTS
    }


def _piece(piece: object, place: str) -> Chorale:
    if not isinstance(piece, list) or not 1 <= len(piece) <= MAX_STEPS:
        raise InputError(f"{place} must be a list of 1 to {MAX_STEPS} steps")
    before, steps = [REST] * 4, []
    for number, row in enumerate(piece):
        if not isinstance(row, list) or len(row) != 4:
            raise InputError(f"{place}[{number}] must be a list of four keys")
        now = [_key(value, f"{place}[{number}]") for value in row]
        a, b, c, d = (HELD if new == old != REST else new for new, old in zip(now, before, strict=True))
        steps.append((a, b, c, d))
        before = now
    return Chorale(Form(grid="sixteenths"), tuple(steps))


def _key(value: object, place: str) -> int:
    if value is None:
        return REST
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value % 1:
        raise InputError(f"{place}: a key is a whole number or null, got {value!r:.40}")
    if value < 1:
        return REST
    if not LOWEST <= value <= HIGHEST:
        raise InputError(f"{place}: the keys go from {LOWEST} to {HIGHEST}, got {value!r:.40}")
    return int(value)


def write_texts(pieces: dict[str, list[Chorale]], folder: Path) -> None:
    """One file a piece: train/ in all keys that fit, valid/ and test/ as they are."""
    for part in PARTS:
        (folder / part).mkdir()
        for index, piece in enumerate(pieces[part]):
            shifted = map(piece.transposed, SHIFTS) if part == "train" else [piece]
            content = "".join(text.write(each) for each in shifted if each is not None)
            tools.write_text(folder / part / f"piece-{index:03d}.txt", content)


def nats_a_token(bits_of, pieces: list[Chorale]) -> float:  # type: ignore[no-untyped-def]
    """All nats of the texts, every character of them, by the published number of tokens: four a step.

    `bits_of(text)` are the bits a character of one text.
    """
    texts = [text.write(piece) for piece in pieces]
    bits = sum(bits_of(each) * len(each) for each in texts)
    return float(bits * math.log(2) / (4 * sum(len(piece.steps) for piece in pieces)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="the JSON file")
    parser.add_argument("--text", metavar="FOLDER", help="write the pieces as text into this new or empty folder")
    parser.add_argument("--model", metavar="RUN", help="say the nats a token of this model on the test part")
    options = parser.parse_args()
    if not options.text and not options.model:
        raise InputError("give --text FOLDER, --model RUN, or both")
    pieces = read(Path(options.file))
    print(", ".join(f"{len(pieces[part])} {part}" for part in PARTS) + " pieces")
    if options.text:
        write_texts(pieces, tools.empty_folder(options.text))
    if options.model:
        if not pieces["test"]:
            raise InputError(f"{options.file}: its test part is empty")
        model = fastwave.WaveNet.from_pretrained(options.model)
        print(f"{nats_a_token(lambda each: fastwave.score(model, each), pieces['test']):.3f} nats a token, this model")
        for name, nats in PUBLISHED.items():
            print(f"{nats:.3f} nats a token, {name}, as published")


if __name__ == "__main__":
    tools.run(main)
