"""`fastwave instrument`: a band of instruments, learned from recordings of single notes."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InputError
from ..music import midi
from ..music.bands import RESIDUALS
from .options import Verbs, add_verb, check_material
from .parser import number_above_zero, whole_number

DEFAULT_MINUTES = 30.0


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "instrument", instrument, check)
    verb.add_argument("action", choices=("train",), metavar="train", help="make a band, or go on with making it")
    verb.add_argument(
        "folder",
        metavar="NOTES",
        help="recorded notes: notes.jsonl beside the sounds, or recordings with MIDI beside them, see docs/music.md",
    )
    verb.add_argument("--out", required=True, metavar="BAND", help="the band's folder; an existing one is resumed")
    verb.add_argument(
        "--minutes", type=number_above_zero, default=DEFAULT_MINUTES, help="for all of it (default: %(default)g)"
    )
    verb.add_argument("--steps", type=whole_number(1), help="length of each run, in place of --minutes")
    verb.add_argument(
        "--residual", choices=RESIDUALS, default="noise", help="what makes breath, bow and hammer (default: noise)"
    )
    verb.add_argument("--name", help="what the band is called (default: the name of its folder)")
    verb.add_argument("--licence", "--license", default="not stated", help="under which the band may be used")
    verb.add_argument("--provenance", default="not stated", help="who recorded the notes, and of what")
    verb.add_argument("--threads", type=whole_number(1), help="of torch")


def check(options: argparse.Namespace) -> None:
    """Refuse a folder without notes, before torch is imported."""
    check_material(options.folder, options.out, "recorded notes")
    folder = Path(options.folder)
    if not (folder / "notes.jsonl").is_file() and next(midi.files_in(folder), None) is None:
        raise InputError(
            f"{folder} holds no notes.jsonl, which says where the notes are, and no MIDI files beside its recordings: "
            "see docs/music.md."
        )


def instrument(options: argparse.Namespace) -> int:
    """Make instruments of recorded notes, for `fastwave music`. The same command again resumes it."""
    import torch

    from ..music.training import train

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    train(
        options.folder,
        options.out,
        options.minutes,
        name=options.name,
        licence=options.licence,
        provenance=options.provenance,
        steps=options.steps,
        residual=options.residual,
    )
    print(f"fastwave music SONG.mid --instrument {options.out} -o song.wav")
    return 0
