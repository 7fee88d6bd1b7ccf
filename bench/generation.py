"""Generation on a GPU: models on the kernels of the CUDA engine, each proved, then timed in turn, beside its limit."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

import ceilings
from fastwave import Engine, FastwaveError, WaveNetConfig
from fastwave.engine.example import example
from fastwave.runtime import library
from fastwave.tools import measure
from proofs import prepared, prove

PROOF_STREAMS = 9  # one more than a cluster takes
SECONDS_A_RUN = 0.2
RUNS = 10  # of a contender and a number of streams, at most: choosing the samples (1.4), warm-up, rounds
SHARED, DISTRIBUTED, TENSOR = 29, 180, 24  # cycles to read shared memory, another block's, and of m16n8k16: published
TAIL_PRODUCTS, TAIL_HOPS = 3, 3  # skip and both of the head; z to the skips, their share to the head, x to the layers
RESERVED_BYTES = 1024  # of shared memory, by CUDA, for each block
CLOCK_RATE = 13  # CU_DEVICE_ATTRIBUTE_CLOCK_RATE

Wanted = tuple[str, WaveNetConfig, str, str]  # name of the model, config, dtype, kernel


@dataclasses.dataclass(frozen=True)
class Device:
    """What a device does at best."""

    place: str  # of torch
    name: str
    bytes_per_second: float
    flop_per_second: dict[str, float]  # by dtype
    multiprocessors: int
    shared_bytes: int  # of a multiprocessor
    clock: float  # cycles a second, the most; 0 where the driver does not say


def this_gpu() -> Device:
    """torch's current one, measured now."""
    properties = torch.cuda.get_device_properties()
    return Device(
        "cuda",
        properties.name,
        ceilings.copy_bandwidth("cuda"),
        {dtype: ceilings.product_peak(dtype, "cuda") for dtype in ("float32", "bfloat16")},
        properties.multi_processor_count,
        properties.shared_memory_per_multiprocessor,
        highest_clock(torch.cuda.current_device()),
    )


def highest_clock(index: int) -> float:
    """Asked of the driver: not every torch tells it."""
    kilohertz = ctypes.c_int()
    status = ctypes.CDLL("libcuda.so.1").cuDeviceGetAttribute(ctypes.byref(kilohertz), CLOCK_RATE, index)
    return 1e3 * kilohertz.value if status == 0 else 0.0


