"""Listeners of streams for tests of serving."""

import threading
import time

import numpy as np

PATIENCE = 120  # seconds; a machine under load is slow


def listen(stream):
    """Everything that a stream makes, to its end; its failure is raised."""
    changed = threading.Event()
    stream.tell_listener = changed.set
    blocks, end = [], time.monotonic() + PATIENCE
    while True:
        changed.clear()
        block = stream.take()
        if block is not None:
            blocks.append(block)
        elif stream.is_finished:
            break
        else:
            assert changed.wait(end - time.monotonic()), "nothing more was made"
    if stream.failure is not None:
        raise stream.failure
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def until(condition):
    """Wait for something that another thread does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        threading.Event().wait(0.005)
