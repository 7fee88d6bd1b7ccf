"""Who may listen now, who waits, and who is asked to come again."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable

from ..errors import FastwaveError


class Busy(FastwaveError):
    """Everything that this machine can do at a time is taken, and the queue is full."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"all places are taken, and the queue is full: try again in {retry_after} s.")
        self.retry_after = retry_after


class Gone(FastwaveError):
    """The one who waited has left."""


class Admission:
    """Shares of this machine, which add up to 1 at most, handed out in the order of asking."""

    def __init__(self, waiting: int) -> None:
        self._most_waiting = waiting
        self._queue: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._shares: list[float] = []
        self._usual_stay = 1.0  # seconds, a running average

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._queue)

    @property
    def inside(self) -> int:
        """How many have one."""
        return len(self._shares)

    async def enter(self, share: float, is_gone: Callable[[], Awaitable[bool]]) -> Callable[[], None]:
        """Wait for a share of the machine -> the function that gives it back.

        Busy where the queue is full; Gone where this client has left.
        """
        if self._queue or not self._fits(share):
            if len(self._queue) >= self._most_waiting:
                raise Busy(self._retry_after())
            await self._turn(share, is_gone)
        else:
            self._shares.append(share)
        return self._leaver(share)

    async def _turn(self, share: float, is_gone: Callable[[], Awaitable[bool]]) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (share, turn)
        self._queue.append(entry)
        try:
            while not turn.done():
                await asyncio.wait([turn], timeout=0.25)
                if not turn.done() and await is_gone():
                    raise Gone("the one who waited has left.")
        except BaseException:
            if turn.done():  # its turn came in the same moment
                self._shares.remove(share)
            else:
                self._queue.remove(entry)
            self._call_next()
            raise

    def _leaver(self, share: float) -> Callable[[], None]:
        begun, is_in = time.monotonic(), True

        def leave() -> None:
            nonlocal is_in
            if is_in:
                is_in = False
                self._usual_stay += (time.monotonic() - begun - self._usual_stay) / 8
                self._shares.remove(share)
                self._call_next()

        return leave

    def _call_next(self) -> None:
        """Hand out what is free to those who wait, in their order."""
        while self._queue and self._fits(self._queue[0][0]):
            share, turn = self._queue.popleft()
            self._shares.append(share)
            turn.set_result(None)

    def _fits(self, share: float) -> bool:
        return not self._shares or sum(self._shares) + share <= 1 + 1e-9

    def _retry_after(self) -> int:
        """Seconds until one more could wait, as far as the past tells."""
        return min(max(math.ceil(self._usual_stay / max(len(self._shares), 1)), 1), 60)
