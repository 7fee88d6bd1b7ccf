"""The loop keeps its promises for any task: here a model of durations, which has no sound and no tokens."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from duration_task import DurationTask, duration_settings
from fastwave import InputError, TrainingError
from fastwave.training import progress
from fastwave.training.loop import train
from small_runs import lines_of, make_config, make_data, make_settings, train_wavenet, weights_of

SCRIPT = Path(__file__).parents[1] / "helpers/duration_task.py"


def losses_of(run, event="train"):
    return {line["step"]: line["squared_error"] for line in lines_of(run, event)}


def run_script(out, *options, processes=1):
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return subprocess.run(
        [sys.executable, *launcher, str(SCRIPT), str(out), *options],
        capture_output=True, text=True, timeout=200, env=environment, cwd=out.parent,
    )  # fmt: skip


def test_another_task_learns_validates_samples_and_exports(tmp_path):
    settings = duration_settings(steps=200, sample_every=150, save_every=100, validate_every=100)
    final = train(DurationTask(settings), tmp_path)
    losses = list(losses_of(tmp_path).values())
    assert losses[-1] < 0.05 * losses[0]
    assert final == losses_of(tmp_path, "validation")[200]
    assert 0.2 * losses[-1] < final < 5 * losses[-1]  # in the same unit
    assert "phone 11" in (tmp_path / "samples/step-00000150.txt").read_text()
    exported = safetensors.torch.load_file(tmp_path / "durations.safetensors")
    task = DurationTask(duration_settings())
    state = progress.Progress(task.build(), task.config, torch.device("cpu"))
    state.load(tmp_path / "checkpoints/step-00000200.safetensors")
    assert exported.keys() == state.average.keys()
    assert all(torch.equal(exported[name], value) for name, value in state.average.items())


def test_the_report_of_another_task_names_its_own_loss(tmp_path):
    train(DurationTask(duration_settings()), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "Squared error, by step" in page and "squared error on held-out data" in page
    assert "phone 11: " in page and "bits" not in page


def test_a_parameter_that_needs_no_gradient_is_neither_trained_nor_saved(tmp_path):
    train(DurationTask(duration_settings()), tmp_path)
    names = safetensors.torch.load_file(tmp_path / "checkpoints/step-00000012.safetensors").keys()
    assert "parameter.out.weight" in names
    assert not any("scale" in name for name in names)


def test_another_task_killed_and_resumed_ends_bit_identical(tmp_path):
    train(DurationTask(duration_settings()), tmp_path / "whole")
    assert run_script(tmp_path / "killed", "--kill=8").returncode == -signal.SIGKILL
    train(DurationTask(duration_settings()), tmp_path / "killed")
    assert [line["step"] for line in lines_of(tmp_path / "killed", "resume")] == [4]
    assert weights_of(tmp_path / "killed", 12) == weights_of(tmp_path / "whole", 12)
    name = "durations.safetensors"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert losses_of(tmp_path / "killed") == losses_of(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_another_task_on_two_processes_has_the_losses_of_one(tmp_path):
    train(DurationTask(duration_settings()), tmp_path / "one")
    done = run_script(tmp_path / "two", processes=2)
    assert done.returncode == 0, done.stderr
    for event in ("train", "validation"):
        one, two = losses_of(tmp_path / "one", event), losses_of(tmp_path / "two", event)
        assert one.keys() == two.keys()
        for step, loss in two.items():  # sums of float32 in another order, carried on through 12 steps
            assert loss == pytest.approx(one[step], rel=1e-4), f"{event} of step {step}"


class Spoiled(DurationTask):
    """Adds to the loss of some steps; there is one micro-batch in each."""

    def __init__(self, settings, steps, extra):
        super().__init__(settings)
        self.steps, self.extra, self.calls = steps, extra, 0

    def loss(self, model, batch, targets):
        loss = super().loss(model, batch, targets)
        if torch.is_inference_mode_enabled():
            return loss
        self.calls += 1
        return loss + self.extra if self.calls - 1 in self.steps else loss


def test_another_task_rolls_back_after_an_explosion_by_its_own_margin(tmp_path, capsys):
    settings = duration_settings(steps=60, save_every=10, keep=9, sample_every=100)
    jump = 1e-4 * 200  # in the loss's own unit 200, far above the margin of 5
    train(Spoiled(settings, range(38, 43), jump), tmp_path / "far")
    (rollback,) = lines_of(tmp_path / "far", "rollback")
    assert rollback["to"] in (10, 20) and rollback["learning_rate_scale"] == 0.5
    assert "the loss exploded at step" in capsys.readouterr().err

    class Patient(Spoiled):
        explosion_margin = 1000.0

    train(Patient(settings, range(38, 43), jump), tmp_path / "patient")
    assert lines_of(tmp_path / "patient", "rollback") == []


def test_another_task_skips_a_step_whose_loss_is_not_finite(tmp_path):
    train(Spoiled(duration_settings(), {5}, math.inf), tmp_path)
    assert [line["step"] for line in lines_of(tmp_path, "skipped_step")] == [6]


def test_another_task_out_of_memory_halves_its_micro_batch(tmp_path):
    class Tight(DurationTask):
        def loss(self, model, batch, targets):
            if not torch.is_inference_mode_enabled() and len(batch.phone) > most:
                raise torch.OutOfMemoryError("out of memory")
            return super().loss(model, batch, targets)

    most = 1
    train(Tight(duration_settings()), tmp_path / "tight")
    assert [line["size"] for line in lines_of(tmp_path / "tight", "micro_batch")] == [2, 1]
    train(DurationTask(duration_settings(micro_batch=1)), tmp_path / "plain")
    assert weights_of(tmp_path / "tight", 12) == weights_of(tmp_path / "plain", 12)
    most = 0
    with pytest.raises(TrainingError, match="out of memory with one row"):
        train(Tight(duration_settings()), tmp_path / "none")


def test_a_run_is_not_resumed_with_another_task_or_config(tmp_path):
    train(DurationTask(duration_settings()), tmp_path / "durations")
    with pytest.raises(InputError, match="width was 8, now 9"):
        train(DurationTask(duration_settings(), width=9), tmp_path / "durations")
    data = make_data(tmp_path)
    with pytest.raises(InputError, match="holds another run: kind was durations, now wavenet"):
        train_wavenet(data, tmp_path / "durations", make_config(), make_settings())
    train_wavenet(data, tmp_path / "wavenet", make_config(), make_settings())
    with pytest.raises(InputError, match="kind was wavenet, now durations"):
        train(DurationTask(duration_settings()), tmp_path / "wavenet")


def test_a_config_field_that_is_missing_now_is_another_config(tmp_path):
    class Wordy(DurationTask):
        def __init__(self, settings):
            super().__init__(settings)
            self.config["dropout"] = 0.1

    train(Wordy(duration_settings()), tmp_path)
    with pytest.raises(InputError, match=r"dropout was 0\.1, now None"):
        train(DurationTask(duration_settings()), tmp_path)
