"""compose(): a piece of music of about a wanted length, written by a model and played with some expression."""

from __future__ import annotations

import functools
import math
import os
import random

from ...engine.engine import Engine
from ...errors import InputError
from ...model import WaveNet
from ..notes import Piece
from .chorale import METRES, Form, parse_key
from .performing import TEMPO, perform, quarters
from .writing import Writer

BUNDLED = "chorale"
LONGEST = 3600.0  # seconds
PHRASES = (2, 8)  # of a verse; longer pieces have several
PHRASE_QUARTERS = {"4/4": 8, "3/4": 12}  # of the chorales that the bundled model was trained on
TEMPI = (68.0, 92.0)  # quarter notes a minute: how far the tempo bends towards the wanted length

Model = WaveNet | Engine | str | os.PathLike[str]


def compose(
    seconds: float = 30,
    *,
    key: str | None = None,
    seed: int = 0,
    temperature: float = 0.9,
    model: Model | None = None,
) -> Piece:
    """A chorale in four parts that ends on a cadence near `seconds`, as notes of four tracks.

    `key` is a name such as `Eb major` or `F# minor`; without one the seed chooses it. The model is a WaveNet of
    text, its Engine or the path of one, trained as recipes/chorales says; without one the bundled composer writes. The
    same seed gives the same piece.
    """
    seconds = _checked_seconds(seconds)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise InputError(f"seed must be an integer 0..2^64-1, got {seed!r}.")
    tonic, minor = parse_key(key) if key is not None else _drawn_key(seed)
    writer = Writer(_engine(model), temperature, seed)
    verses = [writer.choose(form) for form in plan(seconds, tonic, minor, seed)]
    total = sum(quarters(verse, verse is verses[-1]) for verse in verses)
    tempo = min(max(60.0 * total / seconds, TEMPI[0]), TEMPI[1])
    return perform(verses, seed, tempo, f"Chorale in {verses[0].form.key}")


def plan(seconds: float, tonic: int, minor: bool, seed: int) -> list[Form]:
    """The verses of a piece: the metre whose phrases come nearest to the length, and how many phrases each."""
    beats = seconds * TEMPO / 60.0
    rng = random.Random(seed)

    def misses(metre: str) -> float:
        count = max(1, round(beats / (1.08 * PHRASE_QUARTERS[metre])))
        return abs(math.log(beats / (1.08 * PHRASE_QUARTERS[metre] * count)))

    near = [metre for metre in METRES if misses(metre) < min(map(misses, METRES)) + 0.12]
    metre = rng.choice(near)
    phrases = max(1, round(beats / (1.08 * PHRASE_QUARTERS[metre])))
    verses = -(-phrases // PHRASES[1])
    return [Form(tonic, minor, metre, "eighths", (phrases + index) // verses) for index in range(verses)]


def _checked_seconds(seconds: object) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 1 <= seconds <= LONGEST:
        raise InputError(f"seconds must be a number from 1 to {LONGEST:g}, got {seconds!r:.40}.")
    return float(seconds)


def _drawn_key(seed: int) -> tuple[int, bool]:
    rng = random.Random(f"key {seed}")
    return rng.randrange(12), rng.random() < 0.45


def _engine(model: Model | None) -> Engine:
    if model is None:
        return _bundled()
    if isinstance(model, Engine):
        return model
    if not isinstance(model, (WaveNet, str, os.PathLike)):
        raise InputError(f"model is a WaveNet, an Engine or the path of a checkpoint, got {type(model).__name__}.")
    return Engine(model if isinstance(model, WaveNet) else WaveNet.from_pretrained(model), dtype="float32", threads=1)


@functools.cache
def _bundled() -> Engine:
    return Engine(WaveNet.from_pretrained(BUNDLED), dtype="float32", threads=1)
