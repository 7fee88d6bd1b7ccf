"""`fastwave score`: how well a model predicts files."""

from __future__ import annotations

import argparse
import math

from ..errors import InputError
from .options import (
    Verbs,
    add_conditioning,
    add_engine,
    add_json,
    add_verb,
    check_file,
    check_model,
    load_model,
    print_json,
    read_input,
)


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "score", score, check)
    verb.add_argument("model", metavar="MODEL", help="a checkpoint folder, or the name of a bundled model")
    verb.add_argument("files", nargs="+", metavar="FILE", help="sound or text files")
    add_engine(verb, dtype="float32")
    add_conditioning(verb)
    add_json(verb)


def check(options: argparse.Namespace) -> None:
    """Refuse what needs no model to be refused."""
    check_model(options)
    for path in options.files:
        check_file("FILE", path)
    check_file("--condition", options.condition)
    if options.condition is not None and len(options.files) > 1:
        raise InputError(
            f"--condition {options.condition} belongs to one sound, but {len(options.files)} files were given: score "
            "them one at a time, each with its own --condition."
        )


def score(options: argparse.Namespace) -> int:
    """Bits a sample for each file."""
    from ..generation.score import score as run

    model, config = load_model(options)
    rows = []
    for path in options.files:
        bits = run(
            model,
            read_input(path, config),
            condition=options.condition,
            speaker=options.speaker,
            backend=options.backend,
            dtype=options.dtype,
            threads=options.threads,
        )
        if not options.json:
            print(f"{bits:.4f}\t{path}")
        rows.append({"file": path, "bits": bits if math.isfinite(bits) else None})
    if options.json:
        print_json(rows)
    return 0
