"""Which dtype a student computes in when it may choose: bfloat16 where it is fast and changes next to nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from ..errors import GenerationError
from ..runtime import library
from ..vocoder.frames import Frames
from . import checkpoint, objectives

if TYPE_CHECKING:
    from .generator import StudentGenerator
    from .network import ParallelWaveNet

FAST = ("avx512_bf16", "amx")  # instruction sets that multiply bfloat16 faster than float32
# Of the spectral distance between two draws from the same frames: a twentieth of what luck makes of a sound
MOST = 0.05
FRAMES = 60  # of the probe: four blocks
_KNOWN: dict[str, float] = {}  # in this process, by weights and config
_MOST_KNOWN = 1000


def chosen(model: ParallelWaveNet, backend: str, make: Callable[[str], StudentGenerator]) -> tuple[str, str]:
    """The dtype for a student, and in a few words why. `make` gives its generator in a dtype."""
    if backend != "cpu" or library.cpu_features().best not in FAST:
        return "float32", "bfloat16 is not faster here"
    key = f"{model.config} {checkpoint.digest(model.state_dict())}"
    if key not in _KNOWN:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[key] = cost(make("float32"), make("bfloat16"))
    said = f"bfloat16 changes a sound by {_KNOWN[key]:.1%} of what another seed does"
    return ("bfloat16", said) if _KNOWN[key] <= MOST else ("float32", f"{said}: more than {MOST:.0%}")


def cost(exact: StudentGenerator, rounded: StudentGenerator) -> float:
    """How far a sound of one generator is from that of the other, as a share of how far another draw is."""
    rows = torch.from_numpy(example(exact.config.frames))
    samples = len(rows) * exact.config.frames.hop
    condition = exact.prepare(rows, None, 1, samples)
    try:
        right, got, other = (
            generator.run(generator.start(1), samples, seed=seed, condition=condition)
            for generator, seed in ((exact, 0), (rounded, 0), (exact, 1))
        )
    except GenerationError:  # NaN, which whoever generates in earnest will be told of
        return math.inf
    return float(objectives.spectral_distance(right, got) / objectives.spectral_distance(right, other))


def example(layout: Frames) -> npt.NDArray[np.float32]:
    """Frames like those of speech, whose bands fall and whose F0 glides, in parts voiced and unvoiced."""
    time = np.linspace(0, 1, FRAMES)
    rows = np.empty((FRAMES, layout.width), dtype=np.float32)
    rows[:, : layout.bands] = np.linspace(0.6, 0.1, layout.bands)
    rows[:, layout.log_f0] = math.log(layout.usual_f0) + 0.3 * np.sin(2 * np.pi * time)
    rows[:, layout.voicing] = np.where(np.sin(4 * np.pi * time) > -0.5, 0.9, 0.0)
    return rows