@dataclasses.dataclass(frozen=True)
class GenerationCeiling:
    """What one device does at best in generating with one model on one kernel."""

    plan: library.CudaPlan
    config: WaveNetConfig
    dtype: str
    device: Device

    def samples_per_second(self, batch: int = 1, threads: int = 1) -> float:
        """The aggregate rate nothing can pass."""
        return batch / max(seconds for seconds, _ in self._terms(batch))

    def explain(self, batch: int = 1) -> str:
        """All that a sample of every stream takes, the longest first."""
        terms = sorted(self._terms(batch), reverse=True)
        return "; ".join(f"{why}: {1e6 * seconds:.3g} us" for seconds, why in terms)

    def _terms(self, batch: int) -> list[tuple[float, str]]:
        moved, flop = self._bytes(batch), batch * self.config.flop_per_sample
        rate, peak = self.device.bytes_per_second, self.device.flop_per_second[self.dtype]
        terms = [
            (moved / rate, f"{moved / 1e6:.3g} MB at {rate / 1e9:.0f} GB/s"),
            (flop / peak, f"{flop / 1e6:.2f} MFLOP at {peak / 1e9:.0f} GFLOP/s"),
        ]
        if self.plan.blocks_per_cluster and self.device.clock:
            terms.append(self._chain(batch))
        return terms

    def _bytes(self, batch: int) -> int:
        """Weights, which a cluster holds; and of each stream's rings in float32 the past taps, and what is added."""
        weights = self.config.weights_read_per_sample * measure.WEIGHT_BYTES[self.dtype]
        rings = self.config.layers * self.config.kernel_size * self.config.residual_channels * 4
        return batch * rings + (0 if self.plan.blocks_per_cluster else weights)

    def _chain(self, batch: int) -> tuple[float, str]:
        """What must come one after the other, by published cycles: no gate, draw or barrier is counted."""
        products = self.config.layers if self.plan.kernel == "cluster" else 2 * self.config.layers - 1
        products += TAIL_PRODUCTS
        hops = self.plan.layer_blocks - 1 + TAIL_HOPS
        blocks = self.device.multiprocessors * (self.device.shared_bytes // (self.plan.shared + RESERVED_BYTES))
        at_once = max(1, blocks // self.plan.blocks_per_cluster) * self.plan.streams_per_block
        turns = -(-batch // at_once)
        seconds = turns * (products * (SHARED + TENSOR) + hops * DISTRIBUTED) / self.device.clock
        chain = f"{products} products of {SHARED} + {TENSOR} cycles and {hops} hops of {DISTRIBUTED}"
        often = f", {turns} times" if turns > 1 else ""
        return seconds, f"a chain of {chain} at {self.device.clock / 1e9:.2f} GHz{often}"


@dataclasses.dataclass(frozen=True)
class Contender:
    """A model on a kernel."""

    name: str  # of the model
    engine: Engine
    proof: str


@functools.cache
def proved(name: str, config: WaveNetConfig, dtype: str, kernel: str) -> Contender:
    """An engine on this kernel that has shown its outputs; an AssertionError where they are wrong."""
    model = prepared(config, PROOF_STREAMS)[0]
    engine = Engine(model, backend="cuda", dtype=dtype, kernel=kernel)
    return Contender(name, engine, f"{prove(engine, PROOF_STREAMS)}, {PROOF_STREAMS} streams")


def compare(
    wanted: Sequence[Wanted],
    streams: int,
    device: Device,
    rows: list[measure.Row],
    in_turn: Callable[..., list[list[float]]],
    seconds: float = SECONDS_A_RUN,
) -> None:
    """Rows of all that are wanted, timed in turn. What cannot be proved fails, when the others have their rows."""
    contenders, faults = [], []
    for each in wanted:
        try:
            contenders.append(proved(*each))
        except (AssertionError, FastwaveError) as error:
            name, _, dtype, kernel = each
            faults.append(f"{name}, {dtype}, kernel {kernel}: {error}")
    try:
        rows += timed(contenders, streams, device, in_turn, seconds)
    finally:
        assert not faults, "\n".join(faults)


def timed(
    contenders: Sequence[Contender],
    streams: int,
    device: Device,
    in_turn: Callable[..., list[list[float]]],
    seconds: float,
) -> list[measure.Row]:
    """A row each, of runs of about so many seconds."""
    runs = [running(each.engine, streams) for each in contenders]
    counts = [samples_in(seconds, run, most_samples(streams), device.place) for run in runs]
    whole = [functools.partial(run, count) for run, count in zip(runs, counts, strict=True)]
    times = in_turn(whole, device.place, 5 if streams <= 128 else 3)
    return [
        row_of(contender, streams, count, taken, device)
        for contender, count, taken in zip(contenders, counts, times, strict=True)
    ]


def row_of(contender: Contender, streams: int, samples: int, seconds: Sequence[float], device: Device) -> measure.Row:
    """The row of runs that each drew so many samples of every stream."""
    engine = contender.engine
    plan = engine.plan(streams)
    row = measure.make_row(
        f"generate {contender.name}, cuda engine {plan.kernel}",
        samples * streams,
        seconds,
        f"{contender.proof}; kernel {plan.kernel}: {plan.reason}; {plan.blocks} blocks",
        GenerationCeiling(plan, engine.config, engine.dtype, device),
        dtype=engine.dtype,
        batch=streams,
        device=device.name,
    )
    return dataclasses.replace(row, microseconds=1e6 * streams / row.median)


def most_samples(streams: int) -> int:
    """Of a run and a stream: no kernel makes more in SECONDS_A_RUN, as far as is known, and frames must cover it."""
    return min(2**16, 2**24 // streams)


def running(engine: Engine, streams: int) -> Callable[[int], Tensor]:
    """run(samples): draws the next samples of every stream: one past and one set of frames, but noise of its own."""
    horizon = RUNS * most_samples(streams)
    conditioning = example(engine.config, horizon, batch=1)[1]
    alone = engine.prepare(conditioning.get("condition"), conditioning.get("speaker"), 1, horizon)
    state = engine.start(1, condition=alone).take([0] * streams)
    state.streams = torch.arange(streams, device=state.streams.device)
    condition = alone.rows([0] * streams)

    def run(samples: int) -> Tensor:
        return engine.run(state, samples, condition=condition)

    return run


def samples_in(seconds: float, run: Callable[[int], object], most: int, place: str) -> int:
    """How many samples, at most `most`, run() makes in about so many seconds."""
    samples = min(16, most)
    run(samples)  # warm-up
    while True:
        taken = ceilings.stopwatch(functools.partial(run, samples), place)
        if taken >= seconds / 4 or samples == most:
            return max(1, min(most, int(samples * seconds / taken)))
        samples = min(most, 4 * samples)
