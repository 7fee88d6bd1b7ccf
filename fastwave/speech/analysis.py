"""A recording -> the frames that the voice's WaveNet is conditioned on, 80 a second.

A frame is centred on its first sample, as those of `sound/mel.py` are, and holds 42 values:

    0..39   log-mel bands of `MEL`
    40      ln F0 in Hz; through unvoiced stretches it runs in a straight line, before the first and after the last
            voiced frame it keeps its value
    41      voicing, 0..1: how well the sound repeats itself at that F0; 0 where the frame is unvoiced or silent
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from ..errors import InputError
from ..sound import pitch
from ..sound.mel import mel
from ..vocoder.frames import Frames

FRAMES = Frames()
SAMPLE_RATE = FRAMES.sample_rate
HOP = FRAMES.hop  # samples a frame, 12.5 ms
BANDS, WIDTH = FRAMES.bands, FRAMES.width
LOG_F0, VOICING = FRAMES.log_f0, FRAMES.voicing
MEL = FRAMES.mel
LOWEST, HIGHEST = 60.0, 500.0  # Hz, the F0 of speech
SILENCE = 0.003  # root mean square, 50 dB below full scale: what is quieter is unvoiced
SILENT_F0 = 150.0  # Hz, for a recording without a voiced frame

Array = npt.NDArray[np.float32]


def frames(wave: npt.NDArray[np.floating], f0: npt.NDArray[np.floating] | None = None) -> Array:
    """wave [time] at 16 kHz, full scale 1 -> float32 [ceil(time / 200), 42].

    `f0` [frames], in Hz and 0 where unvoiced, is that of the same frames; None: it is tracked.
    """
    if wave.ndim != 1:
        raise InputError(f"a wave must be an array [time], one sound at a time, got {list(wave.shape)}.")
    count = MEL.frames(len(wave))
    f0 = tracked_f0(wave) if f0 is None else np.asarray(f0)
    if f0.shape != (count,):
        raise InputError(f"{len(wave)} samples have {count} frames, but f0 has shape {list(f0.shape)}.")
    result = np.empty((count, WIDTH), dtype=np.float32)
    result[:, :BANDS] = mel(torch.from_numpy(np.asarray(wave, dtype=np.float32)), MEL).numpy()
    result[:, LOG_F0] = interpolated_log_f0(f0)
    result[:, VOICING] = pitch.periodicity(wave, SAMPLE_RATE, f0, HOP, SILENCE)
    return result


def tracked_f0(wave: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The F0 of every frame in Hz, 0 where it is unvoiced, [ceil(time / 200)]."""
    half = round(pitch.FRAME_SECONDS * SAMPLE_RATE) // 2
    padded = np.concatenate([np.zeros(half), wave, np.zeros(half + HOP)])  # so that frames are centred
    track = pitch.track(padded, SAMPLE_RATE, LOWEST, HIGHEST, SILENCE, hop_seconds=HOP / SAMPLE_RATE)
    return np.nan_to_num(track.pitch)[: MEL.frames(len(wave))]


def interpolated_log_f0(f0: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """ln F0 of every frame, straight lines through the frames where F0 is 0, [frames]."""
    voiced = np.flatnonzero(f0 > 0)
    if not len(voiced):
        return np.full(len(f0), math.log(SILENT_F0))
    return np.interp(np.arange(len(f0)), voiced, np.log(f0[voiced].astype(np.float64)))
