"""`fastwave voice`: a voice of recordings and their texts."""

from __future__ import annotations

import argparse

from ..speech.options import DEFAULT_MINUTES
from .options import Verbs, add_verb, check_material
from .parser import number_above_zero, whole_number


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "voice", voice, check)
    verb.add_argument("action", choices=("train",), metavar="train", help="make a voice, or go on with making it")
    verb.add_argument(
        "folder", metavar="DATA",
        help="recordings and texts: metadata.csv (NAME|TEXT) beside wavs/, or NAME.txt beside each NAME.wav",
    )  # fmt: skip
    verb.add_argument("--out", required=True, metavar="VOICE", help="the voice's folder; an existing one is resumed")
    verb.add_argument(
        "--minutes",
        type=number_above_zero,
        help=f"for all of it; a voice once begun keeps its own (default: {DEFAULT_MINUTES:g})",
    )
    verb.add_argument("--steps", type=whole_number(1), help="length of each run, in place of --minutes")
    verb.add_argument("--name", help="what the voice is called (default: the name of its folder)")
    verb.add_argument("--speaker", default="", help="who speaks")
    verb.add_argument("--licence", "--license", default="not stated", help="under which the voice may be used")
    verb.add_argument("--threads", type=whole_number(1), help="of torch and of the WaveNet")


def check(options: argparse.Namespace) -> None:
    """Refuse a folder that does not exist, before torch is imported."""
    check_material(options.folder, options.out, "recordings and their texts")


def voice(options: argparse.Namespace) -> int:
    """Make a voice of your recordings and their texts, for `fastwave speak`. The same command again resumes it."""
    from ..speech.training import train_voice

    train_voice(
        options.folder,
        options.out,
        options.minutes,
        steps=options.steps,
        name=options.name,
        speaker=options.speaker,
        licence=options.licence,
        threads=options.threads,
    )
    print(f'fastwave speak "Good morning." --voice {options.out} -o morning.wav')
    return 0
