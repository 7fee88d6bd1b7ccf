"""A thread that advances all streams of one model a little, again and again."""

from __future__ import annotations

import atexit
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from .streams import Stream, nobody

Kind = TypeVar("Kind", bound=Stream)

STOP_SECONDS = 5.0  # that the end of the process waits for a round; one takes a fraction of a second


class Worker(ABC, Generic[Kind]):
    """Streams join and leave between two rounds. A round advances those whose listeners have not enough yet."""

    def __init__(self, name: str) -> None:
        self._streams: list[Kind] = []
        self._is_closing = self._is_stopped = False
        self._changed = threading.Condition()
        self._name = f"fastwave {name}"
        self._thread: threading.Thread | None = None  # None before the first stream, and after the last one

    @abstractmethod
    def advance(self, streams: Sequence[Kind]) -> None:
        """Make the next samples of each of these streams, at least one, and end those that are complete."""

    @property
    def running(self) -> int:
        """How many streams there are."""
        return len(self._streams)

    def add(self, stream: Kind) -> None:
        """Take a stream along from the next round on."""
        stream.tell_worker = self._wake
        with self._changed:
            self._streams.append(stream)
            if self._thread is None:  # also of a worker that is closed: a stream may come late
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                atexit.register(self._stop)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """End the thread once its last stream is over."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()

    def _stop(self) -> None:
        """End the thread before Python ends: torch aborts the process if it finds itself in a thread after that."""
        with self._changed:
            self._is_stopped, thread = True, self._thread
            self._changed.notify()
        if thread is not None:
            thread.join(STOP_SECONDS)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        while ready := self._wait():
            try:
                self.advance(ready)
            except Exception as error:  # whatever it was, its listeners must not wait for ever
                for stream in ready:
                    stream.end(error)

    def _wait(self) -> list[Kind]:
        """The streams of the next round; none at the very end, or when the process ends."""
        with self._changed:
            while not self._is_stopped:
                for stream in self._streams:
                    if stream.is_over:
                        stream.tell_worker = nobody  # whoever holds the stream must not hold the model
                self._streams = [stream for stream in self._streams if not stream.is_over]
                ready = [stream for stream in self._streams if stream.wants_more]
                if ready:
                    return ready
                if self._is_closing and not self._streams:
                    self._thread = None
                    atexit.unregister(self._stop)
                    return []
                self._changed.wait()
            return []
