"""magenta's NSynth: recognised, and refused, because no model of fastwave computes what its decoder does."""

from __future__ import annotations

from ..errors import CheckpointError
from .hyperparameters import Hyperparameters
from .mapping import Imported
from .notes import Notes
from .source import Source
from .weights import Weights

NAME = "nsynth"
PROJECT = "magenta's NSynth"
_NEEDED = ("startconv/W", "skip_start/W", "dilatedconv_1/W", "cond_map_out1/W")


def matches(source: Source) -> float | None:
    """By the names of its decoder's layers."""
    return 1.0 if all(name in source.tensors for name in _NEEDED) else None


def convert(source: Source, weights: Weights, hyper: Hyperparameters, notes: Notes) -> Imported:
    """Never a model."""
    raise CheckpointError(
        "NSynth's decoder cannot be imported exactly: its conditioning enters the head too (cond_map_out1), behind a "
        "rectifier where nothing can be folded, and its skip sum begins with a second convolution of the input "
        "(skip_start). Train a model of fastwave on the same recordings instead."
    )
