"""A voice as a folder: voice.json, acoustic.safetensors and a WaveNet's checkpoint. No pickle, nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from .. import checkpoint
from ..checkpoint import read_tensors, write_tensors
from ..errors import CheckpointError, ConfigError, InputError
from ..files import replacing
from ..model import WaveNet
from ..vocoder.vocoder import VocoderSettings
from .acoustic import Acoustic
from .locate import FORMAT, KIND, VOICE_FILE, read_description

ACOUSTIC_FILE = "acoustic.safetensors"
WAVENET_FOLDER = "wavenet"
FRONT_ENDS = ("english",)
SAVED = {"bfloat16": torch.bfloat16, "float32": torch.float32}
DTYPES = ("float32", "bfloat16", "int8", "float64")
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
    vocoder: Mapping[str, Any] = field(default_factory=dict)  # settings of fastwave/vocoder

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
        if self.dtype not in DTYPES:
            raise CheckpointError(f"dtype of a voice must be one of {', '.join(DTYPES)}, got {self.dtype!r:.60}.")
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


def read_voice(folder: Path) -> tuple[Description, Acoustic, WaveNet]:
    """The parts of a voice, checked against each other. Weights are float32, whatever they were saved in."""
    description = description_of(read_description(folder), folder / VOICE_FILE)
    path = folder / ACOUSTIC_FILE
    try:
        tensors, metadata = read_tensors(path, lambda _: Acoustic.shapes(description.acoustic))
        acoustic = Acoustic.from_tensors(description.acoustic, tensors)
        VocoderSettings.from_dict(description.vocoder)
    except ConfigError as error:
        raise CheckpointError(f"{folder / VOICE_FILE}: {error}") from error
    _check_pair(folder, description, metadata)
    return description, acoustic, WaveNet.from_pretrained(folder / WAVENET_FOLDER).float()


def write_voice(folder: Path, description: Description, acoustic: Acoustic, wavenet: WaveNet, dtype: str) -> None:
    """All files of a voice, each whole or not at all; voice.json comes last: a folder without it is no voice."""
    if dtype not in SAVED:
        raise InputError(f"a voice is saved as {' or '.join(SAVED)}, got {dtype!r:.40}.")
    tensors = {name: tensor.to(SAVED[dtype]) for name, tensor in acoustic.tensors().items()}
    settings = json.dumps(description.acoustic, sort_keys=True)
    content = json.dumps({"format": FORMAT, "kind": KIND, **asdict(description)}, indent=1, ensure_ascii=False)
    weights = {name: tensor.to(SAVED[dtype]) for name, tensor in wavenet.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / VOICE_FILE).unlink(missing_ok=True)  # while the parts are replaced the folder is no voice
        write_tensors(folder / ACOUSTIC_FILE, tensors, {"acoustic": settings})
        checkpoint.save(folder / WAVENET_FOLDER, wavenet.config, weights)
        with replacing(folder / VOICE_FILE) as temporary:
            temporary.write_text(content + "\n", encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"cannot save a voice in {folder}: {error.strerror or error}.") from error


def _check_pair(folder: Path, description: Description, metadata: Mapping[str, str]) -> None:
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


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names))
