"""WaveNet in PyTorch at the speed of the machine."""

__version__ = "0.1.0"

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
from .generation.result import Result
from .generation.score import score
from .model import WaveNet
from .philox import noise
from .runtime.dispatch import backends

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
    "WaveNet",
    "WaveNetConfig",
    "__version__",
    "backends",
    "codec",
    "dilation_cycle",
    "generate",
    "noise",
    "score",
    "stream",
]
