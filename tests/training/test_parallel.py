"""Two processes train as one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastwave.training.parallel import Group
from small_runs import lines_of, make_sound

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed"),
]
SHAPE = ["classes=32", "residual_channels=8", "skip_channels=12", "dilations=1,2,4"]
OPTIONS = [
    *("--steps=12", "--batch=4", "--window=64", "--learning-rate=1e-2", "--warmup=2", "--schedule=constant"),
    *("--validate-every=6", "--save-every=4", "--sample-every=100", "--log-every=1"),
    *("--held-out=0.25", "--workers=1", "--device=cpu", "--threads=1"),
]
# without the last a restarted process may find the addresses of those before it: pytorch issue 135712
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def fastwave(folder, out, processes=1, script=("-m", "fastwave"), restarts=0, more=(), options=OPTIONS):
    arguments = ["train", str(folder), "--out", str(out), *options, *more, "--set", *SHAPE]
    launcher = []
    if processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        launcher += [f"--max-restarts={restarts}"]
    done = subprocess.run(
        [sys.executable, *launcher, *script, *arguments],
        capture_output=True, text=True, timeout=200, env=ENVIRONMENT, cwd=out.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def steps_of(run):
    """The loss of every step; a later line for the same step counts."""
    return {line["step"]: line["bits"] for line in lines_of(run, "train")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A folder of sound, and the losses of one process."""
    folder = tmp_path_factory.mktemp("parallel")
    sound = make_sound(folder / "sound")
    fastwave(sound, folder / "one")
    return sound, steps_of(folder / "one"), lines_of(folder / "one", "validation")


def assert_same_losses(losses, expected):
    # a sum over 256 targets in another order: some ulps of float32 at the first step, carried on through 12
    assert losses.keys() == expected.keys()
    assert losses[1] == pytest.approx(expected[1], rel=1e-6)
    for step, bits in losses.items():
        assert bits == pytest.approx(expected[step], rel=1e-4), f"step {step}"


def test_two_processes_have_the_losses_of_one(alone, tmp_path):
    sound, expected, validation = alone
    done = fastwave(sound, tmp_path / "two", processes=2)
    assert_same_losses(steps_of(tmp_path / "two"), expected)
    for ours, theirs in zip(lines_of(tmp_path / "two", "validation"), validation, strict=True):
        assert ours["bits"] == pytest.approx(theirs["bits"], rel=1e-4)
    assert done.stdout.count("bits a sample on held-out data") == 1  # only process 0 prints


def test_no_thread_of_the_communication_outlives_it(tmp_path):
    """One that still holds a tensor while Python ends aborts the process, which happened once in thousands of runs."""
    script = Path(__file__).parents[1] / "helpers/leave_group.py"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [sys.executable, *torchrun, str(script), str(tmp_path)]
    subprocess.run(command, check=True, timeout=200, env=ENVIRONMENT, cwd=tmp_path)
    for rank in range(2):
        before, after = json.loads((tmp_path / f"{rank}.json").read_text())
        assert before > 0
        assert after == 0


def test_two_processes_stop_at_the_same_step_when_the_time_is_up(alone, tmp_path):
    """Process 0 begins later, since it saves first, but all must leave the loop at the same step."""
    fastwave(alone[0], tmp_path / "two", processes=2, more=("--steps=1000000", "--minutes=0.02"))
    assert lines_of(tmp_path / "two", "end")[-1]["reason"].startswith("stopped after 0.02 minutes")


def test_a_killed_worker_restarts_all_from_the_last_checkpoint(alone, tmp_path):
    sound, expected, _ = alone
    script = (str(Path(__file__).parents[1] / "helpers/train_killed.py"), str(tmp_path / "killed"))
    fastwave(sound, tmp_path / "two", processes=2, script=script, restarts=1)
    assert (tmp_path / "killed").exists()
    assert [line["step"] for line in lines_of(tmp_path / "two", "resume")] == [4]
    assert_same_losses(steps_of(tmp_path / "two"), expected)


def test_a_batch_that_does_not_divide_is_refused():
    group = Group("cpu")
    group.world = 3
    with pytest.raises(Exception, match="a batch of 4 does not divide among 3"):
        group.share(4)


def test_two_processes_follow_one_plan(alone, tmp_path):
    """Each measures other times; all must come to the same steps, precision and window, or they wait for ever."""
    planned = ("--minutes=0.5", "--held-out=0.25", "--workers=1", "--device=cpu", "--threads=1")
    done = fastwave(alone[0], tmp_path / "run", processes=2, options=planned)
    settings = json.loads((tmp_path / "run/run.json").read_text())["settings"]
    assert settings["planned"] and settings["batch"] == 2
    assert lines_of(tmp_path / "run", "end")[-1]["step"] == settings["steps"]
    assert done.stderr.count("plan for 0.5 minutes") == 1
