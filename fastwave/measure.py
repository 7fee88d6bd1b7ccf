"""How fast this machine is, how fast a model could be on it, and how fast it is: rows of a throughput report."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch

from . import __version__, native
from .config import WaveNetConfig
from .errors import BackendUnavailable

REAL_TIME_RATE = 16_000  # rows state their speed in multiples of it
WEIGHT_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "int8": 1}


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
    """Measured now, on one core; None where the native library is missing (`native.missing` says why)."""
    if native.missing("cpu"):
        return None
    weight_bytes = config.weights_read_per_sample * WEIGHT_BYTES[dtype]
    peak = native.multiply_add_peak("float32", seconds=seconds)
    if dtype == "bfloat16":  # widened to float32 where the processor has no bfloat16 products, or slow ones
        with contextlib.suppress(BackendUnavailable):
            peak = max(peak, native.multiply_add_peak("bfloat16", seconds=seconds))
    if dtype == "int8":
        with contextlib.suppress(BackendUnavailable):
            peak = native.multiply_add_peak("int8", seconds=seconds) / 2  # 16-bit activations take two products
    if dtype == "float64":
        peak /= 2  # half the lanes
    bandwidth = native.read_bandwidth(max(weight_bytes, 4096), seconds=seconds)
    return Ceiling(weight_bytes, config.flop_per_sample, bandwidth, peak)


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

    @property
    def times_real_time(self) -> float:
        """Seconds of 16 kHz sound made in a second, all streams together."""
        return self.median / REAL_TIME_RATE

    @property
    def share(self) -> float | None:
        """Of the limit."""
        return self.median / self.limit if self.limit else None

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**dataclasses.asdict(self), "times_real_time": self.times_real_time, "share_of_limit": self.share}


def make_row(
    name: str,
    samples: int,
    seconds: Sequence[float],
    proof: str,
    limit: Ceiling | None,
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
    """The rows as text, one line each under a header."""
    header = ("row", "samples/s", "p20", "p80", "x real time", "limit", "share", "batch", "threads", "dtype")
    lines: list[tuple[str, ...]] = [header]
    for row in rows:
        limit = "-" if row.limit is None else f"{row.limit:,.0f}"
        share = "-" if row.share is None else f"{row.share:.1%}"
        rates = (f"{rate:,.0f}" for rate in (row.median, row.p20, row.p80))
        lines.append(
            (row.name, *rates, f"{row.times_real_time:.3f}", limit, share, str(row.batch), str(row.threads), row.dtype)
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 9) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
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
    folder = Path(__file__).resolve().parent.parent
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
