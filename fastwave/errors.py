"""Every error that fastwave raises on purpose. A message says what was asked for, what was found, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FastwaveError(Exception):
    """The root: `except FastwaveError` catches everything below and nothing else."""


class ConfigError(FastwaveError, ValueError):
    """A configuration that cannot describe a model."""


class InputError(FastwaveError, ValueError):
    """Tokens, conditioning, or an option of the wrong shape, type or range."""


class AudioError(FastwaveError):
    """A sound file that cannot be read or written."""


class CheckpointError(FastwaveError):
    """A checkpoint or saved state that cannot be trusted, or cannot be written."""


class BackendUnavailable(FastwaveError, RuntimeError):
    """A backend was asked for by name and cannot run here."""


class NativeError(FastwaveError, RuntimeError):
    """A native library was found but does not answer as it should."""


class GenerationError(FastwaveError, RuntimeError):
    """Generation cannot continue; the message names the step."""


class TrainingError(FastwaveError, RuntimeError):
    """Training cannot continue; the last checkpoint is kept."""


class StagnationWarning(UserWarning):
    """Generation has repeated one value for so long that the output is likely stuck."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that names the known word which a misspelt one is closest to, or nothing where none is close."""
    close = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
