"""The `fastwave` command. Results go to standard output, all else to standard error; each verb has a file here.

Nothing that is imported here imports torch, which takes seconds: help, a typing error and a wrong path are answered
at once. A verb imports it when it runs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from .. import __version__
from ..errors import FastwaveError
from ..locate import bundled
from ..runtime import machine
from . import (
    bench,
    copy,
    distill,
    doctor,
    generate,
    import_,
    info,
    instrument,
    judge,
    models,
    music,
    play,
    prepare,
    presets,
    process,
    score,
    serve,
    speak,
    train,
    voice,
)
from .parser import Parser

GROUPS = {
    "make sound": (generate, play, copy, process),
    "train": (train, distill, prepare, import_),
    "say a text": (speak, voice),
    "play notes": (music, instrument),
    "let others hear it": (serve,),
    "look and measure": (judge, info, score, doctor, bench, models, presets),
}
CLOSING = """
examples:
  fastwave generate -o notes.wav --seconds 5           sound from a bundled model
  fastwave train RECORDINGS --out RUN --minutes 20     a model of your own recordings; the same command resumes
  fastwave generate RUN -o new.wav --temperature 0.9   sound from your model
  fastwave speak "The kettle is on." -o kettle.wav     speech

presets, for train --preset:   {presets} (see fastwave presets)
bundled models, for generate:  {models} (see fastwave models)

fastwave VERB --help lists the options of a verb; fastwave --version prints the version.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the returned exit status is 0 only on success."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        with _quiet(options.quiet):
            options.check(options)
            if options.computes:
                _import_torch()
            return run(options)
    except FastwaveError as error:
        print(f"fastwave {options.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"fastwave {options.verb}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `fastwave info ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


@contextlib.contextmanager
def _quiet(wanted: bool) -> Iterator[None]:
    """Drop what the block writes to standard error: bars, notes, warnings. Errors are printed outside of it."""
    if not wanted:
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def _import_torch() -> None:
    """Import what takes seconds. Ctrl-C meanwhile ends the process at once, as nothing is lost yet: an exception in the
    midst of these imports would end in a traceback, or abort.
    """
    machine.let_threads_sleep()
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if "torch" in sys.modules or not usual or threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        import numpy  # noqa: F401
        import torch  # noqa: F401
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _parser() -> Parser:
    parser = Parser(prog="fastwave", description="WaveNet at the speed of the machine.")
    parser.add_argument(
        "--version", action="version", version=f"fastwave {__version__}, Python {platform.python_version()}"
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for heading, modules in GROUPS.items():
        known = set(verbs.choices)
        for module in modules:
            module.add(verbs)
        parser.groups[heading] = [verb for name, verb in verbs.choices.items() if name not in known]
    parser.closing = CLOSING.format(presets=", ".join(presets.PURPOSES), models=", ".join(bundled()) or "none")
    return parser
