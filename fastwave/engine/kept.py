"""Verdicts on dtypes, kept from one process to the next in the user's cache folder: one JSON file of the latest.

Whatever is wrong with the file, or with one of its verdicts, counts as nothing kept: the model is measured again. Where
the folder cannot be written, the next process measures again too.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ..files import replacing
from ..runtime import machine

MOST = 200  # models
LARGEST_FILE = 1 << 20  # bytes
Verdicts = dict[str, tuple[str, dict[str, float]]]  # by key: the dtype chosen, and what each that was tried costs


def path() -> Path:
    """The file; RuntimeError where there is no home folder."""
    return machine.cache_folder() / "dtypes.json"


def read(rules: str) -> Verdicts:
    """All that was kept under these rules, the oldest first."""
    try:
        file = path()
        if file.stat().st_size > LARGEST_FILE:
            return {}
        values = json.loads(file.read_bytes())
        if not isinstance(values, dict) or values.get("rules") != rules or not isinstance(values.get("verdicts"), dict):
            return {}
        verdicts = values["verdicts"].items()
        return {str(key): (value["dtype"], value["costs"]) for key, value in verdicts if _whole(value)}
    except (OSError, ValueError, RuntimeError):  # no JSON, no UTF-8; nested too deep; no home
        return {}


def write(rules: str, key: str, dtype: str, costs: dict[str, float]) -> None:
    """Keep one more, and of all together the latest. Of two processes that write at once, one may be lost."""
    kept = read(rules) | {key: (dtype, costs)}
    latest = list(kept.items())[-MOST:]
    verdicts = {each: {"dtype": chosen, "costs": bits} for each, (chosen, bits) in latest}
    try:
        file = path()
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            temporary.write_text(json.dumps({"rules": rules, "verdicts": verdicts}) + "\n", encoding="utf-8")
    except (OSError, RuntimeError):
        return


def _whole(value: Any) -> bool:
    """Whether this is a verdict as `write` writes it: a dtype that is float32 or one of those that were tried."""
    if not isinstance(value, dict) or not isinstance(value.get("costs"), dict):
        return False
    costs = value["costs"]
    numbers = all(isinstance(bits, float) and not math.isnan(bits) for bits in costs.values())
    return numbers and value.get("dtype") in ("float32", *costs)
