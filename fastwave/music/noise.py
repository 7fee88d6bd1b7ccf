"""Noise of the colour that mel frames ask for: breath, bow and hammer, without a model.

White noise is cut into pieces of two hops that fade into each other, one around each frame, and the spectrum of each is
multiplied by that of its frame. All pieces are made at once.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from ..sound.lpc import interpolation
from ..sound.mel import MelSettings, band_centres, magnitudes

LOUDER = 2 / math.sqrt(math.pi)  # the root mean square of a bin of noise against its mean magnitude, which frames hold
BATCH = 512  # frames at a time: their spectra take 8 MB

Array = npt.NDArray[np.float64]


def coloured(frames: npt.NDArray[np.floating], mel: MelSettings, draw: np.random.Generator) -> Array:
    """Log-mel frames [F, bands] -> noise [F * hop]."""
    count, hop, size = len(frames), mel.hop, 2 * mel.window
    reach = size // 2  # of a filter, before and after each sample
    white = draw.standard_normal((count + 1) * hop)
    fades = np.concatenate([np.arange(hop), np.arange(hop, 0, -1)]) / hop
    pieces = np.lib.stride_tricks.sliding_window_view(white, 2 * hop)[::hop] * fades
    bins = _bins(mel)
    scale = LOUDER / math.sqrt(mel.window * 3 / 8)  # 3/8 is the mean square of a Hann window
    whole = np.zeros(count * hop + 2 * size)  # from `reach + hop` samples before the first frame on
    for first in range(0, count, BATCH):
        logs = np.log(magnitudes(frames[first : first + BATCH], mel)) @ bins
        spectra = np.fft.rfft(pieces[first : first + BATCH], size) * np.exp(logs) * scale
        made = np.roll(np.fft.irfft(spectra, size), reach - hop, axis=1)
        for number, piece in enumerate(made, first):
            whole[number * hop : number * hop + size] += piece
    return whole[reach : reach + count * hop]


@functools.lru_cache(maxsize=4)
def _bins(mel: MelSettings) -> Array:
    """[bands, window + 1]: bands to bins of a DFT of two windows."""
    return interpolation(band_centres(mel), np.linspace(0, mel.sample_rate / 2, mel.window + 1))
