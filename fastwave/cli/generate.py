"""`fastwave generate`: sound or text from a model."""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..generation.saving import check_place
from .options import (
    Verbs,
    add_conditioning,
    add_engine,
    add_model,
    add_verb,
    check_file,
    check_model,
    load_any_model,
    read_input,
)
from .parser import number_above_zero, whole_number

if TYPE_CHECKING:
    from ..config import WaveNetConfig
    from ..generation.result import Result

STANDARD_OUTPUT = "-"


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "generate", generate, check)
    add_model(verb)
    add_engine(verb)
    add_conditioning(verb)
    verb.add_argument(
        "-o", "--output", metavar="FILE",
        help="where to save: .wav, .flac, .ogg, .mp3, or any name for text; - writes a .wav or text to standard output",
    )  # fmt: skip
    length = verb.add_mutually_exclusive_group()
    length.add_argument(
        "--seconds", type=number_above_zero, help="length of the sound (default: that of the conditioning, or 3)"
    )
    length.add_argument("--samples", type=whole_number(1), help="length in samples, or in characters of text")
    verb.add_argument("--seed", type=int, default=0, help="the same seed gives the same samples (default: 0)")
    verb.add_argument(
        "--temperature", type=float, default=1.0, help="below 1 is safer, 0 always takes the likeliest (default: 1)"
    )
    verb.add_argument("--top-k", type=whole_number(1), help="draw among the k likeliest classes only")
    verb.add_argument("--top-p", type=float, help="draw among the likeliest classes that hold this probability")
    verb.add_argument("--prime", metavar="FILE", help="continue this sound or text file")
    verb.add_argument("--prime-text", metavar="TEXT", help="continue this text")
    verb.add_argument("--include-prime", action="store_true", help="save the prime too, before what continues it")
    verb.add_argument(
        "--batch", type=whole_number(1), default=1, help="number of streams (default: 1), saved as -0, -1, ..."
    )
    verb.add_argument(
        "--save-every", type=float, metavar="SECONDS", help="also save the beginning this often; for text, characters"
    )


def check(options: argparse.Namespace) -> None:
    """Refuse what needs no model to be refused."""
    check_model(options)
    check_file("--prime", options.prime)
    check_file("--condition", options.condition)
    if options.prime is not None and options.prime_text is not None:
        raise InputError("give --prime or --prime-text, not both.")
    if options.include_prime and options.prime is None and options.prime_text is None:
        raise InputError("--include-prime needs a prime: give --prime FILE or --prime-text TEXT.")
    if options.output not in (None, STANDARD_OUTPUT):
        check_place(options.output)
    every = options.save_every
    if every is not None and (options.output in (None, STANDARD_OUTPUT) or not 0 < every < math.inf):
        raise InputError(f"--save-every {every:g} must be above 0, and needs a file to save in: -o FILE.")


def generate(options: argparse.Namespace) -> int:
    """Make sound or text and save it."""
    from ..generation.generate import generate as run

    model, config = load_any_model(options)
    text = not config.codec_object.is_audio
    _check_output(options, text)
    printed = options.output in (None, STANDARD_OUTPUT)
    begun = time.perf_counter()
    result = run(
        model,
        options.seconds,
        samples=options.samples,
        seed=options.seed,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        prime=_prime(options, config),
        include_prime=options.include_prime,
        condition=options.condition,
        speaker=options.speaker,
        batch=options.batch,
        backend=options.backend,
        dtype=options.dtype,
        threads=options.threads,
        progress=True,
        output=None if printed else options.output,
        save_every=_save_every(options, config),
    )
    elapsed = time.perf_counter() - begun
    if printed and text:
        print("\n\n".join(result.text))
    elif printed:
        _write_sound(result)
    if sys.stderr.isatty():
        count = sum(result.lengths)
        real = f", {count / elapsed / result.sample_rate:.2f} times real time" if result.sample_rate else ""
        print(f"{count} samples in {elapsed:.1f} s: {count / elapsed:,.0f} samples/s{real}", file=sys.stderr)
    return 0


def _save_every(options: argparse.Namespace, config: WaveNetConfig) -> int | None:
    every: float | None = options.save_every
    return None if every is None else max(1, round(every * (config.sample_rate or 1)))


def _check_output(options: argparse.Namespace, text: bool) -> None:
    """Refuse sound without a place to go to."""
    if text:
        return
    if options.output is None:
        raise InputError("this model makes sound: give -o FILE.wav (or .flac, .ogg, .mp3) to save it in.")
    if options.prime_text is not None:
        raise InputError("--prime-text is for models of text, and this one makes sound: give --prime FILE.")
    if options.output == STANDARD_OUTPUT:
        if sys.stdout.isatty():
            raise InputError("-o - would write sound to the terminal: send it to a program or a file, or give -o FILE.")
        if options.batch > 1:
            raise InputError(f"-o - takes one stream, not {options.batch}: leave out --batch, or give -o FILE.")


def _write_sound(result: Result) -> None:
    """A .wav on standard output. The sound library seeks in what it writes, so it writes a file first."""
    with tempfile.TemporaryDirectory() as folder:
        (path,) = result.save(Path(folder) / "sound.wav")
        sys.stdout.buffer.write(path.read_bytes())
        sys.stdout.buffer.flush()


def _prime(options: argparse.Namespace, config: WaveNetConfig) -> object:
    if options.prime_text is not None:
        return options.prime_text
    return None if options.prime is None else read_input(options.prime, config)
