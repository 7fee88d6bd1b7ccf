"""How loud speech is: a factor for the whole and for words of it, and a ceiling that nothing passes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..sound.loudness import bent
from .phones import Sentence, Word

Array = npt.NDArray[np.float32]


def word_volumes(sentence: Sentence, durations: Sequence[int]) -> Array | None:
    """The factor of every frame [F] that the words of a sentence ask for; None where none asks for one."""
    if all(part.volume == 1 for part in sentence.parts if isinstance(part, Word)):
        return None
    factors = []
    for unit in sentence.units():
        part = sentence.parts[unit.part] if unit.part >= 0 else None
        factors.append(part.volume if isinstance(part, Word) else 1.0)
    return np.repeat(np.asarray(factors, dtype=np.float32), np.asarray(durations))


def scaled(wave: Array, volume: float, factors: Array | None, first: int, hop: int) -> Array:
    """Samples first, first + 1, ... of a sentence, louder or quieter, and never beyond full scale.

    Factors of frames are interpolated between the middles of the frames.
    """
    louder = np.asarray(wave * volume, dtype=np.float32)
    if factors is not None and len(factors):
        places = (np.arange(first, first + len(wave)) + 0.5) / hop - 0.5
        louder *= np.interp(places, np.arange(len(factors)), factors).astype(np.float32)
    return bent(louder)
