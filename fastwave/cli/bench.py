"""`fastwave bench`: how fast a model generates on this machine."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from .. import __version__
from ..errors import InputError
from ..generation.saving import check_place
from .options import Verbs, add_engine, add_json, add_model, add_verb, check_model, load_model, note, print_json
from .parser import whole_number


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "bench", bench, check)
    add_model(verb)
    verb.add_argument(
        "--all", action="store_true", help="every preset in every dtype, and training; takes a minute or two"
    )
    verb.add_argument("--markdown", metavar="FILE", help="also write the table of --all as Markdown, with the machine")
    add_engine(verb)
    for name, default, meaning in (
        ("--batch", 1, "streams generated together"),
        ("--samples", 4000, "samples a stream in one timed run"),
        ("--repeats", 7, "timed runs"),
    ):
        verb.add_argument(name, type=whole_number(1), default=default, help=f"{meaning} (default: {default})")
    add_json(verb)


def check(options: argparse.Namespace) -> None:
    """Refuse what needs no model to be refused."""
    if not options.all:
        if options.markdown is not None:
            raise InputError("--markdown writes the table of --all: give both.")
        check_model(options)
        return
    if options.model is not None or options.untrained is not None:
        raise InputError(f"--all measures the presets: leave out {options.model or '--untrained'}.")
    if options.markdown is not None:
        check_place(options.markdown)


def bench(options: argparse.Namespace) -> int:
    """How fast a model generates here, beside the limit of this machine."""
    if options.all:
        return _all(options)
    from ..engine.engine import Engine
    from ..engine.example import example
    from ..tools import measure
    from ..tools.doctor import examine

    model, config = load_model(options)
    findings = examine(model)
    failed = [finding.question for finding in findings if not finding.healthy]
    if failed:
        raise InputError(f"this model is not timed, because it fails: {'; '.join(failed)}. See fastwave doctor.")
    threads = options.threads or 1
    engine = Engine(model, options.backend, options.dtype, threads)
    limit = measure.ceiling(config, engine.dtype)
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
        dtype=engine.dtype,
        batch=options.batch,
        threads=threads,
    )
    if options.json:
        print_json({**row.to_dict(), "fastwave": __version__})
        return 0
    print(measure.table([row]))
    print(f"limit: {row.limit_reason}; proof: {row.proof}; {row.device}; fastwave {__version__}")
    return 0


def _all(options: argparse.Namespace) -> int:
    """One table of this machine."""
    from ..files import replacing
    from ..tools import measure, overview

    rows = list(overview.rows(tell=note))
    if options.markdown is not None:
        with replacing(Path(options.markdown)) as temporary:
            temporary.write_text(overview.markdown(rows), encoding="utf-8")
    if options.json:
        print_json({"rows": [row.to_dict() for row in rows], **measure.environment()})
        return 0
    print(measure.table(rows))
    place = f"{rows[0].device}; fastwave {__version__}"
    print(f"{place}; medians of {overview.RUNS} runs; each dtype was compared with the reference first")
    return 0
