"""What this process may use of the machine."""

from __future__ import annotations

import os
from pathlib import Path


def cores() -> int:
    """How many processor cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def let_threads_sleep() -> None:
    """Have PyTorch's threads sleep soon when they have nothing to do, unless the user chose otherwise: after each
    parallel loop GNU's look for more for up to 20 ms, on cores that native code could use. To be called before torch is
    imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def cache_folder() -> Path:
    """Where files of the user lie that can be made again; it need not exist. RuntimeError where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")  # of the system, not of ours; a relative path is to be ignored
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "fastwave"
