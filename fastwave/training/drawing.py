"""Curves and axes of a report as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..sound.plots import Array, Tick, ticks


def chart(title: str, last: int, curves: Mapping[str, Array], levels: Mapping[str, float] | None = None) -> str:
    """Curves over the steps up to `last`, with horizontal lines at `levels`; without levels the axis begins at 0."""
    levels = levels or {}
    curves = {name: curve for name, curve in curves.items() if curve.size}
    if not curves:
        return ""
    steps = max(1.0, last, *(float(curve[0, -1]) for curve in curves.values()))
    values = [curve[1] for curve in curves.values()]
    # the highest hundredth may leave the picture: one explosion would press the rest flat
    high = max([*levels.values(), *(float(np.quantile(each, 0.99, method="higher")) for each in values)])
    low = min([*levels.values(), *(float(each.min()) for each in values)]) if levels else 0.0
    margin = 0.04 * ((high - low) or abs(high) or 1.0)
    low, high = low - margin * bool(levels), high + margin
    drawn, legend = "", ""
    for name, (x, y) in curves.items():
        kind = "held" if name == "held out" else "train"
        outline = places(x / steps, (high - y) / (high - low))
        drawn += f"<path class={kind} d='M{'L'.join(outline)}'/>"
        if len(x) == 1 or (kind == "held" and len(x) < 60):  # a line of length 0 with round ends is a dot
            drawn += f"<path class='{kind} dots' d='{''.join(f'M{place}h0' for place in outline)}'/>"
        legend += f"<span class={kind}>{name}</span>" if name else ""
    lines = ""
    before = -math.inf
    for name, value in sorted(levels.items(), key=lambda level: -level[1]):
        at = 100 * (high - value) / (high - low)
        shift = 14 if at - before < 8 else -6  # below its line where the label above it would overlap
        before = at
        lines += f"<line class=level x1=0 x2=100% y1={at:.2f}% y2={at:.2f}% />"
        lines += f"<text class=level x=100% y={at:.2f}% dy={shift}>{name} {value:.2f}</text>"
    about = title + "".join(f"; last {name} {curve[1, -1]:.4g}" for name, curve in curves.items())
    about += "".join(f"; {name} {value:.4g}" for name, value in levels.items())
    large = "held out" in curves or bool(levels)
    legend = legend and f"<span class=legend>{legend}</span>"
    framed = axes(ticks(0, steps, 6), ticks(low, high, 8 if large else 5), drawn, about, lines)
    return f"<figure><h3>{title}{legend}</h3><div class='plot {('small', 'large')[large]}'>{framed}</div></figure>"


def axes(x: Sequence[Tick], y: Sequence[Tick], shapes: str = "", about: str = "", lines: str = "") -> str:
    """Shapes in a square of 1000 units, which is stretched, with ticks beside it, which are not."""
    marks = "".join(f"<text class=x x={100 * at:.2f}% y=100% dy=17>{name}</text>" for at, name in x)
    for at, name in y:
        down = 100 * (1 - at)
        marks += f"<line class=tick x1=0 x2=100% y1={down:.2f}% y2={down:.2f}% />"
        marks += f"<text class=y x=0 y={down:.2f}% dx=-7 dy=4>{name}</text>"
    stretched = f"<svg viewBox='0 0 1000 1000' preserveAspectRatio=none>{shapes}</svg>" if shapes else ""
    role = f"role=img aria-label='{about}'" if about else "aria-hidden=true"
    return f"<svg class=axes {role}>{marks}{stretched}{lines}</svg>"


def places(x: Array, y: Array) -> list[str]:
    """Points of the unit square, y downwards -> coordinates of a path in a square of 1000 units."""
    rounded = np.rint(np.clip(np.stack([x, y], axis=1), -1, 2) * 10_000) / 10
    return [f"{across:g} {down:g}" for across, down in rounded]
