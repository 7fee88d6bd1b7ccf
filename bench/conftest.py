"""The throughput report: rows are proved, then timed, then printed beside the limit of this machine.

pytest bench/                          # table at the end, JSON in bench-report.json
pytest bench/ --report elsewhere.json
pytest bench/ --compile ref,large     # training steps that are timed under torch.compile too
pytest bench/ --rounds 3              # of the training rows
"""

from __future__ import annotations

import datetime
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import ceilings
from build_fixtures import compilers, cuda_on_cpu, machine  # noqa: F401
from fastwave import backends
from fastwave.runtime import library
from fastwave.tools import measure

ROWS = pytest.StashKey[list[measure.Row]]()
UNMEASURED = pytest.StashKey[dict[str, str]]()
TABLES = pytest.StashKey[dict[str, list[dict[str, object]]]]()  # more than rows, each under its name
ROUNDS = 7


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--report", default="bench-report.json", help="where the JSON goes")
    parser.addoption("--compile", default="ref", help="shapes that torch.compile trains too; minutes each on a CPU")
    parser.addoption("--rounds", type=int, default=ROUNDS, help="rounds of the training rows, and at most of the GPU's")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS], config.stash[UNMEASURED] = [], {}
    config.stash[TABLES] = {"compiled_kernels": [], "latency": []}


@pytest.fixture(autouse=True)
def _one_thread():
    """CPU rows use one thread unless they say otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def row(benchmark, request) -> Callable[..., None]:
    """row(name, run, samples, proof=..., config=..., dtype=...): times run(), which makes `samples` samples.

    `against` lists contenders on one thread, (name, run, samples, dtype, batch): they are timed in turn with it, and
    each gets a row.
    """

    def measured(
        name: str,
        run: Callable[[], object],
        samples: int,
        *,
        proof: str,
        config,
        dtype: str,
        batch: int = 1,
        threads: int = 1,
        against=(),
    ):
        times = [[] for _ in against]

        def others() -> None:
            for (_, contender, *_), seconds in zip(against, times, strict=True):
                begun = time.perf_counter()
                contender()
                seconds.append(time.perf_counter() - begun)

        run()  # warm-up, the contenders' too
        others()
        benchmark.pedantic(run, setup=others, rounds=ROUNDS, iterations=1)
        if benchmark.stats is None:
            pytest.skip("--benchmark-disable: proved, not timed")
        rows = request.config.stash[ROWS]
        for (other, _, count, kind, streams), seconds in zip(against, times, strict=True):
            limit = measure.ceiling(config, kind)
            rows.append(measure.make_row(other, count, seconds[1:], proof, limit, dtype=kind, batch=streams))
        limit = measure.ceiling(config, dtype)
        seconds = benchmark.stats.stats.data
        rows.append(measure.make_row(name, samples, seconds, proof, limit, dtype=dtype, batch=batch, threads=threads))

    return measured


@pytest.fixture
def rows(request) -> list[measure.Row]:
    """The rows of the report, to add to."""
    return request.config.stash[ROWS]


@pytest.fixture
def not_measured(request) -> dict[str, str]:
    """What the report says was not measured, and why; to add to."""
    return request.config.stash[UNMEASURED]


@pytest.fixture
def compiled_kernels(request) -> list[dict[str, object]]:
    """A record of the report for each kernel compiled ahead, to add to."""
    return request.config.stash[TABLES]["compiled_kernels"]


@pytest.fixture
def latency(request) -> list[dict[str, object]]:
    """A record of the report for each kernel whose time was taken apart, to add to."""
    return request.config.stash[TABLES]["latency"]


@pytest.fixture
def in_turn(request) -> Callable[..., list[list[float]]]:
    """in_turn(runs, device, rounds): seconds of each run, a list a run; one after the other in every round."""
    most = request.config.getoption("--rounds")

    def timed(runs, device="cpu", rounds=most):
        if request.config.getoption("benchmark_disable", False):
            pytest.skip("--benchmark-disable: proved, not timed")
        for run in runs:
            run()  # warm-up
        turns = [[ceilings.stopwatch(run, device) for run in runs] for _ in range(min(rounds, most))]
        return [list(times) for times in zip(*turns, strict=True)]

    return timed


def unmeasured() -> dict[str, str]:
    """What this run could not measure, and why."""
    reasons = {f"{each.role} {each.name}": each.reason for each in backends() if not each.available}
    if not torch.cuda.is_available():
        reasons["GPU rows"] = "no GPU: not measured"
    if library.missing("cpu"):
        reasons["limits"] = str(library.missing("cpu"))
    return reasons


def write_report(config: pytest.Config) -> Path:
    """All that is known so far."""
    report = {
        "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "environment": environment(),
        "rows": [each.to_dict() for each in config.stash[ROWS]],
        "not_measured": unmeasured() | config.stash[UNMEASURED],
        **config.stash[TABLES],
    }
    path = Path(config.getoption("report"))
    path.write_text(json.dumps(report, indent=2) + "\n")
    return path


environment = functools.cache(measure.environment)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """A run that is killed, as by a kernel that hangs, leaves the rows that it had."""
    if item.config.stash[ROWS]:
        write_report(item.config)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    rows, tables = config.stash[ROWS], [each for each in config.stash[TABLES].values() if each]
    if not (rows or tables or config.stash[UNMEASURED]):
        return
    terminalreporter.section("fastwave throughput")
    if rows:
        terminalreporter.write_line(measure.table(rows))
    for each in rows:
        terminalreporter.write_line(f"{each.name}: limit {each.limit_reason}; proved: {each.proof}")
    for records in tables:
        lines = [list(records[0]), *(list(map(str, each.values())) for each in records)]
        terminalreporter.write_line(measure.aligned(lines, left=("kernel", "constants")))
    terminalreporter.write_line(", ".join(f"{key} {value}" for key, value in environment().items()))
    for what, reason in (unmeasured() | config.stash[UNMEASURED]).items():
        terminalreporter.write_line(f"not measured: {what}: {reason}")
    terminalreporter.write_line(f"written to {write_report(config)}")
