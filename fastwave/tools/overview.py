"""One table of a machine: how fast every preset generates and trains here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import torch

from .. import __version__
from ..config import WaveNetConfig
from ..engine.engine import Engine
from ..engine.example import example
from ..errors import BackendUnavailable, GenerationError
from ..model import WaveNet
from ..runtime import machine
from . import measure

PRESETS = ("ref", "small", "large", "vocoder", "music8x10")
DTYPES = ("float32", "bfloat16", "int8")
STREAMS = (1, 16)
TRAINED = {"ref": 4096, "small": 8192}  # samples of a training step
RUNS, RUN_SECONDS = 5, 0.15
LONGEST_RUN = 1 << 16  # samples
PROOF_SAMPLES = 16
# What a dtype may change of an output, of the largest: beyond this it is no rounding
MOST_DIFFERENCE = {"float32": 1e-4, "bfloat16": 0.1, "int8": 0.1}


def rows(
    presets: Sequence[str] = PRESETS,
    dtypes: Sequence[str] = DTYPES,
    streams: Sequence[int] = STREAMS,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[measure.Row]:
    """A row for each preset, dtype and number of streams: one thread for one stream, all cores for several. Then whole
    training steps in float32. Weights are random: the speed does not depend on them.
    """
    for preset in presets:
        tell(f"{preset} ...")
        torch.manual_seed(0)
        model = WaveNet(WaveNetConfig.preset(preset))
        for dtype in dtypes:
            yield from _generation(preset, model, dtype, streams)
    for preset, steps in TRAINED.items():
        if preset in presets:
            tell(f"training {preset} ...")
            yield _training(preset, steps)


def markdown(table: Sequence[measure.Row]) -> str:
    """The rows as a table in Markdown, under the name of the machine and the versions."""
    place = measure.environment()
    lines = [
        f"{place['device']}, {machine.cores()} cores, fastwave {__version__}, torch {place['torch']}",
        "",
        "| | dtype | streams | threads | samples/s | times real time | share of the limit |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table:
        share = "" if row.share is None else f"{row.share:.0%}"
        cells = [row.name, row.dtype, str(row.batch), str(row.threads), f"{row.median:,.0f}"]
        lines.append(f"| {' | '.join([*cells, f'{row.times_real_time:.2f}', share])} |")
    return "\n".join([*lines, ""])


def _generation(preset: str, model: WaveNet, dtype: str, streams: Sequence[int]) -> Iterator[measure.Row]:
    try:
        engines = {threads: Engine(model, "auto", dtype, threads) for threads in {1, machine.cores()}}
    except BackendUnavailable:
        return  # nothing here computes in this dtype
    proof = _proof(model, engines[1], dtype)
    limit = measure.ceiling(model.config, dtype)
    for batch in streams:
        threads = 1 if batch == 1 else machine.cores()
        count, times = _timed(engines[threads], model.config, batch)
        yield measure.make_row(
            f"generate {preset}", count * batch, times, proof, limit, dtype=dtype, batch=batch, threads=threads
        )


def _timed(engine: Engine, config: WaveNetConfig, batch: int) -> tuple[int, list[float]]:
    """(samples of a stream in a run, the seconds of each run)"""
    _, inputs = example(config, LONGEST_RUN, batch)
    prepared = engine.prepare(inputs.get("condition"), inputs.get("speaker"), batch, LONGEST_RUN)
    start = engine.start(batch, condition=prepared)

    def seconds(count: int) -> float:
        return _seconds(lambda: engine.run(start.copy(), count, condition=prepared, in_place=True))

    count = 8
    while (elapsed := seconds(count)) < RUN_SECONDS and count < LONGEST_RUN:
        longer = min(8.0, 1.2 * RUN_SECONDS / elapsed)  # the first runs are slower than those that follow
        count = min(LONGEST_RUN, max(count + 1, int(count * longer)))
    return count, [seconds(count) for _ in range(RUNS)]


def _proof(model: WaveNet, engine: Engine, dtype: str) -> str:
    """How far the outputs are from those of the reference in float64; too far is refused."""
    tokens, inputs = example(model.config, PROOF_SAMPLES, 1)
    exact_engine = Engine(model, "reference", "float64")
    outputs = [each.feed(each.start(1, **inputs), tokens, **inputs).double() for each in (engine, exact_engine)]
    difference = float((outputs[0] - outputs[1]).abs().max() / outputs[1].abs().max())
    if not difference <= MOST_DIFFERENCE[dtype]:
        raise GenerationError(
            f"{dtype} on the {engine.backend} backend differs from the reference by {difference:.1e} of the largest "
            "output, which is more than rounding: nothing is timed. Please report it, with what fastwave doctor says."
        )
    return f"{difference:.0e} from the reference"


def _training(preset: str, steps: int) -> measure.Row:
    """Whole steps: forward, backward and the optimiser."""
    torch.manual_seed(0)
    config = WaveNetConfig.preset(preset)
    model = WaveNet(config)
    tokens, _ = example(config, steps, 1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        loss = model.loss(tokens)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    step()
    times = [_seconds(step) for _ in range(RUNS)]
    row_name, threads = f"train {preset}", torch.get_num_threads()
    return measure.make_row(row_name, steps, times, "not compared here", None, dtype="float32", threads=threads)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
