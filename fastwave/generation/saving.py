"""Where a result goes: whether it can be written is asked before it is made, and a failure at the end loses nothing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Protocol

from ..errors import AudioError, FastwaveError, InputError, did_you_mean


class Savable(Protocol):
    """Something that writes itself to files."""

    def save(self, path: str | os.PathLike[str]) -> list[Path]:
        """The files that were written."""


def check_place(path: str | os.PathLike[str]) -> None:
    """Refuse a path where no file can be written, whatever its contents."""
    target = Path(path)
    folder = target.parent
    if target.is_dir():
        raise InputError(f"cannot write {target}: it is a folder. Give the name of a file, such as {target / 'x.wav'}.")
    if target.exists() and not target.is_file():
        raise InputError(
            f"cannot write {target}: it is a device. Give the name of a file, or on the command line -o -."
        )
    if not folder.is_dir():
        try:
            names = [each.name for each in folder.parent.iterdir() if each.is_dir()]
        except OSError:
            names = []
        raise InputError(
            f"cannot write {target}: there is no folder {folder}. Make it first.{did_you_mean(folder.name, names)}"
        )
    if not os.access(folder, os.W_OK):  # a file is written beside its old version, which it then replaces
        raise InputError(f"cannot write {target}: you may not write in the folder {folder}. Give another.")


def check_folder(path: str | os.PathLike[str], option: str) -> None:
    """Refuse a folder that neither exists nor can be made, or where nothing can be written."""
    folder = Path(path)
    existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not existing.is_dir():
        raise InputError(f"{option} {folder} cannot be made: {existing} is a file.")
    if not os.access(existing, os.W_OK):
        raise InputError(f"{option} {folder} cannot be written: you may not write in {existing}. Give another.")


def check_output(path: str | os.PathLike[str], sample_rate: int) -> None:
    """Refuse a path where no sound of this rate can be written, or no text where the rate is 0."""
    check_place(path)
    if sample_rate:
        from ..sound import audio

        audio.format_of(Path(path), sample_rate)


def save_or_rescue(result: Savable, path: str | os.PathLike[str]) -> list[Path]:
    """Save a result; where that fails, for example on a full disk, save it in the system's temporary folder and raise
    an error that says where.
    """
    try:
        return result.save(path)
    except (AudioError, InputError) as error:
        try:
            rescued = result.save(Path(tempfile.mkdtemp(prefix="fastwave-")) / Path(path).name)
        except (FastwaveError, OSError):
            raise error from None
        text = str(error).rstrip(".")
        raise type(error)(f"{text}. What was made is saved as {', '.join(map(str, rescued))} instead.") from error
