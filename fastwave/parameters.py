"""Parameters: a mapping that a frozen config can hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .errors import ConfigError


class Parameters(Mapping[str, Any]):
    """A mapping that cannot be changed and can be hashed, as a frozen config needs."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        if values is not None and not isinstance(values, Mapping):
            raise ConfigError(f"parameters are an object of names and values, got {type(values).__name__}.")
        self._values = dict(sorted((values or {}).items()))

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __repr__(self) -> str:
        return repr(self._values)
