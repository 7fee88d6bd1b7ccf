"""Which voice a path or a name stands for, and what a path is that stands for none. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, did_you_mean
from ..locate import CONFIG_FILE, parse_object, read_bounded
from ..locate import bundled as bundled_models

VOICE_FILE = "voice.json"
KIND = "voice"
FORMAT = 1
BUNDLED = Path(__file__).parent / "voices"
DEFAULT = "hazel"  # the bundled voice that speaks where none is named
_CURE = f"A voice is a folder that holds {VOICE_FILE}; `fastwave speak --list-voices` lists those that are here"


def voices() -> list[str]:
    """Names of the voices that come with the package."""
    return sorted(path.parent.name for path in BUNDLED.glob(f"*/{VOICE_FILE}"))


def default_voice() -> str:
    """The voice that speaks where none is named."""
    names = voices()
    if DEFAULT not in names:
        missing, cure = ("bundled voice", "") if not names else (f"voice {DEFAULT!r}", f", or {' or '.join(names)}")
        raise CheckpointError(f"this installation has no {missing}: name the folder of one with --voice FOLDER{cure}.")
    return DEFAULT


def locate_voice(voice: str | os.PathLike[str]) -> Path:
    """The folder that a user means by a bundled voice's name, by a folder, or by its voice.json."""
    source = Path(voice)
    if source.is_dir():
        if (source / VOICE_FILE).is_file():
            return source
        raise CheckpointError(f"{source} is {_kind_of_folder(source)}. {_CURE}.")
    if str(voice) in voices():
        return BUNDLED / str(voice)
    if source.is_file():
        if source.name == VOICE_FILE:
            return source.parent
        raise CheckpointError(f"{source} is a file, not a voice of fastwave. {_CURE}.")
    if str(voice) in bundled_models():
        raise CheckpointError(f"{voice} is a model without words, not a voice: `fastwave generate {voice}` plays it.")
    names = voices()
    raise CheckpointError(
        f"there is no voice {str(voice)!r}: give the name of a bundled voice ({', '.join(names) or 'there is none'}) "
        f"or a folder that holds {VOICE_FILE}.{did_you_mean(source.name, [*names, *_neighbours(source)])}"
    )


def read_description(folder: Path) -> dict[str, Any]:
    """What voice.json holds: a JSON object of this format and kind, its fields not yet checked."""
    path = folder / VOICE_FILE
    values = parse_object(read_bounded(path, "voice"), path, "voice")
    if values.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: voice format {str(values.get('format'))[:40]!r}; this version reads format {FORMAT}. Load it "
            "with the fastwave that wrote it, or a newer one."
        )
    if values.get("kind") != KIND:
        raise CheckpointError(f"{path} describes something of kind {str(values.get('kind'))[:40]!r}, not a {KIND}.")
    return values


def _kind_of_folder(folder: Path) -> str:
    if (folder / CONFIG_FILE).is_file():
        return "a model without words, not a voice"
    if (folder / "prepared.json").is_file():
        return "prepared data, not a voice"
    return "a folder without a voice"


def _neighbours(source: Path) -> list[str]:
    """The names of the voices beside a path that does not exist."""
    try:
        return [each.name for each in source.parent.iterdir() if (each / VOICE_FILE).is_file()]
    except OSError:
        return []
