"""What this process may use of the machine, and what it gives back."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path


def cores() -> int:
    """How many processor cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def give_back_memory() -> None:
    """Return freed memory to the system. glibc keeps it for the thread that took it, however long that needs none."""
    with contextlib.suppress(AttributeError, TypeError):  # another C library returns it by itself; Windows has no None
        ctypes.CDLL(None).malloc_trim(0)


def cache_folder() -> Path:
    """Where files of the user lie that can be made again; it need not exist. RuntimeError where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")  # of the system, not of ours; a relative path is to be ignored
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "fastwave"
