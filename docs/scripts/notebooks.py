"""Make a notebook of each page under docs/learn: python docs/scripts/notebooks.py FOLDER"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import cells

PAGES = Path(__file__).resolve().parents[1] / "learn"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")


def notebook(text: str, folder: Path) -> dict[str, Any]:
    """The cells of a page; `folder` is where the notebook will lie, for links to lead from there."""
    made, end = [], 0
    for match in cells.BLOCK.finditer(text):
        made.append(_cell("markdown", _relative(text[end : match.start()], folder)))
        made.append(_cell("code", _quiet(match[1])))
        end = match.end()
    made.append(_cell("markdown", _relative(text[end:], folder)))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    kept = [cell for cell in made if cell["source"]]
    for number, cell in enumerate(kept):
        cell["id"] = hashlib.sha256(f"{number}{cell['source']}".encode()).hexdigest()[:8]
    return {"cells": kept, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _cell(kind: str, source: str) -> dict[str, Any]:
    more: dict[str, Any] = {"outputs": [], "execution_count": None} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, "source": source.strip(), **more}


def _quiet(code: str) -> str:
    """A notebook shows what its last line returns, which is of no interest for a call; a semicolon keeps it quiet."""
    tree = ast.parse(code)
    is_call = isinstance(tree.body[-1], ast.Expr) and not cells.shows_itself(tree)
    return code.rstrip() + ";" if is_call else code


def _relative(text: str, folder: Path) -> str:
    return LINK.sub(lambda link: os.path.relpath(PAGES / link[1], folder), text)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the notebooks are written")
    folder: Path = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for page in sorted(PAGES.glob("*.md")):
        if cells.blocks(page.read_text()):
            made = json.dumps(notebook(page.read_text(), folder), indent=1)
            (folder / f"{page.stem}.ipynb").write_text(made + "\n")


if __name__ == "__main__":
    main()
