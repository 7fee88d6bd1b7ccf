"""What a mapping is: the module that knows how one project's checkpoints are to be understood.

A mapping recognises a checkpoint by its tensors' names and shapes, never by the name of a file, and turns it into a
config and parameters of ours. It also brings the project's own network in float64, unfolded and written from its
meaning, which `verify` compares with the result before anything is written.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Protocol, cast

import torch.nn.functional as F
from torch import Tensor

from ..config import WaveNetConfig
from ..errors import CheckpointError, InputError, did_you_mean
from .hyperparameters import Hyperparameters
from .notes import Notes
from .registry import MAPPINGS
from .source import Source
from .weights import Weights


@dataclasses.dataclass(frozen=True)
class Trial:
    """Inputs on which the project's network and ours are compared; nothing comes before them."""

    tokens: Tensor  # [T] int64 classes, or float64 samples
    frames: Tensor | None = None  # [F, local channels] float64
    speaker: int | Tensor | None = None  # an id, or a vector in float64


@dataclasses.dataclass(frozen=True)
class Imported:
    """A checkpoint as ours, and the network that it was."""

    config: WaveNetConfig
    tensors: Mapping[str, Tensor]  # the parameters, in float64 or float32
    forward: Callable[[Trial], Tensor]  # -> [T, O] float64: row t sees tokens up to t and predicts token t+1


@dataclasses.dataclass(frozen=True)
class Network:
    """A project's own network: its kernels [out, in, taps] by the names of its layers, biases as `name.bias`."""

    tensors: dict[str, Tensor]

    def convolve(self, name: str, x: Tensor, dilation: int = 1) -> Tensor:
        """A causal convolution [1, in, T] -> [1, out, T], with zeros before the start."""
        weight = self.tensors[name]
        past = F.pad(x, ((weight.shape[2] - 1) * dilation, 0))
        return F.conv1d(past, weight, self.tensors.get(f"{name}.bias"), dilation=dilation)


def inputs_of(tensors: Mapping[str, Tensor], name: str) -> int:
    """The channels that a convolution takes in; 0 where there is none of this name."""
    return tensors[name].shape[1] if name in tensors else 0


class Importer(Protocol):
    """A mapping, as its module keeps it."""

    NAME: str
    PROJECT: str

    def matches(self, source: Source) -> float | None:
        """How surely a checkpoint is of this project, up to 1; None where it is not."""

    def convert(self, source: Source, weights: Weights, hyper: Hyperparameters, notes: Notes) -> Imported:
        """The checkpoint as ours."""


def by_name(name: str) -> Importer:
    """The mapping that `--from` names."""
    if name == "nam":
        raise InputError("models of Neural Amp Modeler need no import: play a recording through one, fastwave process.")
    if name not in MAPPINGS:
        raise InputError(
            f"checkpoints of {name[:40]!r} are not known: choose auto or one of {', '.join(MAPPINGS)}."
            f"{did_you_mean(name, MAPPINGS)}"
        )
    return cast(Importer, importlib.import_module(f".{name}", __package__))


def recognise(source: Source) -> Importer:
    """The mapping that knows a checkpoint best."""
    scores = [(by_name(name).matches(source), name) for name in MAPPINGS]
    known = sorted((score, name) for score, name in scores if score is not None)
    if not known:
        raise CheckpointError(
            f"{source.name} is of no project that is known ({', '.join(by_name(name).PROJECT for name in MAPPINGS)}): "
            f"it holds {len(source.shapes)} tensors, such as {', '.join(list(source.shapes)[:3])[:200]}."
        )
    if len(known) > 1 and known[-1][0] == known[-2][0]:
        names = " or ".join(name for score, name in known if score == known[-1][0])
        raise CheckpointError(f"{source.name} may be of {names}, which have the same tensors: say which with --from.")
    return by_name(known[-1][1])
