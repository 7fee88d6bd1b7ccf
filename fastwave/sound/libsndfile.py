"""Between a file and the sound library: no error is lost, every error has one type, and reading never seeks.

libsndfile, which soundfile calls, and soxr are imported where they are used: `import fastwave` needs neither.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from ..errors import AudioError, FastwaveError


class Witness:
    """A file for the sound library to read or write, which remembers the error that the library would lose.

    An exception cannot pass through the C library, so it is kept, and raised at the end of the `with` block. The
    library itself would report something else, or nothing at all where the disk fills while it closes a file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._failure: OSError | None = None

    def __enter__(self) -> Witness:
        return self

    def __exit__(self, *_: object) -> None:
        self.complain()

    def readinto(self, buffer: Any) -> int:
        try:
            return self._file.readinto(buffer)  # type: ignore[attr-defined, no-any-return]
        except OSError as error:
            self._failure = error
            return 0

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self._failure = error
            return 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        # a damaged file can name an impossible position: stay, and let the library notice
        with contextlib.suppress(OSError, ValueError, OverflowError):
            self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return self._file.tell()

    def complain(self) -> None:
        """Raise the error that was kept, if there is one."""
        if self._failure is not None:
            raise self._failure


def forward_only() -> Any:
    """soundfile.SoundFile without its habit of seeking after every read: in an MP3 a seek loses the bits that a
    frame borrows from the one before, so audio read in blocks would differ from audio read whole."""
    soundfile = imported("soundfile")

    class ForwardOnly(soundfile.SoundFile):  # type: ignore[misc, name-defined]
        def seekable(self) -> bool:
            return False

    return ForwardOnly


@contextlib.contextmanager
def audio_errors(action: str) -> Iterator[None]:
    """Whatever the libraries raise in the block (they raise nearly everything, AssertionError included) becomes an
    AudioError that begins with the action, such as "a.wav: cannot read"."""
    try:
        yield
    except FastwaveError:
        raise
    except OSError as error:
        raise AudioError(f"{action}: {error.strerror or error}") from error
    except Exception as error:
        # The words of libsndfile, without the repr of what was opened that soundfile puts before them
        reason = getattr(error, "error_string", str(error)) or type(error).__name__
        raise AudioError(f'{action}: the sound library says "{reason}"') from error


def imported(name: str) -> Any:
    """A module, or an AudioError that says how to install it."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: the package is there, its shared library is not
        raise AudioError(f"sound files need the package {name} ({error}): pip install {name}") from error
