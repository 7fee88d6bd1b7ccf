"""Checkpoints: `config.json` + `model.safetensors` + a short model card. No pickle, nothing half-written.

The weights file carries the config in its own metadata too, so that a save interrupted between the two files is
noticed and refused. The header of the weights file is checked before memory is allocated for tensors.

`config.json` names the kind of the checkpoint. This module writes and reads the kind "wavenet"; a file that names no
kind is of this kind too. The wings (docs/architecture.md) will write kinds of their own.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from .config import WaveNetConfig, differences
from .errors import CheckpointError, ConfigError
from .files import replacing
from .locate import BUNDLED as BUNDLED
from .locate import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, locate, parse_object, read_bounded
from .locate import bundled as bundled

FORMAT = 1
KIND = "wavenet"
READERS = {"voice": "fastwave.speech", "student": "fastwave.student"}  # kinds of the wings, and their readers
GENERATORS = {"student": "fastwave.student.network"}  # kinds that generate, and the modules whose `load` reads them
STEP_PARTS = ("parameter", "average", "moment", "square")  # of one step of a training run
# The dtypes that a model may be saved in, by their names in a safetensors header.
DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16}


class Config(Protocol):
    """What describes a model of any kind."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every parameter by name."""


_Config = TypeVar("_Config", bound=Config)


