"""From the path of a checkpoint of any kind to a model, and from a model to what makes samples of it."""

from __future__ import annotations

import importlib
import os
from typing import Any, Protocol, runtime_checkable

from ..checkpoint import GENERATORS, kind_of
from ..engine.engine import Engine
from ..engine.protocol import Generator
from ..model import WaveNet


@runtime_checkable
class OtherModel(Protocol):
    """A model of a wing, which is no WaveNet but generates."""

    config: Any

    def generator(self, backend: str, dtype: str, threads: int | None) -> Generator:
        """What makes its samples; the arguments are those of `Engine`."""


def load(path: str | os.PathLike[str]) -> WaveNet | OtherModel:
    """The model in a checkpoint folder: a `WaveNet`, or a model of another kind that `generate` takes as well."""
    module = GENERATORS.get(kind_of(path))
    if module is None:
        return WaveNet.from_pretrained(path)
    model: OtherModel = importlib.import_module(module).load(path)
    return model


def generator_of(model: WaveNet | OtherModel, backend: str, dtype: str, threads: int | None) -> Generator:
    """A model ready to generate."""
    if isinstance(model, WaveNet):
        return Engine(model, backend, dtype, threads)
    return model.generator(backend, dtype, threads)
