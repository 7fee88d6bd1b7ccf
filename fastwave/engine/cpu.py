"""Generation by the native CPU engine (csrc/cpu): streams over threads, the fastest instruction set."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..config import WaveNetConfig
from ..runtime import library, machine
from .native import NativeEngine, sizes_of


class CpuEngine(NativeEngine):
    """Weights packed for one instruction set, and the threads of `library.CpuEngine`."""

    def __init__(
        self,
        config: WaveNetConfig,
        parameters: dict[str, Tensor],
        dtype: str,
        threads: int | None,
        instruction_set: str | None,
    ) -> None:
        super().__init__(config, {name: p.cpu().contiguous() for name, p in parameters.items()})
        self._engine = library.CpuEngine(
            sizes_of(config), config.dilations, self._pointers(), dtype, threads or machine.cores(), instruction_set
        )

    def settle(self, settled: bool) -> None:
        """Whether the fastest schedule measured so far is kept, and no other tried."""
        self._engine.settle(settled)

    def _run_native(self, **fields: Any) -> None:
        self._engine.run(**fields)
