"""Helpers of all recipe scripts: paths, files that are written whole or not at all, errors in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fastwave.errors import FastwaveError, InputError
from fastwave.files import replacing


def run(script: Callable[[], None]) -> None:
    """Call `script`; an error that fastwave raises on purpose becomes one line and exit status 1."""
    try:
        script()
    except FastwaveError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `measure_pitch.py ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def empty_folder(path: str) -> Path:
    """`path` as an empty folder, made if need be: training would mix files of an older run with the new ones."""
    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} must be a new or an empty folder: remove it, or name another")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot make this folder: {error.strerror}") from error
    return folder


def write_text(path: Path, text: str) -> None:
    """A UTF-8 file that appears whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())


def files_of(paths: Sequence[str], suffixes: Sequence[str]) -> list[Path]:
    """The files named, and for a folder all files in it and below whose name ends in one of `suffixes`."""
    chosen: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            chosen += sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes)
        elif path.is_file():
            chosen.append(path)
        else:
            raise InputError(f"{path}: there is no such file or folder")
    if not chosen:
        raise InputError(f"no file ending in {' or '.join(suffixes)} was found in {', '.join(paths)}")
    return chosen
