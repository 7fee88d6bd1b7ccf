"""`fastwave judge`: what a sound or a text is like, by numbers."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from .options import Verbs, add_verb


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "judge", judge)
    verb.add_argument("generated", metavar="GENERATED", help="a sound or text file, or a folder of them")
    verb.add_argument(
        "reference",
        nargs="?",
        metavar="REFERENCE",
        help="what it should sound like: a file, or a folder with files of the same names",
    )
    verb.add_argument(
        "--unaligned",
        action="store_true",
        help="the references say something else: compare pitch, loudness and spectrum as a whole, not by the moment",
    )
    verb.add_argument("--json", action="store_true", help="print JSON, with the keys that docs/judging.md lists")


def judge(options: argparse.Namespace) -> int:
    """Measure sound or text: level, clipping, silence, noise, pitch, whether it is stuck; distances to a reference."""
    from ..tools.judge import report

    print_report(report(options.generated, options.reference, options.unaligned), options.json)
    return 0


def print_report(report: dict[str, Any], as_json: bool) -> None:
    """One JSON object, or a table on standard output and what it lacks on standard error."""
    from ..tools.judge_scores import missing
    from ..tools.judge_table import table

    if as_json:
        print(json.dumps(report, indent=2))
        return
    print(table(report))
    notes = [f"{name} has no reference" for name in report.get("without_reference", ())]
    if any(each["scores"] is not None for each in report["files"]):
        notes += missing()
    for note in notes:
        print(f"fastwave judge: {note}", file=sys.stderr)
