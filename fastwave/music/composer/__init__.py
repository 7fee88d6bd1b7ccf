"""Chorales from nothing: a WaveNet of text writes them, in four parts."""

from .composing import compose

__all__ = ["compose"]
