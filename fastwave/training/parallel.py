"""One training run over the processes that torchrun started: who am I, and sums over all. Alone, all of it is idle."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as distributed
from torch import Tensor

from ..errors import InputError

PATIENCE = datetime.timedelta(hours=12)  # the others wait while one prepares data; of a dead one torchrun knows at once


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
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """This process's part of `rows` rows; they must divide."""
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
        """Whether it is so in any process."""
        if self.world == 1:
            return flag
        told = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(told)
        return bool(told)

    def least(self, limit: int) -> int:
        """The smallest limit of all processes; 0 is none."""
        if self.world == 1:
            return limit
        told = torch.tensor(limit or 2**31, device=self.device)
        distributed.all_reduce(told, distributed.ReduceOp.MIN)
        return int(told) % 2**31

    def from_first(self, path: Path | None) -> Path | None:
        """What process 0 says."""
        if self.world == 1:
            return path
        told = [path]
        distributed.broadcast_object_list(told, device=self.device)
        return told[0]

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            distributed.barrier()

    def leave(self) -> None:
        """The end."""
        if self.world > 1:
            distributed.destroy_process_group()
