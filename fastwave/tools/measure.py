"""How fast this machine is, how fast a model could be on it, and how fast it is: rows of a throughput report."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

import torch

from .. import __version__
from ..config import WaveNetConfig
from ..errors import BackendUnavailable
from ..runtime import library

REAL_TIME_RATE = 16_000  # rows state their speed in multiples of it
WEIGHT_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "int8": 1}


class Limit(Protocol):
    """What nothing on this machine can pass."""

    def samples_per_second(self, batch: int = 1, threads: int = 1) -> float:
        """Over all streams."""

    def explain(self, batch: int = 1) -> str:
        """What it consists of."""


@dataclasses.dataclass(frozen=True)
class Ceiling:
    """What one core of this machine does at best, for one model and dtype."""

    weight_bytes: int  # read once a sample (shared by the streams of a batch)
    flop: int  # a sample and stream
    bytes_per_second: float
    flop_per_second: float

    def samples_per_second(self, batch: int = 1, threads: int = 1) -> float:
        """The aggregate rate nothing on `threads` such cores can pass."""
        reading = self.weight_bytes / self.bytes_per_second
        computing = batch * self.flop / self.flop_per_second
        return threads * batch / max(reading, computing)

    def explain(self, batch: int = 1) -> str:
        """Which of the two it is."""
        reading = self.weight_bytes / self.bytes_per_second
        computing = batch * self.flop / self.flop_per_second
        if reading >= computing:
            return f"{self.weight_bytes / 1e6:.2f} MB of weights at {self.bytes_per_second / 1e9:.0f} GB/s"
        return f"{batch * self.flop / 1e6:.2f} MFLOP at {self.flop_per_second / 1e9:.0f} GFLOP/s"


def ceiling(config: WaveNetConfig, dtype: str, seconds: float = 0.2) -> Ceiling | None:
    """Measured now, on one core; None where the native library is missing (`library.missing` says why)."""
    if library.missing("cpu"):
        return None
    weight_bytes = config.weights_read_per_sample * WEIGHT_BYTES[dtype]
    peak = library.multiply_add_peak("float32", seconds=seconds)
    if dtype == "bfloat16":  # widened to float32 where the processor has no bfloat16 products, or slow ones
        with contextlib.suppress(BackendUnavailable):
            peak = max(peak, library.multiply_add_peak("bfloat16", seconds=seconds))
    if dtype == "int8":
        with contextlib.suppress(BackendUnavailable):
            peak = library.multiply_add_peak("int8", seconds=seconds) / 2  # 16-bit activations take two products
    if dtype == "float64":
        peak /= 2  # half the lanes
    bandwidth = library.read_bandwidth(max(weight_bytes, 4096), seconds=seconds)
    return Ceiling(weight_bytes, config.flop_per_sample, bandwidth, peak)


Part = Literal["step", "forward"]  # the whole training step, or the residual stack alone on its way forward


@dataclasses.dataclass(frozen=True)
class TrainingCeiling:
    """What this machine does at best in training one model; of a CPU, one core."""

    flop: int  # a time step of one stream
    bytes_moved: int  # likewise
    bytes_per_second: float  # infinite where no bandwidth limits: tiles of a CPU stay in its caches
    flop_per_second: float

    def samples_per_second(self, batch: int = 1, threads: int = 1) -> float:
        """The aggregate rate nothing can pass, whatever the batch."""
        return threads / max(self.flop / self.flop_per_second, self.bytes_moved / self.bytes_per_second)

    def explain(self, batch: int = 1) -> str:
        """Which of the two it is."""
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

    Of a layer forward: x read and written, z written and read for the skip sum. Back: x, z, dz written and read, dx
    read and written, the sums' gradient (two gates wide) written and read. The skip sum and its gradient twice each.
    Every means is counted so, whatever it really moves: it is the useful work.
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


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a report: rates in samples a second over all streams."""

    name: str
    median: float
    p20: float
    p80: float
    proof: str  # what was shown equal before the clock ran
    limit: float | None
    limit_reason: str
    batch: int
    threads: int
    dtype: str
    device: str
    flop_per_second: float | None = None  # achieved, of the useful work
    bytes_per_second: float | None = None  # likewise
    baseline: str | None = None  # the row timed in turn with this one
    times_baseline: float | None = None  # as fast: the median over the rounds
    peak_memory: int | None = None  # bytes beyond what is held before a step
    share_of_baseline_memory: float | None = None
    microseconds: float | None = None  # from one sample of a stream to its next, where that is what counts

    @property
    def times_real_time(self) -> float:
        """Seconds of 16 kHz sound made in a second, all streams together."""
        return self.median / REAL_TIME_RATE

    @property
    def share(self) -> float | None:
        """Of the limit."""
        return self.median / self.limit if self.limit else None

    def to_dict(self) -> dict[str, object]:
        """For JSON: without the fields that mean nothing for this row."""
        fields = {
            key: value for key, value in dataclasses.asdict(self).items() if key not in OPTIONAL or value is not None
        }
        return {**fields, "times_real_time": self.times_real_time, "share_of_limit": self.share}


