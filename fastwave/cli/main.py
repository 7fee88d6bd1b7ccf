"""The `fastwave` command. Results go to standard output, all else to standard error; each verb has a file here."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence

from .. import __version__
from ..errors import FastwaveError
from . import bench, copy, doctor, generate, info, judge, prepare, score, train


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the returned exit status is 0 only on success."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastwave", description="WaveNet at the speed of the machine.")
    parser.add_argument(
        "--version", action="version", version=f"fastwave {__version__}, Python {platform.python_version()}"
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in (generate, copy, train, prepare, score, judge, info, doctor, bench):
        verb.add(verbs)
    return parser
