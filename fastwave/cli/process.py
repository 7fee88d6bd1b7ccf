"""`fastwave process`: a recording through a model of an amplifier or a pedal."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InputError
from .options import Verbs, add_verb, check_file


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "process", process, check)
    verb.add_argument("model", metavar="MODEL", help="a model of Neural Amp Modeler: NAME.nam, architecture A1")
    verb.add_argument("input", metavar="INPUT", help="a recording of any sample rate")
    verb.add_argument(
        "-o", "--output", required=True, metavar="OUTPUT", help="where to save the sound: .wav, .flac, .ogg or .mp3"
    )


def check(options: argparse.Namespace) -> None:
    """Refuse what needs no model to be refused."""
    if Path(options.model).suffix.lower() != ".nam":
        raise InputError(
            f"MODEL {options.model}: give a file NAME.nam of Neural Amp Modeler. Models that make sound of their own "
            "are for fastwave generate."
        )
    check_file("MODEL", options.model)
    check_file("INPUT", options.input)
    if Path(options.output).resolve() == Path(options.input).resolve():
        raise InputError(f"-o {options.output} is the recording itself: give another name.")


def process(options: argparse.Namespace) -> int:
    """Play a recording through a model of an amplifier or a pedal (a .nam file), block by block."""
    from ..importers import nam
    from ..sound import audio

    amplifier = nam.load(Path(options.model))
    rate = amplifier.sample_rate
    audio.format_of(Path(options.output), rate)  # refused before the work
    audio.save_blocks(options.output, amplifier.process(audio.blocks(options.input, rate)), rate)
    return 0
