"""`fastwave doctor`: what runs on this machine, and whether a model is healthy."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from .options import Verbs, add_json, add_model, add_verb, check_model, load_model, print_json, print_rows

if TYPE_CHECKING:
    from ..tools.doctor import Finding


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "doctor", doctor, check)
    add_model(verb)
    add_json(verb)


def check(options: argparse.Namespace) -> None:
    """Refuse a model that does not exist. Here none is the default: then the machine alone is looked at."""
    if options.model is not None or options.untrained is not None:
        check_model(options)


def doctor(options: argparse.Namespace) -> int:
    """What runs here and why something does not; with a model, whether it is healthy."""
    from ..tools.doctor import examine

    machine = _examine_machine()
    if not options.json:
        _print_machine(machine)
    findings: list[Finding] = []
    if options.model is not None or options.untrained is not None:
        findings = examine(load_model(options)[0])
    if options.json:
        print_json({**machine, "findings": [dataclasses.asdict(finding) for finding in findings]})
    elif findings:
        print()
        for finding in findings:
            print(f"{'ok  ' if finding.healthy else 'BAD '} {finding.question}: {finding.detail}")
    return 0 if all(finding.healthy for finding in findings) else 1


def _examine_machine() -> dict[str, Any]:
    """Versions, native libraries and backends, as JSON values."""
    from ..runtime import library
    from ..runtime.dispatch import backends
    from ..tools import measure

    libraries: dict[str, Any] = {}
    for name in ("cpu", "cuda"):
        reason = library.missing(name)
        libraries[name] = {"missing": reason} if reason else library.build_info(name)
    rows = [dataclasses.asdict(each) | {"available": each.available} for each in backends()]
    return {"environment": measure.environment(), "libraries": libraries, "backends": rows}


def _print_machine(machine: dict[str, Any]) -> None:
    from ..runtime.dispatch import SLOW

    rows = list(machine["environment"].items())
    for name, values in machine["libraries"].items():
        rows.append((f"lib {name}", values["missing"] if "missing" in values else _describe(values)))
    for row in machine["backends"]:
        rows.append((f"{row['role']} {row['name']}", row["reason"] or "available"))
    print_rows(rows)
    if "missing" in machine["libraries"]["cpu"]:
        print(f"\nSLOW: {SLOW}")


def _describe(values: dict[str, Any]) -> str:
    words = ((key.replace("_", " "), " ".join(v) if isinstance(v, list) else v) for key, v in values.items())
    return ", ".join(f"{key} {value}" for key, value in words if value)
