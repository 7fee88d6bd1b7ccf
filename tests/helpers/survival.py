"""Kills a training run again and again, and compares what it ends with to a run that nobody killed.

python tests/helpers/survival.py --kills 200 --seed 0

Half of the kills come at a random moment, half at a chosen point inside the writing of a file. Children are forked
from a process that has everything imported, so a life costs a second.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import select
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from fastwave.data.shards import Data
from fastwave.training.schedule import stretched, trapezoid
from small_runs import lines_of, make_config, make_data, make_settings, train_wavenet, weights_of

STEPS = 40


def run(data: Data, out: Path) -> None:
    """The run in question: it saves every second step, and the learning rate depends on the step, as in a planned run
    whose end was moved.
    """
    plan = {"planned": True, "minutes": 600.0, "corrections": 3, "knots": stretched(trapezoid(30), 10, STEPS)}
    settings = make_settings(steps=STEPS, save_every=2, keep=2, sample_every=15, schedule="trapezoid", **plan)
    train_wavenet(data, out, make_config(), settings)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_writing(fault: int) -> None:
    """Be killed at the fault-th of the points where a file is half there, or there and not yet named, or named."""
    left = [fault]

    def point() -> None:
        left[0] -= 1
        if left[0] == 0:
            die()

    def around(function: Callable[..., object]) -> Callable[..., object]:
        def watched(*arguments: object, **options: object) -> object:
            point()
            result = function(*arguments, **options)
            point()
            return result

        return watched

    write_bytes = pathlib.Path.write_bytes

    def write_in_halves(path: Path, content: bytes) -> int:
        write_bytes(path, content[: len(content) // 2])
        point()
        return write_bytes(path, content)

    pathlib.Path.write_bytes = write_in_halves  # type: ignore[method-assign, assignment]
    os.replace, os.fsync = around(os.replace), around(os.fsync)  # type: ignore[assignment]
    os.unlink = around(os.unlink)  # type: ignore[assignment]


def life(data: Data, out: Path, choose: random.Random, longest: float) -> bool:
    """One process that trains and is killed, or gets to the end: True when it was killed."""
    by_fault = choose.random() < 0.5
    fault, seconds = choose.randrange(1, 120), choose.uniform(0, longest)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)
            if by_fault:
                die_while_writing(fault)
            run(data, out)
            status = 0
        finally:
            os._exit(status)
    if not by_fault:
        handle = os.pidfd_open(child)
        if not select.select([handle], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
        os.close(handle)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise AssertionError(f"a resumed run failed: see {out}")
    return os.WIFSIGNALED(status)


def survive(folder: Path, kills: int, seed: int) -> tuple[int, int]:
    """Kill runs so many times -> (kills, runs that ended): each ended bit-identical to the unkilled one."""
    choose = random.Random(seed)
    data = make_data(folder)
    whole = folder / "whole"
    run(data, whole)
    exact = weights_of(whole, STEPS)
    model = (whole / "model.safetensors").read_bytes()
    longest = lines_of(whole, "end")[0]["elapsed"] * 1.5
    done = ended = 0
    while done < kills:
        out = folder / f"run{ended}"
        while life(data, out, choose, longest):
            done += 1
        ended += 1
        assert weights_of(out, STEPS) == exact, f"{out}: other weights than the run that was not killed"
        assert (out / "model.safetensors").read_bytes() == model, f"{out}: another model"
        leftovers = [path.name for path in out.rglob(".*.tmp*")]
        assert not leftovers, f"{out}: {leftovers} are left behind"
    return done, ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kills, runs = survive(Path(folder), options.kills, options.seed)
    print(f"{kills} kills over {runs} runs: every run ended bit-identical to the one that was not killed")


if __name__ == "__main__":
    sys.exit(main())
