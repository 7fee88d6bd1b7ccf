"""Generation by the native CPU engine (csrc/cpu): streams over threads, the fastest instruction set."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from . import machine, native
from .config import WaveNetConfig
from .native_engine import NativeEngine, sizes_of


class CpuEngine(NativeEngine):
    """Weights packed for one instruction set, and the threads of `native.CpuEngine`."""

    def __init__(
        self,
        config: WaveNetConfig,
        parameters: dict[str, Tensor],
        dtype: str,
        threads: int | None,
        instruction_set: str | None,
    ) -> None:
        super().__init__(config, {name: p.cpu().contiguous() for name, p in parameters.items()})
        self._engine = native.CpuEngine(
            sizes_of(config), config.dilations, self._pointers(), dtype, threads or machine.cores(), instruction_set
        )

    def _run_native(self, **fields: Any) -> None:
        self._engine.run(**fields)