def save(folder: str | os.PathLike[str], config: WaveNetConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint folder. Each file appears whole or not at all; the config comes last."""
    write_folder(Path(folder), KIND, config, tensors, {CARD_FILE: _model_card(config)})


def write_folder(
    target: Path, kind: str, config: Config, tensors: Mapping[str, Tensor], texts: Mapping[str, str] | None = None
) -> None:
    """The same for any kind of checkpoint, with other files of text beside the two."""
    fields = config.to_dict()
    try:
        target.mkdir(parents=True, exist_ok=True)
        write_tensors(target / WEIGHTS_FILE, tensors, {"fastwave": json.dumps({"format": FORMAT, **fields}, indent=2)})
        for name, text in (texts or {}).items():
            _write_text(target / name, text)
        content = json.dumps({"format": FORMAT, "kind": kind, **fields}, indent=2)
        _write_text(target / CONFIG_FILE, content + "\n")
    except OSError as error:
        raise CheckpointError(f"cannot save a checkpoint in {target}: {error.strerror or error}.") from error


def load(path: str | os.PathLike[str]) -> tuple[WaveNetConfig, dict[str, Tensor]]:
    """The config and every parameter of a checkpoint, checked against each other.

    `path` is a checkpoint folder, its weights file, the name of a bundled model, or one step of a training run,
    RUN/checkpoints/step-N.safetensors, of which the averaged weights are loaded.
    """
    location = locate(path)
    if location.step_file is not None:
        return _load_step(location.step_file)
    return read_folder(location.folder, _parse_config)


def read_folder(source: Path, parse: Callable[[bytes | str, Path], _Config]) -> tuple[_Config, dict[str, Tensor]]:
    """The same of a folder of any kind. `parse` makes a config of a text, which is that of the file named."""
    config = parse(read_bounded(source / CONFIG_FILE, "config"), source / CONFIG_FILE)
    tensors, metadata = read_tensors(source / WEIGHTS_FILE, lambda _: config.parameter_shapes())
    saved = parse(metadata["fastwave"], source / WEIGHTS_FILE) if "fastwave" in metadata else config
    if differences(config.to_dict(), saved.to_dict()):
        raise CheckpointError(
            f"{source}: {CONFIG_FILE} differs from the config that {WEIGHTS_FILE} was saved with. A save was "
            "interrupted, or one of the two files was edited or replaced; put the matching pair back."
        )
    return config, tensors


def kind_of(path: str | os.PathLike[str]) -> str:
    """The kind that a checkpoint folder names; KIND where it names none, or is one step of a training run."""
    location = locate(path)
    if location.step_file is not None:
        return KIND
    config = location.folder / CONFIG_FILE
    kind = parse_object(read_bounded(config, "config"), config, "config").get("kind", KIND)
    return kind if isinstance(kind, str) else KIND


def _load_step(path: Path) -> tuple[WaveNetConfig, dict[str, Tensor]]:
    """The averaged weights of a step, as training/progress.py writes it: without the parameters that are empty."""
    config: WaveNetConfig | None = None

    def expected(metadata: dict[str, str]) -> dict[str, tuple[int, ...]]:
        nonlocal config
        if "config" not in metadata:
            raise CheckpointError(f"{path} is no step of a training run: its header holds no config.")
        config = _config_of(json.loads(metadata["config"]), path)
        shapes = {name: shape for name, shape in config.parameter_shapes().items() if math.prod(shape)}
        return {f"{part}.{name}": shape for part in STEP_PARTS for name, shape in shapes.items()}

    tensors, _ = read_tensors(path, expected)
    assert config is not None
    shapes = config.parameter_shapes()
    return config, {name: tensors.get(f"average.{name}", torch.empty(shape)) for name, shape in shapes.items()}


def read_config(path: Path) -> WaveNetConfig:
    """`config.json` alone."""
    return _parse_config(read_bounded(path, "config"), path)


def _parse_config(content: bytes | str, path: Path) -> WaveNetConfig:
    values = parse_object(content, path, "config")
    if values.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: checkpoint format {str(values.get('format'))[:40]!r}; this version reads format {FORMAT}. "
            "Load it with the fastwave that wrote it, or a newer one."
        )
    kind = values.get("kind", KIND)
    if kind != KIND:
        reader = READERS.get(kind, "a newer fastwave") if isinstance(kind, str) else "a newer fastwave"
        raise CheckpointError(f"{path}: a checkpoint of kind {str(kind)[:40]!r}, not {KIND!r}: {reader} reads it.")
    return _config_of({key: value for key, value in values.items() if key not in ("format", "kind")}, path)


def _config_of(values: Mapping[str, Any], path: Path) -> WaveNetConfig:
    try:
        return WaveNetConfig.from_dict(values)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """One safetensors file, written whole or not at all."""
    content = safetensors.torch.save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata
    )
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def read_tensors(
    path: Path,
    expected_shapes: Callable[[dict[str, str]], Mapping[str, tuple[int, ...]]],
    integers: frozenset[str] = frozenset(),
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file whose names, shapes and dtypes are exactly the expected ones.

    `expected_shapes` is given the metadata. Tensors named in `integers` are int64; the others share one dtype
    of DTYPES. Nothing is allocated for tensors before the header has passed every check.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            dtypes = {name: file.get_slice(name).get_dtype() for name in shapes}
            _check_shapes(path, shapes, expected_shapes(metadata))
            _check_dtypes(path, dtypes, integers)
            # cloned: these tensors may be views of the mapped file, and a model must outlive a change of the file
            return {name: file.get_tensor(name).clone() for name in shapes}, metadata
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}.") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file ({str(error)[:120]}).") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, without its tensors."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"cannot read {path}: {str(error)[:120]}.") from error


def _check_shapes(path: Path, shapes: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for problem, names in (
        ("lacks", expected.keys() - shapes.keys()),
        ("has the unknown", shapes.keys() - expected.keys()),
    ):
        if names:
            shown = ", ".join(sorted(names)[:4])[:200]
            raise CheckpointError(f"{path} {problem} tensor {shown} ({len(names)} in all): it is from another model.")
    for name, shape in expected.items():
        if shapes[name] != tuple(shape):
            raise CheckpointError(
                f"{path}: {name} has shape {str(list(shapes[name]))[:80]}, but the config asks for {list(shape)}."
            )


def _check_dtypes(path: Path, dtypes: Mapping[str, str], integers: frozenset[str]) -> None:
    floats = {dtype for name, dtype in dtypes.items() if name not in integers}
    if len(floats) > 1 or not floats <= DTYPES.keys() or any(dtypes[name] != "I64" for name in integers):
        raise CheckpointError(
            f"{path}: tensor types {', '.join(sorted(set(dtypes.values())))}; "
            f"a fastwave file uses one of {', '.join(DTYPES)} throughout."
        )


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _model_card(config: WaveNetConfig) -> str:
    rate = f" at {config.sample_rate} Hz" if config.sample_rate else ""
    field = f"{config.receptive_field} samples"
    if config.receptive_field_ms is not None:
        field += f" ({config.receptive_field_ms:.1f} ms)"
    return f"""# A fastwave WaveNet

- {config.layers} layers, {config.parameter_count:,} parameters, receptive field {field}
- codec {config.codec}{rate}, output {config.output}
- checkpoint format {FORMAT}

```python
import fastwave
model = fastwave.WaveNet.from_pretrained("path/to/this/folder")
result = fastwave.generate(model, samples=16000)
```

Data, licence and quality are not known to the program that wrote this card: say them here.
"""
