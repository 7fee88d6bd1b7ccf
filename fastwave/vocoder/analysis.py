"""A recording -> the frames that a vocoder follows, as `frames.py` lays them out.

A frame is centred on its first sample, as those of `sound/mel.py` are. ln F0 runs in a straight line through unvoiced
stretches, and keeps its value before the first and after the last voiced frame. Voicing, 0..1, is how well the sound
repeats itself at that F0; it is 0 where a frame is unvoiced or silent.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from ..errors import InputError
from ..sound import pitch
from ..sound.mel import mel
from .frames import Frames

LOWEST, HIGHEST = 60.0, 500.0  # Hz, the F0 of speech
SILENCE = 0.003  # root mean square, 50 dB below full scale: what is quieter is unvoiced
SILENT_F0 = 150.0  # Hz, for a recording without a voiced frame

SPEECH = Frames()
Array = npt.NDArray[np.float32]


def frames(
    wave: npt.NDArray[np.floating], f0: npt.NDArray[np.floating] | None = None, layout: Frames = SPEECH
) -> Array:
    """wave [time] at the rate of the layout, full scale 1 -> float32 [ceil(time / hop), width].

    `f0` [frames], in Hz and 0 where unvoiced, is that of the same frames; None: it is tracked.
    """
    if wave.ndim != 1:
        raise InputError(f"a wave must be an array [time], one sound at a time, got {list(wave.shape)}.")
    count = layout.mel.frames(len(wave))
    f0 = tracked_f0(wave, layout) if f0 is None else np.asarray(f0)
    if f0.shape != (count,):
        raise InputError(f"{len(wave)} samples have {count} frames, but f0 has shape {list(f0.shape)}.")
    result = np.empty((count, layout.width), dtype=np.float32)
    result[:, : layout.bands] = mel(torch.from_numpy(np.asarray(wave, dtype=np.float32)), layout.mel).numpy()
    result[:, layout.log_f0] = interpolated_log_f0(f0)
    result[:, layout.voicing] = pitch.periodicity(wave, layout.sample_rate, f0, layout.hop, SILENCE)
    return result


def tracked_f0(wave: npt.NDArray[np.floating], layout: Frames = SPEECH) -> npt.NDArray[np.float64]:
    """The F0 of every frame in Hz, 0 where it is unvoiced, [ceil(time / hop)]."""
    rate, hop = layout.sample_rate, layout.hop
    half = round(pitch.FRAME_SECONDS * rate) // 2
    padded = np.concatenate([np.zeros(half), wave, np.zeros(half + hop)])  # so that frames are centred
    track = pitch.track(padded, rate, LOWEST, HIGHEST, SILENCE, hop_seconds=hop / rate)
    return np.nan_to_num(track.pitch)[: layout.mel.frames(len(wave))]


def interpolated_log_f0(f0: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """ln F0 of every frame, straight lines through the frames where F0 is 0, [frames]."""
    voiced = np.flatnonzero(f0 > 0)
    if not len(voiced):
        return np.full(len(f0), math.log(SILENT_F0))
    return np.interp(np.arange(len(f0)), voiced, np.log(f0[voiced].astype(np.float64)))
