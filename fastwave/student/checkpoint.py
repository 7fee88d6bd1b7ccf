"""A student's checkpoint: `config.json` of kind "student" and `model.safetensors`, as the core writes its own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoint import FORMAT, read_tensors, write_tensors
from ..config import differences
from ..errors import CheckpointError, ConfigError
from ..files import replacing
from ..locate import CONFIG_FILE, WEIGHTS_FILE, locate, parse_object, read_bounded
from .config import StudentConfig

KIND = "student"


def save(folder: str | os.PathLike[str], config: StudentConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint folder. Each file appears whole or not at all; the config comes last."""
    target, fields = Path(folder), config.to_dict()
    try:
        target.mkdir(parents=True, exist_ok=True)
        write_tensors(target / WEIGHTS_FILE, tensors, {"fastwave": json.dumps({"format": FORMAT, **fields})})
        with replacing(target / CONFIG_FILE) as temporary:
            temporary.write_text(json.dumps({"format": FORMAT, "kind": KIND, **fields}, indent=2) + "\n")
    except OSError as error:
        raise CheckpointError(f"cannot save a checkpoint in {target}: {error.strerror or error}.") from error


def load(path: str | os.PathLike[str]) -> tuple[StudentConfig, dict[str, Tensor]]:
    """The config and every parameter of a checkpoint folder, checked against each other."""
    location = locate(path)
    if location.step_file is not None:
        raise CheckpointError(f"{path} is one step of a training run: give the run itself, the folder above it.")
    folder = location.folder
    config = read_config(folder / CONFIG_FILE)
    tensors, metadata = read_tensors(folder / WEIGHTS_FILE, lambda _: config.parameter_shapes())
    saved = _parsed(metadata["fastwave"], folder / WEIGHTS_FILE) if "fastwave" in metadata else config
    if differences(config.to_dict(), saved.to_dict()):
        raise CheckpointError(
            f"{folder}: {CONFIG_FILE} differs from the config that {WEIGHTS_FILE} was saved with. Put the matching "
            "pair back."
        )
    return config, tensors


def read_config(path: Path) -> StudentConfig:
    """`config.json` alone."""
    return _parsed(read_bounded(path, "config"), path)


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
