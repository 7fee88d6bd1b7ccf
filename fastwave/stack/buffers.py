"""Memory that one training step leaves to the next: the system clears each page that it gives, which took 50 ms of a
step of 630 at `ref`.
"""

from __future__ import annotations

import collections
import math
import threading
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

LEAST = 1 << 20  # bytes; the allocator itself keeps smaller blocks


class Recycled:
    """Blocks, in use or free, each an eighth larger at most than what it is used for. Together they never pass the most
    that was in use at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._returned: collections.deque[Tensor] = collections.deque()  # by finalizers, which may run at any point
        self._free: list[Tensor] = []  # the longest unused first
        self._in_use = self._most = 0  # bytes

    def empty(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """As torch.empty, on the CPU."""
        count = math.prod(shape)
        size = count * dtype.itemsize
        if size < LEAST:
            return torch.empty(shape, dtype=dtype)
        block = self._take(size)
        view = memoryview(block.numpy())  # type: ignore[arg-type]
        weakref.finalize(view, self._returned.append, block).atexit = False  # once no tensor has this memory
        return torch.frombuffer(view, dtype=dtype, count=count).view(*shape)

    def _take(self, size: int) -> Tensor:
        with self._lock:
            self._collect()
            fitting = [each for each in self._free if size <= each.numel() <= size + size // 8]
            block = min(fitting, key=Tensor.numel, default=None)
            if block is not None:
                self._free = [each for each in self._free if each is not block]
            self._in_use += size if block is None else block.numel()
            self._most = max(self._most, self._in_use)
            while self._free and self._in_use + sum(map(Tensor.numel, self._free)) > self._most:
                del self._free[0]
        return torch.empty(size, dtype=torch.uint8) if block is None else block

    def release(self) -> None:
        """Gives the system what is free."""
        with self._lock:
            self._collect()
            self._free.clear()
            self._most = self._in_use

    def _collect(self) -> None:
        while self._returned:
            self._free.append(self._returned.popleft())
            self._in_use -= self._free[-1].numel()


_shared = Recycled()
empty, release = _shared.empty, _shared.release
