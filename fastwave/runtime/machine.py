"""What this process may use of the machine."""

from __future__ import annotations

import os
from pathlib import Path


def cores() -> int:
    """How many processor cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_folder() -> Path:
    """Where files of the user lie that can be made again; it need not exist. RuntimeError where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")  # of the system, not of ours; a relative path is to be ignored
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "fastwave"
