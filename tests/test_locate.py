"""What a path to a model may be, beside a folder: a file in it, one step of a run. tests/cli/test_mistakes.py has what
may not.
"""

import pytest
import torch

import fastwave
from fastwave import CheckpointError, WaveNet
from fastwave.training.progress import checkpoints
from shapes import make_model
from small_runs import make_config, make_data, make_settings, train_wavenet


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 8 steps that keeps the states after 0, 4 and 8, of a model with an empty parameter."""
    folder = tmp_path_factory.mktemp("locate")
    train_wavenet(make_data(folder), folder / "run", make_config(dilations=(4,)), make_settings(steps=8))
    return folder / "run"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_of_a_checkpoint_stands_for_its_folder(name, tmp_path):
    model = make_model("categorical")
    model.save_pretrained(tmp_path)
    again = WaveNet.from_pretrained(tmp_path / name)
    assert again.config == model.config
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


def test_the_last_step_of_a_run_is_the_model_that_the_run_saved(run):
    saved = WaveNet.from_pretrained(run)
    step = WaveNet.from_pretrained(str(checkpoints(run / "checkpoints")[0]))
    assert step.config == saved.config
    assert all(torch.equal(value, step.state_dict()[key]) for key, value in saved.state_dict().items())


def test_an_earlier_step_holds_its_own_averaged_weights(run):
    path = run / "checkpoints" / "step-00000004.safetensors"
    step, last = WaveNet.from_pretrained(path), WaveNet.from_pretrained(run)
    with fastwave.checkpoint.safetensors.safe_open(path, framework="pt") as file:
        assert torch.equal(step.get_parameter("skip.weight"), file.get_tensor("average.skip.weight"))
    assert not torch.equal(step.get_parameter("skip.weight"), last.get_parameter("skip.weight"))


def test_a_damaged_step_is_refused(run, tmp_path):
    path = tmp_path / "step-00000004.safetensors"
    path.write_bytes((run / "checkpoints" / path.name).read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="damaged"):
        WaveNet.from_pretrained(path)
    (tmp_path / "model").mkdir()
    make_model("categorical").save_pretrained(tmp_path / "model")
    path.write_bytes((tmp_path / "model" / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="no step of a training run"):
        WaveNet.from_pretrained(path)
