"""Generation state: a value that the caller holds."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import write_tensors
from ..errors import CheckpointError, InputError

CONTENTS = ("time", "streams", "tokens", "memory", "fingerprint", "fault")


@dataclasses.dataclass
class State:
    """Everything generation remembers between two calls; every tensor has one row a stream.

    time [B] counts samples since the start; streams [B] says which noise a row draws; tokens [B, K0] are the last
    ones, the newest not yet fed to the network; memory holds what the layers keep of their inputs, (K-1)*d each, in
    the layout of its backend.
    """

    time: Tensor
    streams: Tensor
    tokens: Tensor
    memory: list[Tensor]
    fingerprint: str  # of the weights, backend and dtype it belongs to
    fault: str = ""  # why it must not be used any more; empty while it may be
    # What an engine keeps with the state and can always make again: it is neither copied nor saved nor compared.
    _checked: list[tuple[Tensor, int]] | None = dataclasses.field(default=None, init=False, repr=False, compare=False)
    projections: object = dataclasses.field(default=None, init=False, repr=False, compare=False)

    @property
    def batch(self) -> int:
        """How many streams."""
        return int(self.time.shape[0])

    def copy(self) -> State:
        """An independent state: fork one past into many continuations."""
        return self._from_tensors([tensor.clone(memory_format=torch.contiguous_format) for tensor in self.tensors()])

    def take(self, rows: Sequence[int]) -> State:
        """The given rows as a new state. A row may be left out (its stream has ended) or repeated (forked)."""
        for row in rows:
            self._check_row(row)
        index = torch.tensor(list(rows), dtype=torch.int64, device=self.time.device)
        return self._from_tensors([tensor[index] for tensor in self.tensors()])

    def join(self, *others: State) -> State:
        """One state with the streams of all, in order."""
        if any(other.fingerprint != self.fingerprint for other in others):
            raise InputError("states of different engines cannot be joined: weights, backend or dtype differ.")
        columns = zip(self.tensors(), *(other.tensors() for other in others), strict=True)
        return self._from_tensors([torch.cat(column) for column in columns])

    def put(self, row: int, other: State) -> None:
        """Give one row's place in the batch to the only stream of another state."""
        self._check_row(row)
        if other.batch != 1:
            raise InputError(f"put takes a state of one stream, got {other.batch}.")
        rows = [self.batch if index == row else index for index in range(self.batch)]
        self.become(self.join(other).take(rows))

    def become(self, other: State) -> None:
        """Take over all of another state's contents."""
        for name in CONTENTS:
            setattr(self, name, getattr(other, name))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file that `Engine.load_state` reads, for the same model, backend and dtype."""
        names = ["time", "streams", "tokens", *(f"memory.{index}" for index in range(len(self.memory)))]
        tensors = dict(zip(names, self.tensors(), strict=True))
        try:
            write_tensors(Path(path), tensors, {"fingerprint": self.fingerprint, "batch": str(self.batch)})
        except OSError as error:
            raise CheckpointError(f"cannot save the state to {path}: {error.strerror or error}.") from error

    def tensors(self) -> list[Tensor]:
        """time, streams, tokens, then the memory. A state with a fault refuses here, whatever it is wanted for."""
        if self.fault:
            raise InputError(f"this state cannot be used any more: {self.fault}.")
        return [self.time, self.streams, self.tokens, *self.memory]

    # For engines

    def spoil(self, error: BaseException) -> None:
        """A run in place has failed: from here on every use is refused."""
        self.fault = (
            f"a run in place stopped half-way ({type(error).__name__}) and left it partially updated. "
            "Start again, or from a copy that was made before"
        )

    def remember_check(self) -> None:
        """For an engine that has checked every tensor, or has written it."""
        tensors = self.tensors()
        inference = any(tensor.is_inference() for tensor in tensors)  # these do not count their changes
        self._checked = None if inference else [(tensor, tensor._version) for tensor in tensors]

    def is_checked(self) -> bool:
        """Whether all tensors are those of the last check, and torch has not changed them since."""
        if self.fault or self._checked is None:
            return False
        tensors = (self.time, self.streams, self.tokens, *self.memory)
        if len(tensors) != len(self._checked):
            return False
        for now, (then, version) in zip(tensors, self._checked, strict=True):
            if now is not then or now._version != version:
                return False
        return True

    def _from_tensors(self, tensors: list[Tensor]) -> State:
        time, streams, tokens, *memory = tensors
        return State(time, streams, tokens, memory, self.fingerprint)

    def _check_row(self, row: int) -> None:
        if not 0 <= row < self.batch:
            raise InputError(f"row {row} of a state with {self.batch} streams: rows are 0..{self.batch - 1}.")
