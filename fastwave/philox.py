"""Uniform random numbers as a pure function of (seed, stream, time, draw): Philox4x32-10, first word of four.

Each number is computed from its own coordinates alone, so it is the same for any batch size, chunk size, number of
threads and device. Philox: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .errors import InputError

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ROUNDS = 10


def philox(counter: Sequence[np.ndarray], key: int) -> list[np.ndarray]:
    """Four uint32 words (held in uint64 arrays) for each counter of four words, under a 64-bit key."""
    c0, c1, c2, c3 = counter
    k0, k1 = np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32)
    for _ in range(_ROUNDS):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (product1 >> _HALF) ^ c1 ^ k0,
            product1 & _LOW,
            (product0 >> _HALF) ^ c3 ^ k1,
            product0 & _LOW,
        )
        k0, k1 = (k0 + _KEY_STEPS[0]) & _LOW, (k1 + _KEY_STEPS[1]) & _LOW
    return [c0, c1, c2, c3]


def noise(seed: int, stream: int, first: int, count: int, draws: int = 1) -> torch.Tensor:
    """float32 uniforms in [0, 1) for times first .. first+count-1 of one stream: [count, draws]."""
    if not all(isinstance(each, int) for each in (seed, stream, first, count, draws)) or draws < 1:
        raise InputError("seed, stream, first, count and draws must be integers, and draws at least 1.")
    if not 0 <= seed < 2**64:
        raise InputError(f"seed must be 0..2^64-1, got {seed}.")
    if not 0 <= stream < 2**32:
        raise InputError(f"stream must be 0..2^32-1, got {stream}.")
    if not (first >= 0 and count >= 0 and first + count < 2**63):
        raise InputError(f"times {first}..{first}+{count} must lie in 0..2^63-1.")
    time = np.arange(first, first + count, dtype=np.uint64)[:, None]
    draw = np.arange(draws, dtype=np.uint64)[None, :]
    counter = np.broadcast_arrays(time & _LOW, time >> _HALF, np.uint64(stream), draw)
    word = philox(counter, seed)[0]
    return torch.from_numpy((word >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24))