OPTIONAL = tuple(field.name for field in dataclasses.fields(Row) if field.default is None)


def make_row(
    name: str,
    samples: int,
    seconds: Sequence[float],
    proof: str,
    limit: Limit | None,
    *,
    dtype: str,
    batch: int = 1,
    threads: int = 1,
    device: str | None = None,
) -> Row:
    """A row from the times of several runs, each of which made `samples` samples over all streams."""
    rates = sorted(samples / each for each in seconds)
    low, high = (rates[0], rates[-1]) if len(rates) < 5 else _p20_p80(rates)
    return Row(
        name,
        statistics.median(rates),
        low,
        high,
        proof,
        limit.samples_per_second(batch, threads) if limit else None,
        limit.explain(batch) if limit else "not measured: the native library is missing",
        batch,
        threads,
        dtype,
        device or processor_name(),
    )


def _p20_p80(rates: Sequence[float]) -> tuple[float, float]:
    fifths = statistics.quantiles(rates, n=5, method="inclusive")
    return fifths[0], fifths[3]


def table(rows: Sequence[Row]) -> str:
    """The rows as text, one line each under a header; a field that not all rows have is shown where one has it."""
    columns: dict[str, Callable[[Row], str]] = {
        "row": lambda row: row.name,
        "samples/s": lambda row: f"{row.median:,.0f}",
        "p20": lambda row: f"{row.p20:,.0f}",
        "p80": lambda row: f"{row.p80:,.0f}",
        "x real time": lambda row: f"{row.times_real_time:.3f}",
        "limit": lambda row: _cell(row.limit, ",.0f"),
        "share": lambda row: _cell(row.share, ".1%"),
        "batch": lambda row: str(row.batch),
        "threads": lambda row: str(row.threads),
        "dtype": lambda row: row.dtype,
    }
    optional: dict[str, tuple[str, Callable[[Row], str]]] = {
        "microseconds": ("us/sample", lambda row: _cell(row.microseconds, ",.2f")),
        "flop_per_second": ("GFLOP/s", lambda row: _cell(row.flop_per_second, ",.0f", 1e9)),
        "bytes_per_second": ("GB/s", lambda row: _cell(row.bytes_per_second, ",.1f", 1e9)),
        "times_baseline": ("x eager", lambda row: _cell(row.times_baseline, ".2f")),
        "peak_memory": ("peak MB", lambda row: _cell(row.peak_memory, ",.0f", 1e6)),
        "share_of_baseline_memory": ("of eager", lambda row: _cell(row.share_of_baseline_memory, ".2f")),
    }
    columns |= dict(
        column for field, column in optional.items() if any(getattr(row, field) is not None for row in rows)
    )
    return aligned([list(columns), *([cell(row) for cell in columns.values()] for row in rows)], left=("row", "dtype"))


def _cell(value: float | None, form: str, unit: float = 1) -> str:
    return "-" if value is None else format(value / unit, form)


def aligned(lines: Sequence[Sequence[str]], left: Sequence[str]) -> str:
    """Lines of cells under a header as text; the columns named in `left` are flush left, others right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if name in left else cell.rjust(width)
            for name, cell, width in zip(lines[0], line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def environment() -> dict[str, str]:
    """Versions, processor and commit: what a number means nothing without."""
    return {
        "fastwave": __version__,
        "commit": commit() or "not a checkout",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": processor_name(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
    }


def processor_name() -> str:
    """The processor's own name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit of the checkout this package lies in, marked when files differ from it."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=folder, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()
