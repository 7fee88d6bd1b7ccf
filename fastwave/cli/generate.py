"""`fastwave generate`: sound or text from a model."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from ..errors import InputError
from .options import Verbs, add_conditioning, add_engine, add_model, add_verb, load_model, read_input

if TYPE_CHECKING:
    from ..config import WaveNetConfig


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "generate", generate)
    add_model(verb)
    add_engine(verb)
    add_conditioning(verb)
    verb.add_argument("-o", "--output", help="where to save: .wav, .flac, .ogg, .mp3, or any name for text")
    length = verb.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, help="length of the sound (default: that of the conditioning, or 3)")
    length.add_argument("--samples", type=int, help="length in samples, or in characters of text")
    verb.add_argument("--seed", type=int, default=0, help="the same seed gives the same samples (default: 0)")
    verb.add_argument(
        "--temperature", type=float, default=1.0, help="below 1 is safer, 0 always takes the likeliest (default: 1)"
    )
    verb.add_argument("--top-k", type=int, help="draw among the k likeliest classes only")
    verb.add_argument("--top-p", type=float, help="draw among the likeliest classes that hold this probability")
    verb.add_argument("--prime", metavar="FILE", help="continue this sound or text file")
    verb.add_argument("--prime-text", metavar="TEXT", help="continue this text")
    verb.add_argument("--batch", type=int, default=1, help="number of streams (default: 1), saved as -0, -1, ...")
    verb.add_argument(
        "--save-every", type=float, metavar="SECONDS", help="also save the beginning this often; for text, characters"
    )


def generate(options: argparse.Namespace) -> int:
    """Make sound or text and save it."""
    from ..generation.generate import generate as run

    model, config = load_model(options)
    text = not config.codec_object.is_audio
    if options.output is None and not text:
        raise InputError("this model makes sound: give -o FILE.wav (or .flac, .ogg, .mp3) to save it in.")
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
        condition=options.condition,
        speaker=options.speaker,
        batch=options.batch,
        backend=options.backend,
        dtype=options.dtype,
        threads=options.threads,
        progress=True,
        output=options.output,
        save_every=_save_every(options, config),
    )
    elapsed = time.perf_counter() - begun
    if options.output is None:
        print("\n\n".join(result.text))
    if sys.stderr.isatty():
        count = sum(result.lengths)
        real = f", {count / elapsed / result.sample_rate:.2f} times real time" if result.sample_rate else ""
        print(f"{count} samples in {elapsed:.1f} s: {count / elapsed:,.0f} samples/s{real}", file=sys.stderr)
    return 0


def _prime(options: argparse.Namespace, config: WaveNetConfig) -> object:
    if options.prime is not None and options.prime_text is not None:
        raise InputError("give --prime or --prime-text, not both.")
    if options.prime_text is not None:
        return options.prime_text
    return None if options.prime is None else read_input(options.prime, config)


def _save_every(options: argparse.Namespace, config: WaveNetConfig) -> int | None:
    every: float | None = options.save_every
    if every is None:
        return None
    if options.output is None or not every > 0:
        raise InputError("--save-every needs -o and a length above 0.")
    return max(1, round(every * (config.sample_rate or 1)))
