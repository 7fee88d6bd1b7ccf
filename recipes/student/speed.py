"""How fast a student is, beside the autoregressive engine, in turns in one process; parts equal the whole first.

    python recipes/student/speed.py runs/student recording.wav

The engine runs the preset `small` in int8 with random weights: its speed does not depend on them. A student's time
includes its excitation and its filters. On a machine that does other work too, the figures of processor time say what
a core to itself would do at most.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

import fastwave
from fastwave.student.generator import StudentGenerator
from fastwave.student.network import ParallelWaveNet

SECONDS = 8.0  # of sound, for one stream
FEWER = 4  # times less for each of a batch, and for the engine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("recording", type=Path, help="whose frames are followed, again and again")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="auto", help="of the student (default: auto, as it generates)")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = ParallelWaveNet.from_pretrained(options.student)
    student = StudentGenerator(model, dtype=options.dtype, threads=options.threads)
    rate, hop = student.sample_rate, model.config.frames.hop
    frames = student.read_condition(str(options.recording))
    assert isinstance(frames, torch.Tensor)
    count = round(SECONDS * rate / hop)
    frames = frames.repeat(-(-count // len(frames)), 1)[:count]
    prove(student, frames)
    config = fastwave.WaveNetConfig.preset("small", sample_rate=rate)
    engine = fastwave.Engine(fastwave.WaveNet(config), dtype="int8", threads=options.threads)
    part = frames[: count // FEWER]
    rows: dict[str, tuple[float, Callable[[], object]]] = {
        "student, one stream": (len(frames) * hop, lambda: run(student, frames, 1)),
        "student, batch of 16": (16 * len(part) * hop, lambda: run(student, part, 16)),
        "engine `small` int8, one stream": (
            len(part) * hop,
            lambda: engine.run(engine.start(1), len(part) * hop, in_place=True),
        ),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for _ in range(options.rounds + 1):
        for name, (_, work) in rows.items():
            begun, used = time.perf_counter(), time.process_time()
            work()
            times[name].append((time.perf_counter() - begun, time.process_time() - used))
    print(
        f"{model.config.multiply_adds:,} multiply-adds a sample in the student's network, in {student.dtype} "
        f"({student.why_dtype}); {options.threads} threads"
    )
    for name, (samples, _) in rows.items():
        measured = times[name][1:]  # the first round warms up
        speeds, own = (sorted(samples / rate / each[clock] for each in measured) for clock in (0, 1))
        print(
            f"{name:32} {statistics.median(speeds):6.1f} times real time ({speeds[0]:.1f} to {speeds[-1]:.1f}); "
            f"{statistics.median(own):.1f} ({own[0]:.1f} to {own[-1]:.1f}) of a second of processor time"
        )


def run(student: StudentGenerator, frames: torch.Tensor, batch: int) -> torch.Tensor:
    """All samples of these frames, for so many streams."""
    samples = len(frames) * student.config.frames.hop
    condition = student.prepare(frames, None, batch, samples)
    state = student.start(batch, condition=condition)
    return student.run(state, samples, condition=condition, in_place=True)


def prove(student: StudentGenerator, frames: torch.Tensor) -> None:
    """Refuse to measure a student whose parts are not the whole, or whose batch changes a stream."""
    part = frames[:100]
    whole = run(student, part, 1)
    condition = student.prepare(part, None, 1, 0)
    state = student.start(1, condition=condition)
    parts = [student.run(state, samples, condition=condition) for samples in (1, 4_999, whole.shape[1] - 5_000)]
    if not torch.equal(torch.cat(parts, dim=1), whole) or not torch.equal(run(student, part, 3)[:1], whole):
        raise SystemExit("parts differ from the whole, or a batch from one stream: there is nothing to measure.")
    print("parts of 1, 4,999 and the rest equal the whole, and so does a stream of a batch: bit for bit")


if __name__ == "__main__":
    main()
