"""What one listener hears: blocks that a worker makes and a connection takes, until the end."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Block = npt.NDArray[Any]  # float32 samples, or uint8 letters of a text


class Stream:
    """Blocks in the order in which they were made. A worker puts them in, in its thread; a listener takes them out.

    No more than about `ahead` samples wait for the listener: one who reads slowly costs neither memory nor time, since
    the worker passes over a stream that has enough.
    """

    def __init__(self, ahead: int) -> None:
        self._blocks: deque[Block] = deque()
        self._ahead, self._waiting = ahead, 0
        self._lock = threading.Lock()
        self._is_left = self._is_ended = False
        self.failure: Exception | None = None
        self.made = 0  # samples since the beginning
        self.tell_listener: Callable[[], None] = nobody  # there is something to take, or there never will be
        self.tell_worker: Callable[[], None] = nobody  # there is room again, or nobody listens any more

    # For the worker

    @property
    def wants_more(self) -> bool:
        """Whether the listener is there and has less than enough."""
        return not self.is_over and self._waiting < self._ahead

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be made."""
        return self._is_ended or self._is_left

    def put(self, block: Block) -> None:
        """Give the listener the next block."""
        with self._lock:
            self._blocks.append(block)
            self._waiting += len(block)
            self.made += len(block)
        self.tell_listener()

    def end(self, failure: Exception | None = None) -> None:
        """Say that no other block follows, and why, where that is a failure."""
        self.failure, self._is_ended = failure, True
        self.tell_listener()

    # For the listener

    def take(self) -> Block | None:
        """Everything that waits, as one block; None where nothing does."""
        with self._lock:
            blocks, self._waiting = list(self._blocks), 0
            self._blocks.clear()
        if not blocks:
            return None
        self.tell_worker()
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    @property
    def is_finished(self) -> bool:
        """Whether everything was made and taken."""
        return self._is_ended and not self._blocks

    def leave(self) -> None:
        """Listen no longer: the place is free from the next block on."""
        self._is_left = True
        self.tell_worker()


def nobody() -> None:
    """What a stream tells before anybody is there to hear it."""
