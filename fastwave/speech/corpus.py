"""Folders of recordings with their texts, as people have them.

    metadata.csv    NAME|TEXT or NAME|TEXT|TEXT IN WORDS, a recording a line, beside wavs/NAME.wav or NAME.wav
    NAME.txt        beside NAME.wav, also in folders within the folder

A sound may also be a .flac, .ogg or .mp3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError

METADATA = "metadata.csv"
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
MOST_TEXT = 1 << 16  # bytes of a text file
LAYOUTS = (
    f"a voice learns from a folder with {METADATA} (NAME|TEXT, a line a recording) beside wavs/, or with NAME.txt "
    "beside each NAME.wav"
)


class Pair(NamedTuple):
    """A recording and what it says."""

    name: str
    sound: Path
    text: str


class Corpus(NamedTuple):
    """All pairs of a folder in the order of their names, and what has no partner, with the reason."""

    pairs: list[Pair]
    left_out: dict[str, str]

    def digest(self) -> str:
        """Another one for other files or texts."""
        whole = hashlib.blake2b(digest_size=8)
        for pair in self.pairs:
            whole.update(f"{pair.name}\0{pair.text}\0{pair.sound.stat().st_size}\0".encode("utf-8", "replace"))
        return whole.hexdigest()


def read(folder: Path) -> Corpus:
    """The pairs of a folder; refused where it has none."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: {LAYOUTS}.")
    sounds = _by_name(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not sounds:
        raise InputError(f"{folder} holds no sounds ({', '.join(SUFFIXES)}): {LAYOUTS}.")
    table = folder / METADATA
    texts = _from_table(table) if table.is_file() else _from_files(folder)
    if not texts:
        raise InputError(f"{folder} holds {len(sounds)} sounds, but no text of them: {LAYOUTS}.")
    pairs, left_out = [], {}
    for name in sorted(texts.keys() | sounds.keys()):
        text, paths = texts.get(name, "").strip(), sounds.get(name, [])
        if len(paths) > 1:
            left_out[name] = f"{paths[0]} and {paths[1]} have the same name"
        elif not paths:
            left_out[name] = "there is no sound of this name"
        elif not text:
            left_out[name] = "it has no text"
        else:
            pairs.append(Pair(name, paths[0], text))
    if not pairs:
        name, other = next(iter(texts)), next(iter(sounds))
        raise InputError(
            f"no text in {folder} has a sound of its name: a text is that of {name!r}, a sound is called {other!r}. "
            "Both need the same name."
        )
    return Corpus(pairs, left_out)


def _by_name(paths: Iterable[Path]) -> dict[str, list[Path]]:
    named: dict[str, list[Path]] = {}
    for path in sorted(paths):
        named.setdefault(path.stem, []).append(path)
    return named


def _from_table(path: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, line in enumerate(_content(path, 1 << 30).splitlines(), 1):
        if not line.strip():
            continue
        name, *columns = (column.strip() for column in line.split("|"))
        if not columns or not name:
            raise InputError(f"{path}, line {number} is not NAME|TEXT: {line[:60]!r}.")
        name = Path(name.replace("\\", "/")).name
        name = name.removesuffix(next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), ""))
        if name in texts:
            raise InputError(f"{path}, line {number} is the second one of {name!r}: leave one of the two.")
        texts[name] = next((column for column in reversed(columns[:2]) if column), "")
    return texts


def _from_files(folder: Path) -> dict[str, str]:
    files = _by_name(path for path in folder.rglob("*") if path.suffix.lower() == ".txt")
    return {name: _content(paths[0], MOST_TEXT) for name, paths in files.items()}


def _content(path: Path, most: int) -> str:
    try:
        if path.stat().st_size > most:
            raise InputError(f"{path} is longer than {most:,} bytes: it is no text of a recording.")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text in UTF-8: {error}.") from error
