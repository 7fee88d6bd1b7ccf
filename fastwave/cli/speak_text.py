"""What `fastwave speak` says: a text of the command line, of standard input, of a file or of a folder of files."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, did_you_mean
from .options import siblings

STANDARD_INPUT = "-"
MOST_BYTES = 64 << 20  # of a text, a hundred books
_SOUND = (".wav", ".flac", ".ogg", ".mp3")
_NOTHING = "there is nothing to say: give a TEXT in quotes, -f FILE, or send a text to standard input."


@dataclass(frozen=True)
class Text:
    """A text, and the file that its sound goes to; None for standard output or a player."""

    name: str  # where it comes from, for messages
    content: str
    output: Path | None


def check_text(options: argparse.Namespace) -> None:
    """Refuse, before anything is read, a text that is missing, twice there, or not where it should be."""
    if options.ssml and options.from_phonemes:
        raise InputError("the text is SSML or phones, not both: leave out --ssml or --from-phonemes.")
    if options.phonemes and options.from_phonemes:
        raise InputError("--from-phonemes gives phones already: leave out --phonemes.")
    if options.text and options.file is not None:
        raise InputError(f"give TEXT or -f {options.file}, not both.")
    if options.text and options.text != [STANDARD_INPUT] and not " ".join(options.text).strip():
        raise InputError("there is nothing to say: the text is empty. Give words in quotes, or -f FILE.")
    if options.file not in (None, STANDARD_INPUT):
        _check_file(Path(options.file), options)
    elif not options.text and (sys.stdin is None or sys.stdin.isatty()):
        raise InputError(_NOTHING)


def _check_file(path: Path, options: argparse.Namespace) -> None:
    if path.is_dir():
        if not any(path.glob("*.txt")):
            raise InputError(f"-f {path} is a folder without a .txt file: give a text file, or a folder of them.")
        if options.output_dir is None and not options.phonemes:
            raise InputError(f"-f {path} is a folder: give --output-dir FOLDER, for a sound of every text file in it.")
    elif not path.exists():
        cure = did_you_mean(path.name, siblings(str(path))) or " Give a text file, or a folder of .txt files."
        if path.suffix.lower() in _SOUND:
            cure = " -f names the text to say; the sound goes to -o FILE."
        raise InputError(f"-f {path}: there is no such file.{cure}")
    elif path.suffix.lower() in _SOUND:
        raise InputError(f"-f {path} is a sound file: -f names the text to say; the sound goes to -o FILE.")


def texts_of(options: argparse.Namespace) -> list[Text]:
    """All texts, with their places."""
    folder = None if options.output_dir is None else Path(options.output_dir)
    one = None if options.output in (None, "-") else Path(options.output)
    source = None if options.file in (None, STANDARD_INPUT) else Path(options.file)
    if source is not None and source.is_dir():
        texts = []
        for path in sorted(source.glob("*.txt")):
            content = _read(path)
            if options.lines:
                texts += _lines(content, str(path), folder, f"{path.stem}-")
            else:
                texts.append(Text(str(path), content, folder and folder / f"{path.stem}.wav"))
        return _some(texts)
    name = "TEXT" if options.text and options.text != [STANDARD_INPUT] else str(source or "standard input")
    content = _read(source) if source else " ".join(options.text) if name == "TEXT" else _read_standard_input()
    if not content.strip():
        raise InputError(f"there is nothing to say: {name} is empty. Give a text that holds words.")
    if folder is not None or options.lines:
        return _some(_lines(content, name, folder, ""))
    return [Text(name, content, one)]


def _some(texts: list[Text]) -> list[Text]:
    if not texts:
        raise InputError("there is nothing to say: all lines are empty.")
    return texts


def _lines(content: str, name: str, folder: Path | None, prefix: str) -> list[Text]:
    """The lines that are not empty, each with a file named after its number."""
    lines = content.splitlines()
    width = max(4, len(str(len(lines))))
    return [
        Text(f"{name}, line {number}", line, folder and folder / f"{prefix}{number:0{width}}.wav")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _read(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return _decoded(file.read(MOST_BYTES + 1), str(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error


def _read_standard_input() -> str:
    try:
        return _decoded(sys.stdin.buffer.read(MOST_BYTES + 1), "standard input")
    except (OSError, AttributeError) as error:  # closed, or put aside by another program
        raise InputError(_NOTHING) from error


def _decoded(content: bytes, name: str) -> str:
    if len(content) > MOST_BYTES:
        raise InputError(f"{name} is longer than {MOST_BYTES >> 20} MiB: say it in parts.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not a text in UTF-8 (byte {error.start}): save it as plain text in UTF-8."
        ) from error
