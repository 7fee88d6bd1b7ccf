"""A wing: notes -> sound, and notes from nothing."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .composer import compose
    from .midi import read as read_midi
    from .midi_writing import write as write_midi
    from .notes import Note, Piece, Track
    from .rendering import Rendered, render, stream

__all__ = ["Note", "Piece", "Rendered", "Track", "compose", "read_midi", "render", "stream", "write_midi"]

# As in the front page of the package: a name is imported, from its module here, when it is first used
_HOMES = {
    "Note": ("notes", "Note"),
    "Piece": ("notes", "Piece"),
    "Rendered": ("rendering", "Rendered"),
    "Track": ("notes", "Track"),
    "compose": ("composer", "compose"),
    "read_midi": ("midi", "read"),
    "render": ("rendering", "render"),
    "stream": ("rendering", "stream"),
    "write_midi": ("midi_writing", "write"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value = getattr(importlib.import_module(f".{module}", __name__), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
