"""The limits of training and of GPUs on this machine, and the stopwatch of all benches."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Literal

import torch

from fastwave import BackendUnavailable, WaveNetConfig
from fastwave.runtime import library
from fastwave.tools.measure import WEIGHT_BYTES

Part = Literal["step", "forward"]  # the whole training step, or the forward pass of the residual stack alone


@dataclasses.dataclass(frozen=True)
class TrainingCeiling:
    """The highest rate of this machine in training one model; on a CPU, of one core."""

    flop: int  # for each time step of one sequence
    bytes_moved: int  # for each time step of one sequence
    bytes_per_second: float  # infinite where no bandwidth limits: tiles of a CPU stay in its caches
    flop_per_second: float

    def samples_per_second(self, batch: int = 1, threads: int = 1) -> float:
        """The rate that cannot be exceeded, summed over all sequences, whatever the batch."""
        return threads / max(self.flop / self.flop_per_second, self.bytes_moved / self.bytes_per_second)

    def explain(self, batch: int = 1) -> str:
        """Whether memory or computing takes longer, with its figures."""
        if self.bytes_moved / self.bytes_per_second > self.flop / self.flop_per_second:
            return f"{self.bytes_moved / 1e3:.1f} kB a sample at {self.bytes_per_second / 1e9:.0f} GB/s"
        return f"{self.flop / 1e6:.2f} MFLOP a sample at {self.flop_per_second / 1e9:.0f} GFLOP/s"


def training_ceiling(
    config: WaveNetConfig, dtype: str, part: Part = "step", device: str = "cpu", seconds: float = 0.2
) -> TrainingCeiling | None:
    """Measured now; `dtype` is that of the products. None where the native library is missing, on a CPU."""
    flop, moved = training_work(config, dtype, part)
    if device != "cpu":
        return TrainingCeiling(flop, moved, copy_bandwidth(device, seconds), product_peak(dtype, device, seconds))
    if library.missing("cpu"):
        return None
    peak = library.multiply_add_peak("float32", seconds=seconds)
    if dtype == "bfloat16":  # torch's product too: the native loop has no AMX, which does several times as much
        with contextlib.suppress(BackendUnavailable):
            peak = max(peak, library.multiply_add_peak("bfloat16", seconds=seconds))
        peak = max(peak, product_peak(dtype, device, seconds))
    return TrainingCeiling(flop, moved, math.inf, peak)


def training_work(config: WaveNetConfig, dtype: str, part: Part) -> tuple[int, int]:
    """Operations of a time step, and bytes that layers fused one by one must move for it.

    Forward, each layer reads and writes x, writes z and reads it for the skip sum. Backward, it reads x and z, writes
    and reads dz, reads and writes dx, and writes and reads the gradient of the preactivation (twice as wide as z). The
    skip sum and its gradient count twice each. This is the useful work: every means is counted by it, whatever it
    really moves.
    """
    size = WEIGHT_BYTES[dtype]
    r, g, s, c = config.residual_channels, config.gate_channels, config.skip_channels, config.condition_channels
    if part == "step":
        return 3 * config.flop_per_sample, size * (config.layers * (5 * r + 9 * g + 2 * c) + 4 * s)
    stack = ("dilated.", "condition.", "residual.", "skip.")
    weights = sum(math.prod(shape) for name, shape in config.parameter_shapes().items() if name.startswith(stack))
    return 2 * weights, size * (config.layers * (2 * r + 2 * g + c) + s)


def product_peak(dtype: str, device: str, seconds: float = 0.2) -> float:
    """Operations a second of PyTorch's own product of large square matrices; the best run counts."""
    side = 1024 if device == "cpu" else 8192
    left, right = (torch.randn(side, side, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    return 2 * side**3 / _best(lambda: left @ right, device, seconds)


def copy_bandwidth(device: str, seconds: float = 0.2) -> float:
    """Bytes a second, read and written, of a copy of 1 GiB in the memory of a GPU; the best run counts."""
    source = torch.randn(2**28, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best(lambda: target.copy_(source), device, seconds)


def _best(run: Callable[[], object], device: str, seconds: float) -> float:
    synchronize(device)
    run()
    best, end = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < end or best == math.inf:
        best = min(best, stopwatch(run, device))
    return best


def stopwatch(run: Callable[[], object], device: str = "cpu") -> float:
    """Seconds of one run, all work on the device included."""
    synchronize(device)
    begun = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - begun


def synchronize(device: str) -> None:
    """Wait until the device has nothing left to do."""
    if device != "cpu":
        torch.cuda.synchronize(device)
