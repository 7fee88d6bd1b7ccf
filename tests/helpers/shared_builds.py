"""What one test run builds once, though several workers of pytest-xdist may need it at the same time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def folder_of_the_run(factory: pytest.TempPathFactory) -> Path:
    """The temporary folder that all workers of this run share; a run without workers has it for itself."""
    folder = factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def build_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """A folder that `build(folder)` has filled: by the first worker to come, while the others wait.

    Where a build fails, or skips, the next worker tries again and so reports the same.
    """
    folder = folder_of_the_run(factory) / f"shared-{name}"
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file closes, also when the worker dies
        if not (folder / "complete").exists():
            folder.mkdir(exist_ok=True)
            build(folder)
            (folder / "complete").touch()
    return folder
