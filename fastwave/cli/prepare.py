"""`fastwave prepare`: decode the files of a folder once, before training."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InputError
from .options import Verbs, add_verb, check_data
from .plan import add_data_options, choices_of


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "prepare", prepare, check_data)
    add_data_options(verb)
    verb.add_argument("--out", required=True, metavar="DATA", help="the folder for the prepared data")


def prepare(options: argparse.Namespace) -> int:
    """Decode a folder of sound or text once, into files that training reads."""
    from ..data.prepare import levels_in_words
    from ..data.prepare import prepare as make
    from ..training.choices import keep_level, settle
    from ..training.start import report_skipped

    _, preparation = settle(keep_level(choices_of(options), Path(options.out)))
    if preparation is None:
        raise InputError(f"{options.folder} holds prepared data already.")
    index = make(options.folder, options.out, preparation, options.workers, progress=True)
    report_skipped(index["skipped"], Path(options.out))
    samples = sum(file["samples"] for file in index["files"])
    length = (
        f"{samples / preparation.sample_rate / 60:.1f} minutes" if preparation.sample_rate else f"{samples:,} bytes"
    )
    print(f"{len(index['files'])} files, {length}, {len(index['skipped'])} skipped, in {options.out}")
    if preparation.sample_rate:
        print(levels_in_words(index))
    unit = "sample" if preparation.sample_rate else "character"
    print(
        f"guessing from how often each value occurs costs {index['order0_bits']:.3f} bits a {unit}, "
        f"white noise {index['white_noise_bits']:.3f}"
    )
    return 0
