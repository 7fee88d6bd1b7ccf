"""`fastwave score`: how well a model predicts files."""

from __future__ import annotations

import argparse

from .options import Verbs, add_conditioning, add_engine, add_verb, load_model, read_input


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "score", score)
    verb.add_argument("model", metavar="MODEL", help="a checkpoint folder, or the name of a bundled model")
    verb.add_argument("files", nargs="+", metavar="FILE", help="sound or text files")
    add_engine(verb)
    add_conditioning(verb)


def score(options: argparse.Namespace) -> int:
    """Bits a sample for each file."""
    from ..generation.score import score as run

    model, config = load_model(options)
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
        print(f"{bits:.4f}\t{path}")
    return 0
