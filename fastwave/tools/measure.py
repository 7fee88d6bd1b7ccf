"""The limit of this machine for one model, and rows of a throughput report: measured rates beside that limit.

The limits of training and of GPUs are in bench/ceilings.py: only benches need them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch

from .. import __version__
from ..config import WaveNetConfig
from ..errors import BackendUnavailable
from ..runtime import library

REAL_TIME_RATE = 16_000  # rows state their speed in multiples of it
WEIGHT_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "int8": 1}


class Limit(Protocol):
    """A rate that no program can exceed on this machine."""

    def samples_per_second(self, batch: int = 1, threads: int = 1) -> float:
        """The rate, summed over all streams."""

    def explain(self, batch: int = 1) -> str:
        """The bytes or operations that set it, and how many of them the machine manages in a second."""


@dataclasses.dataclass(frozen=True)
class Ceiling:
    """The highest rate of one core of this machine in generating with one model and dtype."""

    weight_bytes: int  # read once for each sample, for all streams of a batch together
    flop: int  # for each sample of each stream
    bytes_per_second: float
    flop_per_second: float

    def samples_per_second(self, batch: int = 1, threads: int = 1) -> float:
        """The rate that `threads` such cores cannot exceed, summed over all streams."""
        reading = self.weight_bytes / self.bytes_per_second
        computing = batch * self.flop / self.flop_per_second
        return threads * batch / max(reading, computing)

    def explain(self, batch: int = 1) -> str:
        """Whether reading weights or computing takes longer, with its figures."""
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
    if dtype == "int8":  # the last layer's weights are bfloat16
        weight_bytes += config.head_channels * config.output_channels
    peak = library.multiply_add_peak("float32", seconds=seconds)
    if dtype == "bfloat16":  # bfloat16 weights are widened to float32 where the processor lacks fast bfloat16 products
        with contextlib.suppress(BackendUnavailable):
            peak = max(peak, library.multiply_add_peak("bfloat16", seconds=seconds))
    if dtype == "int8":
        with contextlib.suppress(BackendUnavailable):
            peak = library.multiply_add_peak("int8", seconds=seconds) / 2  # 16-bit activations take two products
    if dtype == "float64":
        peak /= 2  # a vector holds half as many numbers
    bandwidth = library.read_bandwidth(max(weight_bytes, 4096), seconds=seconds)
    return Ceiling(weight_bytes, config.flop_per_sample, bandwidth, peak)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a report: rates in samples a second over all streams."""

    name: str
    median: float
    p20: float
    p80: float
    proof: str  # which equality was checked before anything was timed
    limit: float | None
    limit_reason: str
    batch: int
    threads: int
    dtype: str
    device: str
    flop_per_second: float | None = None  # achieved; counts useful work only
    bytes_per_second: float | None = None  # achieved; counts useful work only
    baseline: str | None = None  # name of the row that was timed in turn with this one
    times_baseline: float | None = None  # how many times as fast as the baseline: the median over the rounds
    peak_memory: int | None = None  # bytes that a step needs beyond weights and optimiser state
    share_of_baseline_memory: float | None = None
    microseconds: float | None = None  # between two samples of one stream, where latency matters

    @property
    def times_real_time(self) -> float:
        """Seconds of 16 kHz sound made in a second, all streams together."""
        return self.median / REAL_TIME_RATE

    @property
    def share(self) -> float | None:
        """The share of the limit that was reached; None where the limit was not measured."""
        return self.median / self.limit if self.limit else None

    def to_dict(self) -> dict[str, object]:
        """For JSON; optional fields that this row does not have are left out."""
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
    """Versions, processor and commit; without them a rate cannot be compared with another."""
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
    """The name that the processor gives itself, where the system shows it."""
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
