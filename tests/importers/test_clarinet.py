"""Teachers of ksw0306/ClariNet: what they become, how they continue, and what cannot be."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fastwave import generate, import_model
from fastwave.errors import CheckpointError

DATA = Path(__file__).resolve().parent / "data"
CHECKPOINT = "checkpoint_step000000007_ema.pth"
BLOCKS = {"clarinet-three-taps": 2, "clarinet-two-taps": 1}


def teacher(case, **settings):
    return import_model(DATA / case, sample_rate=22_050, settings={"num_blocks": BLOCKS[case], **settings})


@pytest.mark.parametrize(
    ("case", "dilations"), [("clarinet-three-taps", (1, 3, 9)), ("clarinet-two-taps", (1, 2, 4, 8))]
)
def test_dilations_are_powers_of_the_taps_and_the_first_layer_is_rectified(case, dilations):
    model, report = teacher(case)
    config = model.config
    assert config.dilations == dilations * BLOCKS[case]
    assert (config.front_kernel, config.front_bias, config.front_activation) == (32, True, "relu")
    assert (config.output, config.hop) == ("gaussian", 8 if case == "clarinet-three-taps" else 6)
    assert any("res_conv" in line for line in report.notes.dropped_lines)


@pytest.mark.parametrize("case", BLOCKS)
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_the_continuation_by_means_is_that_of_the_project(case, backend):
    model, _ = teacher(case)
    with np.load(DATA / case / "expected.npz") as file:
        expected = dict(file)
    frames = torch.from_numpy(expected["frames"])
    count = len(expected["means"])
    options = {"temperature": 0, "condition": frames, "backend": backend, "dtype": "float32"}
    result = generate(model, samples=count, prime=expected["tokens"], **options)
    assert np.abs(result.tokens[0].numpy() - expected["means"]).max() < 2e-6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_blocks": 4}, "num_blocks = 4 does not divide the 6 layers"),
        ({"num_blocks": None}, "'num_blocks' .* is missing"),
        ({"num_layers": 6}, "num_layers is 6 .* says 3"),
        ({"kernel_size": 2}, "kernel_size is 2 .* says 3"),
        ({"gate_channels": 10}, "gate_channels is 10 .* says 5"),
        ({"upsample_scales": [2, 4]}, r"upsample_scales is \[2, 4\] .* says \[4, 2\]"),
    ],
)
def test_options_that_cannot_be_are_refused(settings, message):
    with pytest.raises(CheckpointError, match=message):
        teacher("clarinet-three-taps", **settings)


def test_the_sample_rate_is_not_guessed(tmp_path):
    shutil.copy(DATA / "clarinet-three-taps" / CHECKPOINT, tmp_path)
    with pytest.raises(CheckpointError, match="give --sample-rate"):
        import_model(tmp_path, settings={"num_blocks": 2})


def test_a_student_is_refused_by_name(tmp_path):
    state = torch.load(DATA / "clarinet-two-taps" / CHECKPOINT, weights_only=True)["state_dict"]
    flow = {f"iafs.0.{name}": tensor for name, tensor in state.items() if not name.startswith("upsample_conv")}
    torch.save({"state_dict": flow}, tmp_path / "student.pth")
    with pytest.raises(CheckpointError, match=r"a student of ClariNet, .* Import its teacher"):
        import_model(tmp_path / "student.pth")
