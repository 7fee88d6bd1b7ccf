"""A recorded note -> what an instrument learns of it: rows of 116 values, 160 a second.

    0..47   log-mel bands of the residual, which is the note without its harmonics: breath, bow, hammer
    48      ln F0 in Hz
    49      how well the residual repeats itself at that F0, 0..1
    50      when the attack begins after the onset, 1 for 50 ms, see `attacks`
    51      how long it rises, 0 for the shortest and 1 for the longest, on a logarithmic scale
    52..115 levels of the harmonics, see `harmonics.levels`; those above `harmonics.TOP` are silent

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
from . import attacks, harmonics
from .attacks import Attack
from .notes import hertz

FRAMES = Frames(hop=100, bands=48, window=512, usual_f0=400.0, f0_factor=1.0)
SETTINGS = VocoderSettings(
    frames=FRAMES,
    lpc=lpc.LpcSettings(order=24, lag_hertz=30.0, floor=1.0001),
    voiced_temperature=1.0,
)
LEAD = 320  # samples, 20 ms
NOISE = FRAMES.width  # values of a row that the vocoder follows
BEGIN, RISE = NOISE, NOISE + 1  # where the attack is
TONE = NOISE + 2  # where the levels of the harmonics begin
WIDTH = TONE + harmonics.HARMONICS
AFTER_ONSET = 0.05 * FRAMES.sample_rate  # samples of which BEGIN is a part
SILENCE = 2e-4  # root mean square of a residual that repeats nothing

Array = npt.NDArray[np.float64]


class Analysed(NamedTuple):
    """rows [frames, WIDTH], and the residual [frames * hop]"""

    rows: npt.NDArray[np.float32]
    residual: Array


def analyse(wave: npt.NDArray[np.floating], key: int, stretch: float = 0.0) -> Analysed:
    """A note [time] of this MIDI key, which begins at sample LEAD; `stretch` is B of `stiffness`."""
    whole = np.zeros(FRAMES.mel.frames(len(wave)) * FRAMES.hop)
    whole[: len(wave)] = wave
    f0, frames = hertz(key), len(whole) // FRAMES.hop
    attack = attacks.of(whole, LEAD)
    found = harmonics.follow(whole, f0, attack, FRAMES, stretch)
    residual = whole - harmonics.rebuilt(found, f0, attack, FRAMES, stretch)
    track = f0 * 2 ** (harmonics.deviation(whole, f0, FRAMES, stretch) / 1200)
    rows = np.full((frames, WIDTH), -1, dtype=np.float32)
    rows[:, : FRAMES.bands] = mel(torch.from_numpy(residual.astype(np.float32)), FRAMES.mel).numpy()
    rows[:, FRAMES.log_f0] = np.log(track)
    rows[:, FRAMES.voicing] = pitch.periodicity(residual, FRAMES.sample_rate, track, FRAMES.hop, SILENCE)
    rows[:, BEGIN] = (attack.begin - LEAD) / AFTER_ONSET
    rows[:, RISE] = np.log(attack.rise / attacks.LEAST) / np.log(attacks.MOST / attacks.LEAST)
    rows[:, TONE : TONE + found.shape[1]] = harmonics.levels(np.abs(found))
    return Analysed(rows, residual)


def attack_of(rows: npt.NDArray[np.floating]) -> Attack:
    """The attack that rows of a note ask for: the mean of the first 75 ms."""
    begin, rise = rows[:12, [BEGIN, RISE]].astype(np.float64).mean(axis=0)
    latest = attacks.LATEST / AFTER_ONSET
    ratio = attacks.MOST / attacks.LEAST
    return Attack(LEAD + AFTER_ONSET * np.clip(begin, 0, latest), attacks.LEAST * ratio ** np.clip(rise, 0, 1))
