"""Frames -> sound by a WaveNet that makes the excitation of linear prediction. Speech and music share it."""
