"""The processes of a training run, started by torchrun: ranks, shares of a batch, and sums over all of them.

With a single process nothing is sent.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.distributed as distributed
from torch import Tensor

from ..errors import InputError

Value = TypeVar("Value")

PATIENCE = datetime.timedelta(hours=12)  # of those that wait for process 0 to prepare data; torchrun sees dead ones


class Group:
    """The processes of a run. `rank` counts them from 0; process 0 alone writes files."""

    def __init__(self, device: str = "auto") -> None:
        self.rank, self.world = 0, 1
        name = "cuda" if device == "auto" and torch.cuda.is_available() else "cpu" if device == "auto" else device
        if name.startswith("cuda") and not torch.cuda.is_available():
            raise InputError(f"device {name!r} was asked for, but torch sees no GPU here: use cpu.")
        if distributed.is_available() and distributed.is_torchelastic_launched():
            local = distributed.get_node_local_rank(0)
            if name == "cuda":
                name = f"cuda:{local}"
                torch.cuda.set_device(local)
            distributed.init_process_group("nccl" if name.startswith("cuda") else "gloo", timeout=PATIENCE)
            self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        self.device = torch.device(name)

    @property
    def first(self) -> bool:
        """Whether this is process 0, which writes the files."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """This process's part of `rows` rows, which must divide evenly."""
        if rows % self.world:
            raise InputError(f"a batch of {rows} does not divide among {self.world} processes.")
        each = rows // self.world
        return slice(self.rank * each, (self.rank + 1) * each)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its sum over the processes, all in one message."""
        if self.world == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        at = 0
        for tensor in tensors:
            tensor.copy_(flat[at : at + tensor.numel()].view_as(tensor))
            at += tensor.numel()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.world == 1:
            return flag
        flags_set = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(flags_set)
        return bool(flags_set)

    def least(self, limit: int) -> int:
        """The smallest limit of all processes, where 0 stands for no limit."""
        if self.world == 1:
            return limit
        smallest = torch.tensor(limit or 2**31, device=self.device)
        distributed.all_reduce(smallest, distributed.ReduceOp.MIN)
        return int(smallest) % 2**31

    def from_first(self, value: Value) -> Value:
        """What process 0 passed; every process gets it."""
        if self.world == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, device=self.device)
        return values[0]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            distributed.barrier()

    def leave(self) -> None:
        """End the communication."""
        if self.world > 1:
            distributed.destroy_process_group()
