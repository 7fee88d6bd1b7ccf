"""Pictures without a plotting library: spectrograms as PNG, curves as SVG."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

COLUMNS = 600  # of the picture of a waveform or spectrogram
RANGE_DB = 80.0
MINUS = "\u2212"

Array = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
Tick = tuple[float, str]  # position, as a share of the axis, and label

# Seven colours of CIE lightness 4 to 97 in nearly even steps, so that equal steps of level look equal
COLOURS = (
    (9, 14, 26),
    (35, 42, 102),
    (120, 57, 148),
    (213, 69, 137),
    (255, 124, 94),
    (253, 194, 101),
    (255, 248, 201),
)
_LIGHTNESS = (4, 20, 36, 52, 67, 82, 97)


def spectrogram(wave: Array, sample_rate: int) -> Array:
    """[bins from Nyquist down to 0, columns] in dB: squared magnitudes of windows of about 32 ms."""
    size = 1 << min(10, max(6, round(math.log2(0.032 * sample_rate))))
    padded = np.pad(wave, (size // 2, size))
    hop = max(size // 4, -(-len(wave) // COLUMNS))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[: len(wave) : hop]
    magnitude = np.abs(np.fft.rfft(windows * np.hanning(size), axis=1)) / size
    levels: Array = 10 * np.log10(magnitude**2 + 1e-12).T[::-1]
    return levels


def shades(levels: Array) -> Pixels:
    """Levels in dB, 0 the loudest -> numbers of colours in the palette."""
    return np.clip(255 * (1 + levels / RANGE_DB), 0, 255).astype(np.uint8)


def palette() -> Pixels:
    """[256, 3] colours whose lightness rises evenly."""
    lightness = np.linspace(_LIGHTNESS[0], _LIGHTNESS[-1], 256)
    channels = [np.interp(lightness, _LIGHTNESS, [colour[i] for colour in COLOURS]) for i in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def png(pixels: Pixels, colours: Pixels) -> bytes:
    """[height, width] numbers of colours, and the 256 colours -> a PNG file."""
    height, width = pixels.shape
    rows = np.pad(pixels, ((0, 0), (1, 0)))  # every row begins with the number of its filter: 0, none
    parts = (
        (b"IHDR", struct.pack(">2I5B", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", colours.tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


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


def ticks(low: float, high: float, about: int, unit: str = "") -> list[Tick]:
    """About so many round numbers between `low` and `high`; the last carries the unit."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough * 0.999)
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    marks = [((number * step - low) / (high - low), short(number * step)) for number in numbers]
    return [*marks[:-1], (marks[-1][0], marks[-1][1] + unit)]


def short(value: float) -> str:
    """A number with M or k for the millions or thousands."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.6g}{letter}"
    return f"{value:.6g}".replace("-", MINUS)
