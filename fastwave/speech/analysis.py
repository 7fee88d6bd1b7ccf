"""The frames that the voice's WaveNet is conditioned on, 80 a second: `vocoder/analysis.py` makes them of a recording.

A frame holds 42 values:

    0..39   log-mel bands of `MEL`
    40      ln F0 in Hz
    41      voicing, 0..1
"""

from __future__ import annotations

from ..vocoder.analysis import HIGHEST, LOWEST, SILENCE, SILENT_F0, SPEECH, frames, interpolated_log_f0, tracked_f0

__all__ = [
    "BANDS",
    "FRAMES",
    "HIGHEST",
    "HOP",
    "LOG_F0",
    "LOWEST",
    "MEL",
    "SAMPLE_RATE",
    "SILENCE",
    "SILENT_F0",
    "VOICING",
    "WIDTH",
    "frames",
    "interpolated_log_f0",
    "tracked_f0",
]

FRAMES = SPEECH
SAMPLE_RATE = FRAMES.sample_rate
HOP = FRAMES.hop  # samples a frame, 12.5 ms
BANDS, WIDTH = FRAMES.bands, FRAMES.width
LOG_F0, VOICING = FRAMES.log_f0, FRAMES.voicing
MEL = FRAMES.mel
