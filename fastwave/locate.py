"""Which checkpoint a path or a name stands for, and what a path is that stands for none. Reads no tensor."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

from .errors import CheckpointError, did_you_mean

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
BUNDLED = Path(__file__).parent / "bundled"
MAX_CONFIG_BYTES = 1 << 20

_SOUND = (".wav", ".flac", ".ogg", ".mp3")
_FOREIGN = {
    ".pth": "PyTorch", ".pt": "PyTorch", ".ckpt": "PyTorch Lightning or TensorFlow", ".bin": "PyTorch",
    ".pkl": "pickle", ".h5": "Keras", ".keras": "Keras", ".pb": "TensorFlow", ".onnx": "ONNX", ".tflite": "TensorFlow",
    ".npz": "NumPy", ".gguf": "GGUF",
}  # fmt: skip
_CURE = (
    f"fastwave reads its own folders, which hold {CONFIG_FILE} and {WEIGHTS_FILE}: train one with `fastwave train "
    "FOLDER --out RUN`, make one of another WaveNet's checkpoint with `fastwave import`, or copy the weights into a "
    "fastwave.WaveNet (docs/spec.md names every parameter) and call "
    "save_pretrained."
)


@dataclasses.dataclass(frozen=True)
class Location:
    """A checkpoint folder, or one step of a training run, whose file holds much more than a model."""

    folder: Path
    step_file: Path | None = None


def bundled() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.parent.name for path in BUNDLED.glob(f"*/{CONFIG_FILE}"))


def locate(path: str | os.PathLike[str]) -> Location:
    """The checkpoint that a user means by the path of a folder or of a file in it, or by a bundled model's name."""
    source = Path(path)
    if source.is_dir():
        _check_folder(source)
        return Location(source)
    if str(path) in bundled():
        return Location(BUNDLED / str(path))
    if source.is_file():
        if re.fullmatch(r"step-\d+", source.stem) and source.suffix == ".safetensors":
            return Location(source.parent, source)
        if source.name in (WEIGHTS_FILE, CONFIG_FILE):
            return Location(source.parent)
        raise CheckpointError(f"{source} is {_kind_of_file(source)}, not a fastwave model. {_CURE}")
    names = bundled()
    raise CheckpointError(
        f"no checkpoint folder at {source}: give a folder that holds {CONFIG_FILE} and {WEIGHTS_FILE}, or the name "
        f"of a bundled model: {', '.join(names) or 'this installation has none'}."
        + did_you_mean(source.name, [*names, *_neighbours(source)])
    )


def _neighbours(source: Path) -> list[str]:
    """The names of the checkpoint folders beside a path that does not exist."""
    try:
        return [each.name for each in source.parent.iterdir() if (each / CONFIG_FILE).is_file()]
    except OSError:
        return []


def _check_folder(folder: Path) -> None:
    """Say what a folder is that holds no checkpoint of fastwave. What is merely damaged is said when it is read."""
    if (folder / CONFIG_FILE).is_file():
        program = _other_program(folder / CONFIG_FILE)
        if program:
            raise CheckpointError(f"{folder} holds a model of another program ({program}). {_CURE}")
        return
    if (folder / WEIGHTS_FILE).is_file():  # who reads the config says that it is missing
        return
    if (folder / "voice.json").is_file():
        raise CheckpointError(f"{folder} is a voice, not a model: `fastwave speak TEXT --voice {folder} -o FILE.wav`.")
    if (folder / "prepared.json").is_file():
        raise CheckpointError(f"{folder} holds prepared data, not a model: `fastwave train {folder} --out RUN` first.")
    if (folder / "run.json").is_file():
        raise CheckpointError(f"{folder} is a training run that has saved no model yet: resume it with its command.")
    steps = sorted(folder.glob("step-*.safetensors"))
    if steps:
        raise CheckpointError(
            f"{folder} holds the steps of a training run: give the run itself, {folder.parent}, or one step, such as "
            f"{steps[-1]}."
        )
    suffixes = {path.suffix.lower() for path in folder.iterdir()}
    foreign = sorted(suffixes & _FOREIGN.keys())
    if foreign:
        raise CheckpointError(f"{folder} holds a model of another program ({_FOREIGN[foreign[0]]}). {_CURE}")
    if suffixes & {*_SOUND, ".txt", ".md"}:
        raise CheckpointError(
            f"{folder} holds sound or text, not a model: `fastwave train {folder} --out RUN` makes a model of it."
        )
    raise CheckpointError(f"{folder} is no checkpoint: it lacks {CONFIG_FILE}. {_CURE}")


def _kind_of_file(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in _FOREIGN:
        return f"a file of another program ({_FOREIGN[suffix]})"
    if suffix in _SOUND:
        return "a sound file"
    return "a safetensors file of another program" if suffix == ".safetensors" else "a file"


def _other_program(path: Path) -> str:
    """The program whose model a config describes by a key that fastwave never writes; empty for none."""
    try:
        with open(path, "rb") as file:
            values = json.loads(file.read(MAX_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError):
        return ""
    if not isinstance(values, dict) or "format" in values:
        return ""
    for key in ("model_type", "architectures", "_class_name", "generator", "audio", "model"):
        if key in values:
            return f"its {CONFIG_FILE} has {key} {str(values[key])[:60]}"
    return ""


def read_bounded(path: Path, name: str) -> bytes:
    """The content of a small file, which a wing may have too; `name` is what it is in an error."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}.") from error
    if len(content) > MAX_CONFIG_BYTES:
        raise CheckpointError(f"{path} is over {MAX_CONFIG_BYTES} bytes: not a fastwave {name}.")
    return content


def parse_object(content: bytes | str, path: Path, name: str) -> dict[str, Any]:
    """A JSON object; `name` is what it is in an error."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the {name} is not valid JSON ({str(error)[:120]}).") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: the {name} must be a JSON object, got {type(values).__name__}.")
    return values
