"""The python blocks of a page, run in order in one namespace, as the cells of a notebook are."""

from __future__ import annotations

import ast
import contextlib
import html
import io
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import torch

BLOCK = re.compile(r"^```python\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
INK = "#010203"  # no figure uses it for anything but text and lines; in a page it becomes the colour of the page's text
STYLE = {
    "figure.figsize": (4.8, 2.4),  # inches: text is then as large as that of the page, and legible on a telephone
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.framealpha": 0,
    "axes.prop_cycle": plt.cycler(color=["#3f7fd0", "#d0651f", "#2e8b57", "#a05fc0"]),  # 3.5:1 on white and on slate
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "font.size": 9,
    "svg.fonttype": "none",
    **dict.fromkeys(("text.color", "xtick.color", "ytick.color", "patch.edgecolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "axes.titlecolor"), INK),
}


class BlockFailed(Exception):
    """A block of a page raised; the message names the page and the line."""


def blocks(text: str) -> list[str]:
    """The python blocks of a page."""
    return BLOCK.findall(text)


def shows_itself(tree: ast.Module) -> bool:
    """Whether the last line is a bare name, whose value is shown. What a call returns is not: plots return artists."""
    return bool(tree.body) and isinstance(tree.body[-1], ast.Expr) and isinstance(tree.body[-1].value, ast.Name)


def run(text: str, name: str) -> list[str]:
    """Run the blocks of a page in an empty folder -> for each, the HTML of what it shows."""
    with tempfile.TemporaryDirectory() as folder, _inside(folder), plt.rc_context(STYLE), warnings.catch_warnings():
        # matplotlib asks a tensor for its array in the way of NumPy 2, which torch does not know
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.set_num_threads(1)  # small products gain nothing from a second thread
        namespace: dict[str, Any] = {"__name__": "__main__"}
        outputs = []
        for match in BLOCK.finditer(text):
            first_line = text[: match.start(1)].count("\n")
            outputs.append(_run_block(match[1], first_line, name, namespace))
        return outputs


def _run_block(code: str, first_line: int, name: str, namespace: dict[str, Any]) -> str:
    tree = ast.parse("\n" * first_line + code, name)  # so that errors have the lines of the page
    last = tree.body.pop() if shows_itself(tree) else None
    printed, value = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, name, "exec"), namespace)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)
        figures = [_figure(number, f"{Path(name).stem}-{first_line}-{number}") for number in plt.get_fignums()]
    except Exception as error:
        line = error.__traceback__.tb_next.tb_lineno if error.__traceback__ and error.__traceback__.tb_next else 0
        raise BlockFailed(f"{name}, line {line}: {type(error).__name__}: {error}") from error
    finally:
        plt.close("all")
    shown = [f'<pre class="printed">{html.escape(printed.getvalue())}</pre>'] if printed.getvalue() else []
    if value is not None:
        shown.append(value._repr_html_())
    return "\n".join(shown + figures)


def _figure(number: int, prefix: str) -> str:
    """An open figure as SVG within the page, so that it takes the page's colour of text and its font."""
    figure = plt.figure(number)
    titles = [title for axes in figure.axes if (title := axes.get_title())]
    if not titles:
        raise ValueError("a figure needs a title: it is what a screen reader says")
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": prefix}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    _, _, svg = file.getvalue().partition("<svg ")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(INK, "currentColor")
    svg = re.sub(r"(font: [^;\"]*?px) [^;\"]*", r"\1 var(--md-text-font-family, sans-serif)", svg)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    label = html.escape(". ".join(titles), quote=True)
    return f'<figure class="drawn"><svg role="img" aria-label="{label}" {svg.strip()}</figure>'


@contextlib.contextmanager
def _inside(folder: str) -> Iterator[None]:
    before = os.getcwd()  # contextlib.chdir is not in Python 3.10
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
