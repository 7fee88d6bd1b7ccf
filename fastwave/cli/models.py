"""`fastwave models`: the models that come with the package."""

from __future__ import annotations

import argparse
import json
import math
import re
from pathlib import Path
from typing import Any

from ..locate import BUNDLED, CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, bundled
from .options import Verbs, add_json, add_verb, print_json
from .parser import table


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    add_json(add_verb(verbs, "models", models, computes=False))


def models(options: argparse.Namespace) -> int:
    """The models that come with the package."""
    rows = [_describe(BUNDLED / name) for name in bundled()]
    if options.json:
        print_json(rows)
        return 0
    cells = [("model", "makes", "parameters", "sample rate", "licence")]
    for row in rows:
        rate = f"{row['sample_rate']:,} Hz" if row["sample_rate"] else "text"
        cells.append((row["name"], row["makes"], f"{row['parameters']:,}", rate, row["licence"]))
    print(table(cells))
    return 0


def _describe(folder: Path) -> dict[str, Any]:
    """What the card, the config and the header of the weights say, read without torch."""
    card = (folder / CARD_FILE).read_text(encoding="utf-8")
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    with open(folder / WEIGHTS_FILE, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    shapes = [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]
    licence = re.search(r"^- licence: (.*)$", card, flags=re.MULTILINE)
    return {
        "name": folder.name,
        "makes": card.splitlines()[0].partition(": ")[2],
        "parameters": sum(math.prod(shape) for shape in shapes),
        "sample_rate": config["sample_rate"],
        "licence": licence[1] if licence else "not stated",
    }
