"""What is imported: the tensors of a checkpoint, the hyper-parameters in and beside it, and where all of them stood."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError, FastwaveError, did_you_mean
from . import notation, state_dicts, tensorflow, torch_files
from .notes import Notes

# Hyper-parameters beside a checkpoint, the likeliest first
HYPERPARAMETER_FILES = (
    "hparams.json", "wavenet_params.json", "params.json", "config.json", "hparams.yml", "hparams.yaml", "config.yml",
    "config.yaml", "model.conf", "model.json", "hparams.txt", "args.json",
)  # fmt: skip
_NEVER = ("import.json", "package.json", "prepared.json", "run.json", "voice.json")
_NO_CHECKPOINTS = (".conf", ".npz", ".zip")  # although they may begin as files of torch.save do
_AVERAGED = re.compile(r"(^|[._-])(ema|averaged?|avg|swa)([._-]|$)", flags=re.IGNORECASE)
_OPTIMISER_SLOT = re.compile(r"(^|/)(Adam(_\d+)?|RMSProp(_\d+)?|Momentum|beta[12]_power(_\d+)?|global_step)$")
_TF_AVERAGE = "/ExponentialMovingAverage"
_DOUBLE_SCOPE = re.compile(r"^([^/]+/)\1")
_MOST_COPIES = 4  # tensors together may have so many times the bytes of their files: some models share weights


@dataclasses.dataclass(frozen=True)
class Source:
    """A checkpoint as data."""

    path: Path
    tensors: Mapping[str, Tensor]  # read-only views of what the file holds, in its own types
    extras: Mapping[str, Any]  # other entries of the file: "class", "global_step", ...
    places: tuple[tuple[str, Mapping[str, Any]], ...]  # of hyper-parameters: later ones win
    files: tuple[Path, ...]  # that were read
    beside: tuple[Path, ...] = ()  # other files of the folder

    @property
    def name(self) -> str:
        """What errors call it."""
        return str(self.path)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file that was read."""
        return {path.name: _digest(path) for path in self.files}


def open_source(src: Path, hparams: Path | None, notes: Notes) -> Source:
    """A checkpoint from a file of it or from its folder; `hparams` in place of the file beside it."""
    try:
        return _open(src, hparams, notes)
    except OSError as error:
        raise CheckpointError(f"cannot read {error.filename or src}: {error.strerror or error}.") from error


def _open(src: Path, hparams: Path | None, notes: Notes) -> Source:
    path = _choose(src, notes)
    extras: dict[str, Any] = {}
    inner: dict[str, Any] = {}
    prefix = tensorflow.prefix_of(path)
    if prefix is not None:
        tensors = _without_slots(tensorflow.read(prefix), notes)
        files = sorted(prefix.parent.glob(f"{_escaped(prefix.name)}.index"))
        files += sorted(prefix.parent.glob(f"{_escaped(prefix.name)}.data-*"))
        path = prefix
    elif torch_files.is_torch_file(path):
        tensors, extras, inner = state_dicts.find(torch_files.read(path), str(path), notes)
        files = [path]
    elif path.suffix.lower() == ".nam":
        raise CheckpointError(
            f"{path} is a model of Neural Amp Modeler, which changes a sound and makes none: play a recording through "
            "it with fastwave process."
        )
    else:
        raise CheckpointError(
            f"{path} is neither a file of torch.save nor of a TensorFlow bundle (NAME.index and NAME.data-...): give "
            "the checkpoint itself."
        )
    if _AVERAGED.search(path.stem):
        notes.recognised(f"averaged weights: the file is called {path.name}")
    _check_size(tensors, files)
    places: list[tuple[str, Mapping[str, Any]]] = [(path.name, inner)]
    if hparams is not None:
        places.append((hparams.name, notation.read(hparams)))
        files.append(hparams)
    else:
        places += _beside(path, files, notes)
    beside = tuple(sorted(each for each in path.parent.iterdir() if each.is_file() and each not in files))
    return Source(path, tensors, extras, tuple(places), tuple(files), beside)


