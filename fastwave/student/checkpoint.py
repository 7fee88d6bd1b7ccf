"""A student's checkpoint: `config.json` of kind "student" and `model.safetensors`, as the core writes its own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoint import FORMAT, read_folder, write_folder
from ..errors import CheckpointError, ConfigError
from ..locate import locate, parse_object
from .config import StudentConfig

KIND = "student"


def save(folder: str | os.PathLike[str], config: StudentConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint folder. Each file appears whole or not at all; the config comes last."""
    write_folder(Path(folder), KIND, config, tensors)


def load(path: str | os.PathLike[str]) -> tuple[StudentConfig, dict[str, Tensor]]:
    """The config and every parameter of a checkpoint folder, checked against each other."""
    location = locate(path)
    if location.step_file is not None:
        raise CheckpointError(f"{path} is one step of a training run: give the run itself, the folder above it.")
    return read_folder(location.folder, _parsed)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Another one for other weights."""
    whole = hashlib.blake2b(digest_size=8)
    for name in sorted(tensors):
        whole.update(name.encode() + tensors[name].detach().cpu().float().contiguous().numpy().tobytes())
    return whole.hexdigest()


def _parsed(content: bytes | str, path: Path) -> StudentConfig:
    values: dict[str, Any] = parse_object(content, path, "config")
    if values.get("format") != FORMAT or values.get("kind", KIND) != KIND:
        raise CheckpointError(
            f"{path}: a checkpoint of format {str(values.get('format'))[:40]!r} and kind "
            f"{str(values.get('kind'))[:40]!r}; a student has format {FORMAT} and kind {KIND!r}."
        )
    try:
        return StudentConfig.from_dict({key: value for key, value in values.items() if key not in ("format", "kind")})
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
