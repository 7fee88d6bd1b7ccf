"""The processes of a training run, started by torchrun: ranks, shares of a batch, and sums over all of them.

With a single process nothing is sent.
"""

from __future__ import annotations

import datetime
import importlib
import re
from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.distributed as distributed
from torch import Tensor

from ..errors import InputError, did_you_mean

Value = TypeVar("Value")

PATIENCE = datetime.timedelta(hours=12)  # of those that wait for process 0 to prepare data; torchrun sees dead ones


class Group:
    """The processes of a run. `rank` counts them from 0; process 0 alone writes files."""

    def __init__(self, device: str = "auto") -> None:
        self.rank, self.world = 0, 1
        name = _device_name(device)
        if distributed.is_available() and distributed.is_torchelastic_launched():
            # Its functions have the group of all processes as a default value. Imported later, by the first step of an
            # optimiser, they would keep the group and its threads alive after `leave`, and a thread that still holds a
            # tensor while Python ends aborts the process.
            importlib.import_module("torch.distributed.nn")

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


def _device_name(device: str) -> str:
    """auto, cpu, cuda or cuda:N -> the name of a device that torch has here."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if count else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        cures = {"gpu": " Did you mean 'cuda'?", "mps": " Apple's GPUs cannot train a WaveNet here: use cpu."}
        cure = cures.get(device.lower(), did_you_mean(device, ("auto", "cpu", "cuda")))
        raise InputError(f"device {device!r} is not known; choose auto, cpu, cuda or cuda:N.{cure}")
    if device != "cpu" and not count:
        raise InputError(f"device {device!r} was asked for, but torch sees no GPU here: use cpu.")
    if device.startswith("cuda:") and int(device[5:]) >= count:
        raise InputError(f"device {device!r} was asked for, but the GPUs here are cuda:0 .. cuda:{count - 1}.")
    return device
