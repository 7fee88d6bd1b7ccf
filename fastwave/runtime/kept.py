"""Verdicts that are kept from one process to the next: a small JSON file for each GPU in the user's cache folder.

Whatever is wrong with a file, it counts as no file: the proof is made again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import replacing
from . import machine
from .verdict import SUBJECTS, Subject, Verdict

LARGEST_FILE = 1 << 20  # bytes
AGAIN_SECONDS = 86_400.0  # after a day, a proof that did not come to an end is tried again


def path_of(identity: Mapping[str, str]) -> Path:
    """The file of this identity. Machines that share a home folder have files of their own."""
    digest = hashlib.blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=12).hexdigest()
    return machine.cache_folder() / "proofs" / f"{digest}.json"


def read(identity: Mapping[str, str]) -> dict[Subject, Verdict]:
    """The verdicts of this identity; empty where they are missing, damaged, or another's."""
    try:
        path = path_of(identity)
        if path.stat().st_size > LARGEST_FILE:
            return {}
        return _parse(json.loads(path.read_bytes()), identity)
    except (OSError, ValueError, RuntimeError):  # no JSON, no UTF-8, not what `write` writes; nested too deep; no home
        return {}


def write(identity: Mapping[str, str], verdicts: Mapping[Subject, Verdict]) -> bool:
    """Keep them with those that are there; False where the folder cannot be written."""
    every = read(identity) | dict(verdicts)
    values = {
        "identity": dict(identity),
        "verdicts": {str(subject): verdict.to_dict() for subject, verdict in every.items()},
    }
    try:
        path = path_of(identity)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(values, indent=1) + "\n")
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return False
    return True


def _parse(values: Any, identity: Mapping[str, str]) -> dict[Subject, Verdict]:
    if not isinstance(values, Mapping) or values.get("identity") != dict(identity):
        raise ValueError("this file is of another GPU, driver or version")
    named, verdicts = {str(subject): subject for subject in SUBJECTS[identity["role"]]}, values.get("verdicts")
    if not isinstance(verdicts, Mapping) or not set(verdicts) <= set(named):
        raise ValueError("this file has other kernels")
    parsed = {named[name]: Verdict.from_dict(each, named[name].backend) for name, each in verdicts.items()}
    return {subject: verdict for subject, verdict in parsed.items() if not _again(verdict)}


def _again(verdict: Verdict) -> bool:
    return verdict.outcome == "unfinished" and not 0 <= time.time() - verdict.made < AGAIN_SECONDS
