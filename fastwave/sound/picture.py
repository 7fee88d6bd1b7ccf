"""One picture of a sound: its waveform over its spectrogram, with axes, as a PNG."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from .lettering import ADVANCE, HEIGHT, letters
from .plots import Array, Pixels, envelope, palette, png, shades, spectrogram, ticks

# In pixels. Letters are drawn at twice their dots.
WIDTH, WAVEFORM, SPECTROGRAM = 760, 100, 220
LEFT, RIGHT, TOP, BETWEEN, BOTTOM = 84, 28, 14, 22, 46
SCALE = 2

SHADES = 252  # colours of the spectrogram; the rest of the palette is for what stands around it
PAPER, INK, RULE, WAVE = range(SHADES, 256)
_AROUND = np.array([(255, 255, 255), (60, 66, 73), (214, 217, 220), (85, 117, 154)], dtype=np.uint8)


class Png(bytes):
    """The bytes of a PNG file. A notebook shows it as a picture."""

    def _repr_png_(self) -> bytes:
        return bytes(self)

    def __repr__(self) -> str:
        width, height = struct.unpack(">2I", self[16:24])
        return f"<PNG of {width} x {height} pixels, {len(self):,} bytes>"


def picture(waves: Sequence[Array], sample_rate: int) -> Png:
    """Sounds [T] below each other, each as waveform and spectrogram on absolute scales, 0 dB full scale."""
    colours = palette()[np.linspace(0, 255, SHADES).round().astype(int)]
    return Png(png(np.concatenate([_panel(wave, sample_rate) for wave in waves]), np.concatenate([colours, _AROUND])))


def _panel(wave: Array, sample_rate: int) -> Pixels:
    wave = wave if len(wave) else np.zeros(1)
    image = np.full((TOP + WAVEFORM + BETWEEN + SPECTROGRAM + BOTTOM, LEFT + WIDTH + RIGHT), PAPER, dtype=np.uint8)
    across = slice(LEFT, LEFT + WIDTH)
    image[TOP : TOP + WAVEFORM, across] = _waveform(wave)
    below = TOP + WAVEFORM + BETWEEN
    image[below : below + SPECTROGRAM, across] = _spectrogram(wave, sample_rate)
    for value in (1, 0, -1):
        _label(image, str(value), TOP + (1 - value) * (WAVEFORM - 1) // 2, right=LEFT - 10)
    for at, name in ticks(0, sample_rate / 2, 4, " Hz"):
        row = below + round((1 - at) * (SPECTROGRAM - 1))
        image[row, LEFT - 6 : LEFT] = INK
        _label(image, name, row, right=LEFT - 10)
    for at, name in ticks(0, len(wave) / sample_rate, 8, " s"):
        column = LEFT + round(at * (WIDTH - 1))
        image[below + SPECTROGRAM : below + SPECTROGRAM + 6, column] = INK
        _label(image, name, below + SPECTROGRAM + 18, centre=column)
    return image


def _waveform(wave: Array) -> Pixels:
    """Full scale from the top to the bottom row."""
    low, high = envelope(wave, WIDTH)
    stretched = np.arange(WIDTH) * len(low) // WIDTH
    top, bottom = (np.rint((1 - np.clip(edge, -1, 1)) / 2 * (WAVEFORM - 1)) for edge in (high, low))
    rows = np.arange(WAVEFORM)[:, None]
    image = np.full((WAVEFORM, WIDTH), PAPER, dtype=np.uint8)
    image[[0, WAVEFORM // 2, -1]] = RULE
    image[(rows >= top[stretched]) & (rows <= bottom[stretched])] = WAVE
    return image


def _spectrogram(wave: Array, sample_rate: int) -> Pixels:
    levels = spectrogram(wave, sample_rate)
    # the loudest of the bins of a row, so that no tone falls between two rows
    rows = np.maximum.reduceat(levels, np.arange(SPECTROGRAM) * len(levels) // SPECTROGRAM, axis=0)
    columns = rows[:, np.arange(WIDTH) * rows.shape[1] // WIDTH]
    numbers: Pixels = (shades(columns).astype(int) * (SHADES - 1) // 255).astype(np.uint8)
    return numbers


def _label(image: Pixels, text: str, middle: int, right: int | None = None, centre: int = 0) -> None:
    """Write a line of text at a height, ending at a column or around one, kept inside the picture."""
    dots = letters(text)[:, : -(ADVANCE - 5)].repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    left = centre - dots.shape[1] // 2 if right is None else right - dots.shape[1]
    left = max(0, min(left, image.shape[1] - dots.shape[1]))
    top = max(0, middle - HEIGHT * SCALE // 2)
    image[top : top + HEIGHT * SCALE, left : left + dots.shape[1]][dots] = INK
