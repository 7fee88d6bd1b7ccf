"""A voice as a folder: voice.json, acoustic.safetensors and a WaveNet's checkpoint. No pickle, nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoint import write_tensors
from ..errors import CheckpointError
from ..files import replacing
from .locate import FORMAT, KIND, VOICE_FILE

ACOUSTIC_FILE = "acoustic.safetensors"
WAVENET_FOLDER = "wavenet"
FRONT_ENDS = ("english",)
MOST_CHARACTERS = 4000  # of a text in a description


@dataclass(frozen=True)
class Description:
    """What voice.json says, apart from the settings of the nets."""

    name: str
    language: str = "en-US"
    sample_rate: int = 16_000
    front_end: str = "english"  # what makes phones of a text: one of FRONT_ENDS
    speaker: str = ""
    description: str = ""
    licence: str = "not stated"
    provenance: str = "not stated"  # whose speech, made by what, and from which data
    dtype: str = "float32"  # in which numbers the WaveNet of this voice is meant to run
    acoustic: Mapping[str, Any] = field(default_factory=dict)  # settings of speech/acoustic
    vocoder: Mapping[str, Any] = field(default_factory=dict)  # settings of speech/vocoder

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.type == "str" and (not isinstance(value, str) or len(value) > MOST_CHARACTERS):
                raise CheckpointError(
                    f"{entry.name} of a voice must be a text of up to {MOST_CHARACTERS} characters, got {value!r:.60}."
                )
            if entry.name in ("acoustic", "vocoder") and not isinstance(value, Mapping):
                raise CheckpointError(f"{entry.name} of a voice must be an object of settings, got {value!r:.60}.")
        if not self.name or not self.name.isprintable():
            raise CheckpointError(f"a voice needs a name of printable characters, got {self.name!r:.60}.")
        if isinstance(self.sample_rate, bool) or self.sample_rate != 16_000:
            raise CheckpointError(f"a voice speaks at 16000 Hz, got sample_rate {self.sample_rate!r:.60}.")
        if self.front_end not in FRONT_ENDS:
            raise CheckpointError(
                f"front end {self.front_end!r:.60} is not known: this version has {', '.join(FRONT_ENDS)}."
            )


def description_of(values: Mapping[str, Any], path: Path) -> Description:
    """The description that an object of JSON holds, as read by locate.read_description."""
    known = {entry.name for entry in fields(Description)}
    unknown = sorted(values.keys() - known - {"format", "kind"})
    if unknown:
        raise CheckpointError(f"{path} has the unknown field {', '.join(unknown[:4])[:120]}: known are {_list(known)}.")
    missing = sorted({"name", "acoustic", "vocoder"} - values.keys())
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}: a save was interrupted, or the file was edited.")
    try:
        return Description(**{key: value for key, value in values.items() if key in known})
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def write_acoustic(folder: Path, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """acoustic.safetensors, which carries its settings too, so that an interrupted save is noticed."""
    write_tensors(folder / ACOUSTIC_FILE, tensors, {"acoustic": json.dumps(settings, sort_keys=True)})


def check_pair(folder: Path, description: Description, metadata: Mapping[str, str]) -> None:
    """Refuse tensors that were saved with other settings than those of voice.json."""
    try:
        saved = json.loads(metadata.get("acoustic", "null"))
    except (ValueError, RecursionError):
        saved = None
    if saved != json.loads(json.dumps(description.acoustic)):
        raise CheckpointError(
            f"{folder}: {VOICE_FILE} differs from the settings that {ACOUSTIC_FILE} was saved with. A save was "
            "interrupted, or one of the two files was edited or replaced; put the matching pair back."
        )


def write_description(folder: Path, description: Description) -> None:
    """voice.json, which comes last: a folder without it is no voice."""
    content = json.dumps({"format": FORMAT, "kind": KIND, **asdict(description)}, indent=1, ensure_ascii=False)
    with replacing(folder / VOICE_FILE) as temporary:
        temporary.write_text(content + "\n", encoding="utf-8")


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names))
