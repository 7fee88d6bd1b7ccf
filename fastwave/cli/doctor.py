"""`fastwave doctor`: what runs on this machine, and whether a model is healthy."""

from __future__ import annotations

import argparse
from typing import Any

from .options import Verbs, add_model, add_verb, load_model, print_rows


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    add_model(add_verb(verbs, "doctor", doctor))


def doctor(options: argparse.Namespace) -> int:
    """What runs here and why something does not; with a model, whether it is healthy."""
    from ..runtime import library
    from ..runtime.dispatch import backends
    from ..tools import measure
    from ..tools.doctor import examine

    environment = measure.environment()
    rows = [(key, value) for key, value in environment.items()]
    for name in ("cpu", "cuda"):
        reason = library.missing(name)
        rows.append((f"lib {name}", reason or _describe(library.build_info(name))))
    for status in backends():
        rows.append((f"{status.role} {status.name}", status.reason or "available"))
    print_rows(rows)
    if options.model is None and options.untrained is None:
        return 0
    findings = examine(load_model(options)[0])
    print()
    for finding in findings:
        print(f"{'ok  ' if finding.healthy else 'BAD '} {finding.question}: {finding.detail}")
    return 0 if all(finding.healthy for finding in findings) else 1


def _describe(values: dict[str, Any]) -> str:
    words = ((key.replace("_", " "), " ".join(v) if isinstance(v, list) else v) for key, v in values.items())
    return ", ".join(f"{key} {value}" for key, value in words if value)
