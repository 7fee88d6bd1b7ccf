"""In a training step native code has all threads and PyTorch one."""

import os
import subprocess
import sys
import threading

import pytest
import torch

from duration_task import DurationTask, duration_settings
from fastwave.config import WaveNetConfig, dilation_cycle
from fastwave.model import WaveNet
from fastwave.runtime import library, threads
from fastwave.training.loop import train
from small_runs import make_config, make_data, make_settings, train_wavenet


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_native_code_keeps_the_threads_that_pytorch_gives_up(three_threads):
    assert threads.native() == 3
    with threads.pytorch_on_one():
        assert (threads.native(), torch.get_num_threads()) == (3, 1)
        with threads.pytorch_on_one():
            assert (threads.native(), torch.get_num_threads()) == (3, 1)
        assert (threads.native(), torch.get_num_threads()) == (3, 1)
    assert (threads.native(), torch.get_num_threads()) == (3, 3)


def test_an_error_gives_the_threads_back(three_threads):
    with pytest.raises(ZeroDivisionError), threads.pytorch_on_one():
        raise ZeroDivisionError
    assert (threads.native(), torch.get_num_threads()) == (3, 3)


def test_another_thread_is_not_concerned(three_threads):
    seen = []
    with threads.pytorch_on_one():
        torch.set_num_threads(2)  # as a thread of the caller's may do
        other = threading.Thread(target=lambda: seen.append(threads._native.get()))
        other.start()
        other.join()
    assert seen == [None]


def test_the_stack_and_the_head_have_all_threads_forward_and_backward(three_threads, monkeypatch):
    seen, call = [], library._call

    def watched(*arguments):
        if arguments[1] != "fw_features_cpu":
            seen.append((arguments[1], arguments[5], torch.get_num_threads()))
        return call(*arguments)

    config = WaveNetConfig(residual_channels=4, skip_channels=4, dilations=dilation_cycle(2), classes=16)
    model, tokens = WaveNet(config, backend="cpu"), torch.arange(20)[None] % 16
    monkeypatch.setattr(library, "_call", watched)
    with threads.pytorch_on_one():
        model.loss(tokens).backward()
    names = ["fw_residual_stack_forward_cpu", "fw_head_loss_cpu", "fw_residual_stack_backward_cpu"]
    assert seen == [(name, 3, 1) for name in names]


@pytest.mark.parametrize(("backend", "expected"), [("cpu", (3, 1)), ("reference", (3, 3))])
def test_a_training_step_is_so_where_native_code_computes_it(three_threads, tmp_path, monkeypatch, backend, expected):
    seen, loss = set(), WaveNet.loss

    def watched(*arguments):
        if torch.is_grad_enabled():
            seen.add((threads.native(), torch.get_num_threads()))
        return loss(*arguments)

    monkeypatch.setattr(WaveNet, "loss", watched)
    train_wavenet(make_data(tmp_path), tmp_path / "run", make_config(), make_settings(steps=2), backend)
    assert seen == {expected}


def test_a_task_that_is_computed_by_pytorch_keeps_its_threads(three_threads, tmp_path, monkeypatch):
    seen, loss = set(), DurationTask.loss

    def watched(*arguments):
        seen.add(torch.get_num_threads())
        return loss(*arguments)

    monkeypatch.setattr(DurationTask, "loss", watched)
    train(DurationTask(duration_settings(steps=2)), tmp_path)
    assert seen == {3}


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)]
)
def test_the_command_tells_pytorchs_threads_to_sleep_soon_unless_the_user_said_otherwise(given, expected):
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    script = "import os, fastwave.cli.main as m; m._import_torch(); print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run([sys.executable, "-c", script], env=kept | given, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(expected)
