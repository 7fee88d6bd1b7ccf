"""Pictures of sound without a plotting library: spectrograms on an absolute scale, as PNG, and the ticks of axes."""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np
import numpy.typing as npt

COLUMNS = 600  # of the picture of a waveform or spectrogram
RANGE_DB = 90.0  # from full scale down to the darkest colour; 16-bit sound has little below
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
    """[bins from Nyquist down to 0, columns] in dB of windows of about 32 ms; 0 dB is a sine at full scale."""
    size = 1 << min(10, max(6, round(math.log2(0.032 * sample_rate))))
    padded = np.pad(wave, (size // 2, size))
    hop = max(size // 4, -(-len(wave) // COLUMNS))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[: len(wave) : hop]
    window = np.hanning(size)
    magnitude = np.abs(np.fft.rfft(windows * window, axis=1)) / (window.sum() / 2)
    levels: Array = 10 * np.log10(magnitude**2 + 1e-12).T[::-1]
    return levels


def envelope(wave: Array, columns: int) -> tuple[Array, Array]:
    """The lowest and the highest value of each of at most so many stretches of a sound."""
    edges = np.linspace(0, len(wave), min(columns, len(wave)) + 1).astype(np.int64)[:-1]
    return np.minimum.reduceat(wave, edges), np.maximum.reduceat(wave, edges)


def shades(levels: Array) -> Pixels:
    """Levels in dB from full scale -> numbers of colours in the palette."""
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
        (b"IDAT", zlib.compress(rows.tobytes(), 6)),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


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
