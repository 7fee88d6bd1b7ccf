"""Writing a file so that nobody ever sees half of it, and telling whether files have changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{16}\.tmp(\.\w+)?")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well it becomes `path`, else it is removed.

    The file is flushed to disk before the rename and the folder after it, so that a power cut leaves
    the old file or the new one. The temporary keeps the suffix, since sound libraries choose by it.
    A link is written through, as open() would. Errors are the operating system's own, as OSError.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        # a rename would turn a device such as /dev/null into an ordinary file
        raise OSError(f"{target} is a folder or a device, not an ordinary file")
    temporary = _create_beside(target)
    try:
        yield temporary
        with open(temporary, "rb+") as written:  # Windows flushes only files open for writing
            os.fsync(written.fileno())
        if target.exists():
            os.chmod(temporary, target.stat().st_mode & 0o777)
        os.replace(temporary, target)
        _sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def digest_of(paths: Iterable[Path]) -> str:
    """Of what is in these files, in this order."""
    digest = hashlib.blake2b(digest_size=8)
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def sweep(folder: Path) -> None:
    """Remove the temporaries that a killed process left in a folder. For the only process that writes there."""
    for path in folder.glob(".*.tmp*"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _create_beside(target: Path) -> Path:
    """An empty new file with the mode open() would give; mkstemp's are private, and reading the umask races."""
    stem = target.stem[:32]  # a name of 255 bytes, the most there is, must leave room for the rest
    temporary = target.with_name(f".{stem}.{secrets.token_hex(8)}.tmp{target.suffix}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there, and its renames are journalled
        return
    # Some network folders cannot be opened or synced; the rename is done and must not be reported as failed
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
