"""The files of a folder that a model can learn from, and who speaks in them."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import InputError

SOUND = frozenset({".wav", ".flac", ".ogg", ".mp3"})
TEXT = frozenset({".txt", ".text", ".md"})


@dataclasses.dataclass(frozen=True)
class Source:
    """One file of sound or text."""

    name: str  # relative to the folder, with forward slashes
    path: str
    size: int
    changed: int  # time of the last change, ns
    speaker: int = 0


def find(folder: str | os.PathLike[str]) -> tuple[list[Source], list[Source]]:
    """(sound files, text files) of a folder and all below it; `folder` may also be one file."""
    root = Path(folder)
    if not root.exists():
        raise InputError(f"there is no {root}: give a folder of sound or text files.")
    paths = [root] if root.is_file() else sorted(_walk(root))
    sources: tuple[list[Source], list[Source]] = ([], [])
    for path in paths:
        kind = path.suffix.lower()
        if kind in SOUND or kind in TEXT:
            name = path.name if path == root else path.relative_to(root).as_posix()
            sources[kind in TEXT].append(Source(name, str(path), *status_of(path)))
    if not any(sources):
        raise InputError(f"{root} holds no {', '.join(sorted(SOUND | TEXT))} file, nor do the folders below it.")
    return sources


def status_of(path: Path) -> tuple[int, int]:
    """(bytes, ns of the last change); zeros for a broken link, which is reported when it is read."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _walk(root: Path) -> Iterator[Path]:
    def stop(error: OSError) -> None:
        raise InputError(f"cannot read {error.filename}: {error.strerror}.") from error

    for folder, subfolders, names in os.walk(root, onerror=stop, followlinks=False):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        if "run.json" in names and Path(folder) != root:  # a training run: it holds generated samples
            subfolders.clear()
            continue
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def name_speakers(
    sources: Sequence[Source], speakers: str | None
) -> tuple[list[Source], list[str], list[tuple[str, str]]]:
    """(sources with their ids, the speakers' names in the order of their ids, files without a speaker and why).

    `speakers` is "folders", where the sub-folder of a file names its speaker, or a CSV file of name,speaker,
    in which a name may lack its suffix.
    """
    if speakers is None:
        return list(sources), [], []
    if speakers == "folders":
        names_of = {source.name: source.name.rpartition("/")[0] for source in sources}
        reason = "it lies in no sub-folder that would name its speaker"
    else:
        names_of = _read_speakers(Path(speakers))
        reason = f"{speakers} names no speaker for it"
    speaker_of = {
        source.name: names_of.get(source.name) or names_of.get(source.name.rpartition(".")[0]) for source in sources
    }
    names = sorted({name for name in speaker_of.values() if name})
    if not names:
        raise InputError(f"no file has a speaker: {reason}.")
    named = [
        dataclasses.replace(source, speaker=names.index(name))
        for source in sources
        if (name := speaker_of[source.name])
    ]
    return named, names, [(source.name, reason) for source in sources if not speaker_of[source.name]]


def _read_speakers(path: Path) -> dict[str, str]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:  # spreadsheets write a byte order mark
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read the speakers of {path}: {error}.") from error
    if any(len(row) != 2 for row in rows):
        raise InputError(f"{path}: every line must be name,speaker.")
    return {name.strip(): speaker.strip() for name, speaker in rows}