def _choose(src: Path, notes: Notes) -> Path:
    """The checkpoint in a folder: averaged weights first, then the last step. A file, or a bundle's name, is itself."""
    if not src.is_dir():
        if not src.exists() and tensorflow.prefix_of(src) is None:
            names = [each.name for each in src.parent.iterdir()] if src.parent.is_dir() else []
            raise CheckpointError(f"there is no {src}: give a checkpoint or its folder.{did_you_mean(src.name, names)}")
        return src
    bundle = tensorflow.prefix_of(src / "checkpoint")
    indices = [each.with_suffix("") for each in src.glob("*.index")]
    files = [each for each in src.iterdir() if each.is_file() and each.suffix not in _NO_CHECKPOINTS]
    found = indices or [each for each in files if torch_files.is_torch_file(each)]
    if not found:
        raise CheckpointError(f"{src} holds no checkpoint: no file of torch.save, no index of a TensorFlow bundle.")
    chosen = bundle or max(found, key=_rank)
    if len(found) > 1:
        notes.recognised(f"{chosen.name}, one of {len(found)} checkpoints in the folder: give the file for another")
    return chosen


def _rank(path: Path) -> tuple[bool, bool, int, str]:
    numbers = re.findall(r"\d+", path.stem)
    return bool(_AVERAGED.search(path.stem)), "final" in path.stem, int(numbers[-1][-18:]) if numbers else -1, path.name


def _without_slots(tensors: dict[str, Tensor], notes: Notes) -> dict[str, Tensor]:
    """The weights of a TensorFlow checkpoint: averaged ones where there are some, and nothing of the optimiser."""
    slots = [name for name in tensors if _OPTIMISER_SLOT.search(name.removesuffix(_TF_AVERAGE))]
    if slots:
        notes.drop(f"{len(slots)} tensors of the optimiser, such as {slots[0]}")
    weights = {name: tensor for name, tensor in tensors.items() if name not in slots}
    averaged: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name.endswith(_TF_AVERAGE):
            name = name.removesuffix(_TF_AVERAGE)
            once = _DOUBLE_SCOPE.sub(r"\1", name)  # an average made within a scope has the scope's name twice
            averaged[name if name in weights else once] = tensor
    last = {name: tensor for name, tensor in weights.items() if not name.endswith(_TF_AVERAGE)}
    if averaged and last:
        notes.recognised(f"averaged weights of {len(averaged)} tensors, in place of the last ones")
    return last | averaged


def _beside(path: Path, files: list[Path], notes: Notes) -> list[tuple[str, dict[str, Any]]]:
    """Hyper-parameters from the folder of a checkpoint, or from the folder around that."""
    for folder in (path.parent, path.parent.parent):
        named = [folder / name for name in HYPERPARAMETER_FILES if (folder / name).is_file() and folder / name != path]
        others = [each for each in folder.glob("*.json") if each.name not in _NEVER] if folder == path.parent else []
        candidates = named or (others if len(others) == 1 else [each for each in others if _akin(each, path)][:1])
        if not candidates and others:
            names = ", ".join(sorted(each.name for each in others)[:4])
            notes.recognised(f"no hyper-parameters read: which of {names} holds them is for --hparams to say")
        for candidate in candidates:
            try:
                values = notation.read(candidate)
            except FastwaveError as error:
                notes.recognised(f"{candidate.name} beside the checkpoint was not read: {error}")
                continue
            files.append(candidate)
            notes.recognised(f"hyper-parameters of {candidate.name}")
            return [(candidate.name, values)]
    return []


def _akin(candidate: Path, path: Path) -> bool:
    """Whether a file is named after a checkpoint, as x.json beside x_step1000.pth."""
    return path.stem.startswith(candidate.stem) or candidate.stem.startswith(path.stem)


def _check_size(tensors: Mapping[str, Tensor], files: list[Path]) -> None:
    size = sum(math.prod(tensor.shape) * tensor.dtype.itemsize for tensor in tensors.values())
    most = _MOST_COPIES * sum(path.stat().st_size for path in files) + (1 << 20)
    if size > most:
        raise CheckpointError(f"{files[0]}: its tensors repeat each other to {size} bytes: that is no checkpoint.")


def _escaped(name: str) -> str:
    """A file name as a pattern that matches it alone."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
