"""`fastwave bench`: how fast a model generates on this machine."""

from __future__ import annotations

import argparse
import time

from .. import __version__
from ..errors import InputError
from .options import Verbs, add_engine, add_model, add_verb, load_model


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "bench", bench)
    add_model(verb)
    add_engine(verb)
    verb.add_argument("--batch", type=int, default=1, help="streams generated together (default: 1)")
    verb.add_argument("--samples", type=int, default=4000, help="samples a stream in one timed run (default: 4000)")
    verb.add_argument("--repeats", type=int, default=7, help="timed runs (default: 7)")


def bench(options: argparse.Namespace) -> int:
    """How fast a model generates here, beside the limit of this machine."""
    from ..engine.engine import Engine
    from ..tools import measure
    from ..tools.doctor import examine, example

    model, config = load_model(options)
    findings = examine(model)
    failed = [finding.question for finding in findings if not finding.healthy]
    if failed:
        raise InputError(f"this model is not timed, because it fails: {'; '.join(failed)}. See fastwave doctor.")
    threads = options.threads or 1
    engine = Engine(model, options.backend, options.dtype, threads)
    limit = measure.ceiling(config, options.dtype)
    _, inputs = example(config, options.samples, options.batch)
    start = engine.start(options.batch, **inputs)
    engine.run(start.copy(), options.samples, **inputs)  # warm-up
    seconds = []
    for _ in range(options.repeats):
        state = start.copy()
        begun = time.perf_counter()
        engine.run(state, options.samples, **inputs)
        seconds.append(time.perf_counter() - begun)
    row = measure.make_row(
        f"generate {options.model or options.untrained} {engine.backend}",
        options.samples * options.batch,
        seconds,
        findings[-1].detail,
        limit,
        dtype=options.dtype,
        batch=options.batch,
        threads=threads,
    )
    print(measure.table([row]))
    print(f"limit: {row.limit_reason}; proof: {row.proof}; {row.device}; fastwave {__version__}")
    return 0
