"""A recorded note -> what an instrument learns of it: rows of 90 values, 160 a second.

    0..47   log-mel bands of the residual, which is the note without its harmonics: breath, bow, hammer
    48      ln F0 in Hz
    49      how well the residual repeats itself at that F0, 0..1
    50..89  levels of the harmonics, see `harmonics.levels`; those above `harmonics.TOP` are silent

A note begins `LEAD` samples after the first row, so that what the windows hear of it beforehand has a place.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ..sound import lpc, pitch
from ..sound.mel import mel
from ..vocoder.frames import Frames
from ..vocoder.vocoder import VocoderSettings
from . import harmonics
from .notes import hertz

FRAMES = Frames(hop=100, bands=48, window=512, usual_f0=400.0, f0_factor=1.0)
SETTINGS = VocoderSettings(
    frames=FRAMES,
    lpc=lpc.LpcSettings(order=24, lag_hertz=30.0, floor=1.0001),
    voiced_temperature=1.0,
)
LEAD = 320  # samples, 20 ms
NOISE = FRAMES.width  # values of a row that the vocoder follows; the levels of the harmonics come after them
WIDTH = NOISE + harmonics.HARMONICS
SILENCE = 2e-4  # root mean square of a residual that repeats nothing

Array = npt.NDArray[np.float64]


class Analysed(NamedTuple):
    """rows [frames, 90], and the residual [frames * hop]"""

    rows: npt.NDArray[np.float32]
    residual: Array


def analyse(wave: npt.NDArray[np.floating], key: int) -> Analysed:
    """A note [time] of this MIDI key, which begins at sample LEAD."""
    whole = np.zeros(FRAMES.mel.frames(len(wave)) * FRAMES.hop)
    whole[: len(wave)] = wave
    f0, frames = hertz(key), len(whole) // FRAMES.hop
    found = harmonics.follow(whole, f0, LEAD, FRAMES)
    residual = whole - harmonics.rebuilt(found, f0, LEAD, FRAMES)
    track = f0 * 2 ** (harmonics.deviation(whole, f0, FRAMES) / 1200)
    rows = np.full((frames, WIDTH), -1, dtype=np.float32)
    rows[:, : FRAMES.bands] = mel(torch.from_numpy(residual.astype(np.float32)), FRAMES.mel).numpy()
    rows[:, FRAMES.log_f0] = np.log(track)
    rows[:, FRAMES.voicing] = pitch.periodicity(residual, FRAMES.sample_rate, track, FRAMES.hop, SILENCE)
    rows[:, NOISE : NOISE + found.shape[1]] = harmonics.levels(np.abs(found))
    return Analysed(rows, residual)
