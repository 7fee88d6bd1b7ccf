"""WaveNet in PyTorch at the speed of the machine."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # what type checkers and editors see; `_HOMES` says the same to Python
    from . import codec
    from .config import WaveNetConfig, dilation_cycle
    from .engine.engine import Engine
    from .engine.state import State
    from .errors import (
        AudioError,
        BackendUnavailable,
        CheckpointError,
        ConfigError,
        FastwaveError,
        GenerationError,
        InputError,
        NativeError,
        StagnationWarning,
        TrainingError,
    )
    from .generation.generate import generate, stream
    from .generation.loading import load
    from .generation.result import Result
    from .generation.score import score
    from .importers.importing import import_model
    from .model import WaveNet
    from .philox import noise
    from .runtime.dispatch import backends
    from .speech.voice import Voice, speak
    from .training.start import train

__all__ = [
    "AudioError",
    "BackendUnavailable",
    "CheckpointError",
    "ConfigError",
    "Engine",
    "FastwaveError",
    "GenerationError",
    "InputError",
    "NativeError",
    "Result",
    "StagnationWarning",
    "State",
    "TrainingError",
    "Voice",
    "WaveNet",
    "WaveNetConfig",
    "__version__",
    "backends",
    "codec",
    "dilation_cycle",
    "generate",
    "import_model",
    "load",
    "noise",
    "score",
    "speak",
    "stream",
    "train",
]

# The module of every public name. A name is imported when it is first used, so that what computes nothing, such as
# `fastwave --help`, does not wait seconds for torch.
_HOMES = {
    "Engine": "engine.engine",
    "Result": "generation.result",
    "State": "engine.state",
    "Voice": "speech.voice",
    "WaveNet": "model",
    "WaveNetConfig": "config",
    "backends": "runtime.dispatch",
    "codec": "codec",
    "dilation_cycle": "config",
    "generate": "generation.generate",
    "import_model": "importers.importing",
    "load": "generation.loading",
    "noise": "philox",
    "score": "generation.score",
    "speak": "speech.voice",
    "stream": "generation.generate",
    "train": "training.start",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name, "errors" if name in __all__ else None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{home}", __name__)
    value = module if home == name else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
