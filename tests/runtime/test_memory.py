"""Memory that was freed is given back to the system."""

import ctypes
import platform
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from fastwave.runtime import library

PIECE, PIECES = 64 * 1024, 1024


def resident():
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that keeps freed memory")
def test_memory_that_another_thread_has_freed_is_given_back():
    kept = []

    def use():
        pieces = [np.ones(PIECE, np.uint8) for _ in range(PIECES)]
        kept.append(pieces.pop())  # above all others: what lies below it is not returned by itself

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    before = resident()
    library.give_back_memory()
    assert before - resident() > 0.5 * PIECE * PIECES


def test_where_the_c_library_gives_it_back_by_itself_nothing_happens(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    library.give_back_memory()
