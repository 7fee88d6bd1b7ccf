"""The control that must lose: text from how often each letter followed the last few, with every shorter context."""

from __future__ import annotations

import functools
import math

import numpy as np

LONGEST = 8  # characters of context: they fit one integer


class Markov:
    """An order-k model of bytes with Witten-Bell smoothing, by binary search among all contexts in order."""

    def __init__(self, data: bytes, order: int) -> None:
        if not 0 <= order <= LONGEST:
            raise ValueError(f"order must be 0..{LONGEST}, got {order}")
        self.order = order
        letters = np.frombuffer(bytes(LONGEST) + data, np.uint8)
        keys = np.zeros(len(data), np.uint64)
        for back in range(1, LONGEST + 1):  # the nearest letter is the highest byte
            shift = np.uint64(8 * (LONGEST - back))
            keys |= letters[LONGEST - back : len(letters) - back].astype(np.uint64) << shift
        order_of = np.argsort(keys, kind="stable")
        self._keys, self._next = keys[order_of], letters[LONGEST:][order_of]
        self._chances = functools.lru_cache(maxsize=200_000)(self._distribution)

    def chances(self, context: bytes) -> np.ndarray:
        """The chance of each byte to come next [256]."""
        return self._chances(context[max(0, len(context) - self.order) :] if self.order else b"")

    def bits(self, text: bytes, skip: int = 0) -> float:
        """Bits a character of a text; its first `skip` characters are context alone."""
        places = range(max(skip, 0), len(text))
        total = sum(-math.log2(self.chances(text[max(0, at - LONGEST) : at])[text[at]]) for at in places)
        return total / len(places)

    def write(self, rng: np.random.Generator, characters: int, start: bytes) -> str:
        """So many characters that follow `start`."""
        made = bytearray(start)
        for _ in range(characters):
            made.append(int(rng.choice(256, p=self.chances(bytes(made[-LONGEST:])))))
        return made[len(start) :].decode("latin-1")

    def _distribution(self, context: bytes) -> np.ndarray:
        shorter = np.full(256, 1 / 256) if not context else self._chances(context[1:])
        low = int.from_bytes(context[::-1].ljust(LONGEST, b"\0"), "big")
        high = low + 256 ** (LONGEST - len(context)) - 1
        first = np.searchsorted(self._keys, np.uint64(low), "left")
        last = np.searchsorted(self._keys, np.uint64(high), "right")
        counts = np.bincount(self._next[first:last], minlength=256)
        kinds = np.count_nonzero(counts)
        if not kinds:
            return shorter
        return (counts + kinds * shorter) / (counts.sum() + kinds)
