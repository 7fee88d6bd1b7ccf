"""How many threads native code takes.

Usually as many as PyTorch. In a training step PyTorch does small things between calls of native code: a second thread
makes them slower, and then waits for more of them, looking again and again for some milliseconds, on a core that native
code could use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch

_native: ContextVar[int | None] = ContextVar("native_threads", default=None)


def native() -> int:
    """For native code, here and now."""
    return _native.get() or torch.get_num_threads()


@contextlib.contextmanager
def pytorch_on_one() -> Iterator[None]:
    """PyTorch computes on one thread, and native code on as many as PyTorch had."""
    before = torch.get_num_threads()
    token = _native.set(native())
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _native.reset(token)
