"""Sentences of phones -> durations, F0 and voicing, and mel bands: three small networks, and how they are trained."""

from .model import Acoustic
from .networks import Shape

__all__ = ["Acoustic", "Shape"]
