"""The throughput report: rows are proved, then timed, then printed beside the limit of this machine.

pytest bench/                          # table at the end, JSON in bench-report.json
pytest bench/ --report elsewhere.json
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fastwave import backends, measure, native

ROWS = pytest.StashKey[list[measure.Row]]()
ROUNDS = 7


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--report", default="bench-report.json", help="where the JSON goes")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


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

    `against` are others on one thread, (name, run, samples, dtype, batch), timed in turn with it for rows of their own.
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


def unmeasured() -> dict[str, str]:
    """What this run could not measure, and why."""
    reasons = {f"{each.role} {each.name}": each.reason for each in backends() if not each.available}
    if not torch.cuda.is_available():
        reasons["GPU rows"] = "no GPU: not measured"
    if native.missing("cpu"):
        reasons["limits"] = str(native.missing("cpu"))
    return reasons


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    rows = config.stash[ROWS]
    if not rows:
        return
    environment = measure.environment()
    terminalreporter.section("fastwave throughput")
    terminalreporter.write_line(measure.table(rows))
    for each in rows:
        terminalreporter.write_line(f"{each.name}: limit {each.limit_reason}; proved: {each.proof}")
    terminalreporter.write_line(", ".join(f"{key} {value}" for key, value in environment.items()))
    for what, reason in unmeasured().items():
        terminalreporter.write_line(f"not measured: {what}: {reason}")
    report = {
        "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "environment": environment,
        "rows": [each.to_dict() for each in rows],
        "not_measured": unmeasured(),
    }
    path = Path(config.getoption("report"))
    path.write_text(json.dumps(report, indent=2) + "\n")
    terminalreporter.write_line(f"written to {path}")
