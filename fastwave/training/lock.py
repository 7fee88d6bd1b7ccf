"""The lock of a run's folder, so that two processes never write one run."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError

if sys.platform != "win32":  # which has no such locks: there, two runs in one folder go unnoticed
    import fcntl

FILE = "run.lock"
_held: set[Path] = set()  # by this process


@contextlib.contextmanager
def locked(folder: Path, wanted: bool = True) -> Iterator[None]:
    """Hold the lock of a folder while the block runs; refused where another process holds it.

    The system frees the lock when the process ends, however it ends. A block may take a lock that its process holds.
    Of many processes of one run only the first wants it.
    """
    path = folder.resolve() / FILE
    if not wanted or path in _held or sys.platform == "win32":
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+")  # noqa: SIM115
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error
    with file:
        _take(file.fileno(), folder, path)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        _held.add(path)
        try:
            yield
        finally:
            _held.discard(path)


def _take(descriptor: int, folder: Path, path: Path) -> None:
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = path.read_text().strip() or "unknown"
        raise InputError(
            f"another process (number {holder}) is training in {folder}: wait until it ends or stop it, or give "
            "another --out."
        ) from error
    except OSError:  # a network folder without locks: better to train without than not at all
        return
