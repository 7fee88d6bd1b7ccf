"""A little chorale as text, and an engine that writes given characters in place of a network."""

from __future__ import annotations

import dataclasses

import torch

CHORALE = """C major, 3/4, eighths, 2 phrases
MHEo
..C.
|OHzv
....
MHEo
....
....
....
=1
|JFAt
....
....
..z.
HCzv
....
|HEAo
....
....
....
....
....
=0

"""


@dataclasses.dataclass
class _ScriptState:
    place: int

    def copy(self) -> _ScriptState:
        return _ScriptState(self.place)


class ScriptEngine:
    """Writes `text` behind its first line. At a place that `slips` names, the first draws of the line are those."""

    @dataclasses.dataclass
    class _Codec:
        name: str = "bytes"

    def __init__(self, text: str, slips: dict[str, list[str]] | None = None) -> None:
        self.codec = self._Codec()
        self._lines = text.split("\n")
        self._slips = {line: list(wrong) for line, wrong in (slips or {}).items()}
        self._queue: list[int] = []
        self.primes: list[str] = []
        self.seeds: list[int] = []

    def start(self, prime: torch.Tensor) -> _ScriptState:
        self.primes.append(bytes(prime[0].tolist()).decode())
        return _ScriptState(1)

    def run(self, state, count, *, seed, temperature, in_place) -> torch.Tensor:  # type: ignore[no-untyped-def]
        if seed not in self.seeds:  # a new line
            self.seeds.append(seed)
            line = self._lines[state.place % len(self._lines)]
            wrong = self._slips.get(f"{state.place} {line}")
            self._queue = [*(wrong.pop(0) if wrong else line).encode("latin-1"), 10]
            state.place += 1
        made = (self._queue + [10] * count)[:count]
        self._queue = self._queue[count:]
        return torch.tensor([made])
