"""`fastwave doctor`: what runs on this machine, and whether a model is healthy."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..runtime.verdict import GOOD, PROVED
from .options import Verbs, add_json, add_model, add_verb, check_model, load_model, print_json, print_rows

if TYPE_CHECKING:
    from ..tools.doctor import Finding


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "doctor", doctor, check)
    add_model(verb)
    verb.add_argument(
        "--prove",
        action="store_true",
        help="check the kernels of the GPU here against the reference, in full, and time them (minutes); auto then "
        "chooses by it",
    )
    verb.add_argument("--quick", action="store_true", help="with --prove: as on first use, up to 30 s for each dtype")
    add_json(verb)


def check(options: argparse.Namespace) -> None:
    """Refuse a model that does not exist. Here none is the default: then the machine alone is looked at."""
    if options.quick and not options.prove:
        raise InputError("--quick says how long --prove may take: give both.")
    if options.model is not None or options.untrained is not None:
        check_model(options)


def doctor(options: argparse.Namespace) -> int:
    """What runs here and why something does not; with a model, whether it is healthy."""
    from ..tools.doctor import examine

    proofs = _prove(options) if options.prove else {}
    machine = _examine_machine()
    if not options.json:
        _print_machine(machine)
    findings: list[Finding] = []
    if options.model is not None or options.untrained is not None:
        findings = examine(load_model(options)[0])
    if options.json:
        found = {"findings": [dataclasses.asdict(finding) for finding in findings]}
        print_json({**machine, **found, **({"proofs": proofs} if options.prove else {})})
    elif findings:
        print()
        for finding in findings:
            print(f"{'ok  ' if finding.healthy else 'BAD '} {finding.question}: {finding.detail}")
    kernels = (verdict for verdicts in proofs.values() for verdict in verdicts.values())
    healthy = all(finding.healthy for finding in findings) and all(verdict["outcome"] in GOOD for verdict in kernels)
    return 0 if healthy else 1


def _prove(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Prove what can run here, and print the table: the verdicts of each role, as JSON values."""
    from ..proof.report import table
    from ..runtime import proving
    from ..runtime.dispatch import backends

    proofs: dict[str, dict[str, Any]] = {}
    for status in backends():
        if status.name not in PROVED:
            continue
        if not status.available:
            print(f"{status.role} {status.name}: nothing to prove: {status.reason}", file=sys.stderr)
            continue
        print(f"{status.role} {status.name}: proving, which may take minutes ...", file=sys.stderr)
        verdicts = proving.prove_again(status.role, options.quick)
        proofs[status.role] = {str(subject): verdict.to_dict() for subject, verdict in verdicts.items()}
        if not options.json:
            print(f"{table(verdicts)}\n")
    return proofs


def _examine_machine() -> dict[str, Any]:
    """Versions, native libraries and backends, as JSON values."""
    from ..runtime import library
    from ..runtime.dispatch import backends, choices
    from ..tools import measure

    libraries: dict[str, Any] = {}
    for name in ("cpu", "cuda"):
        reason = library.missing(name)
        libraries[name] = {"missing": reason} if reason else library.build_info(name)
    rows = [dataclasses.asdict(each) | {"available": each.available} for each in backends()]
    auto = {f"{role} {dtype}": dataclasses.asdict(choice) for (role, dtype), choice in choices().items()}
    return {"environment": measure.environment(), "libraries": libraries, "backends": rows, "auto": auto}


def _print_machine(machine: dict[str, Any]) -> None:
    from ..runtime.dispatch import SLOW

    rows = list(machine["environment"].items())
    for name, values in machine["libraries"].items():
        rows.append((f"lib {name}", values["missing"] if "missing" in values else _describe(values)))
    for row in machine["backends"]:
        rows.append((f"{row['role']} {row['name']}", row["reason"] or "available"))
    alike: dict[tuple[str, str, str], list[str]] = {}
    for name, choice in machine["auto"].items():
        role, numbers = name.split(" ", 1)
        alike.setdefault((role, choice["name"], choice["why"]), []).append(numbers)
    for (role, backend, why), numbers in alike.items():
        rows.append((f"auto {role}", f"{', '.join(numbers)}: {backend} ({why})"))
    print_rows(rows)
    if "missing" in machine["libraries"]["cpu"]:
        print(f"\nSLOW: {SLOW}")


def _describe(values: dict[str, Any]) -> str:
    words = ((key.replace("_", " "), " ".join(v) if isinstance(v, list) else v) for key, v in values.items())
    return ", ".join(f"{key} {value}" for key, value in words if value)
