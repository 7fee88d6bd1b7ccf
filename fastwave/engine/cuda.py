"""Generation by the CUDA engine (csrc/cuda): one kernel launch a call, the state in the device's memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..config import WaveNetConfig
from ..runtime import library
from .native import NativeEngine, sizes_of


def device_of(parameters: dict[str, Tensor]) -> torch.device:
    """The device on which an engine runs: that of its parameters if it is a GPU, else the current GPU."""
    device = next(iter(parameters.values())).device
    return device if device.type == "cuda" else torch.device("cuda", torch.cuda.current_device())


def cuda_stream_of(device: torch.device) -> int:
    """The CUDA stream that torch's own work on this device is queued on now."""
    return int(torch.cuda.current_stream(device).cuda_stream)


class CudaEngine(NativeEngine):
    """Weights packed on one device. Runs are queued on torch's current CUDA stream; those on several may overlap."""

    def __init__(self, config: WaveNetConfig, parameters: dict[str, Tensor], dtype: str, kernel: str = "auto") -> None:
        self._device = device_of(parameters)
        host = {name: p.to("cpu", torch.float32).contiguous() for name, p in parameters.items()}
        super().__init__(config, {name: p.to(self._device) for name, p in host.items()})
        pointers = {name: p.data_ptr() for name, p in host.items()}
        self._engine = library.CudaEngine(
            sizes_of(config), config.dilations, pointers, dtype, self._device.index or 0, kernel
        )

    def plan(self, batch: int) -> library.CudaPlan:
        """How a run of `batch` streams is launched."""
        return self._engine.plan(batch)

    def _run_native(self, **fields: Any) -> None:
        size = self._engine.plan(fields["streams"]).workspace
        workspace = torch.empty(size, dtype=torch.uint8, device=self._device)
        self._engine.run(workspace.data_ptr(), cuda_stream_of(self._device), **fields)
