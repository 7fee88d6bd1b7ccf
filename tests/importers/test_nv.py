"""Checkpoints of NVIDIA/nv-wavenet: what its config says is checked, and what cannot be imported is refused by name."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from fastwave import import_model
from fastwave.errors import CheckpointError
from fastwave.upsampling import UpsampleStage

DATA = Path(__file__).resolve().parent / "data"


def changed(tmp_path, **options):
    """The checkpoint with other values in config.json; None takes one away."""
    folder = tmp_path / "changed"
    shutil.copytree(DATA / "nv-checkpoint", folder)
    config = json.loads((folder / "config.json").read_text())
    values = {**config["wavenet_config"], **options}
    config["wavenet_config"] = {key: value for key, value in values.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "wavenet_7"


def test_shapes_and_config_together_make_the_model():
    config = import_model(DATA / "nv-checkpoint" / "wavenet_7")[0].config
    assert config.dilations == (1, 2, 4, 1, 2) and config.sample_rate == 16_000
    assert config.upsample_stages == (UpsampleStage(4, 9, bias=True),) and config.hop == 4
    other, report = import_model(
        DATA / "nv-state" / "wavenet_7", sample_rate=16_000, settings={"max_dilation": 2, "upsamp_stride": 4}
    )
    assert other.config.dilations == (1, 2, 1, 2, 1) and report.mapping == "nv"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"upsamp_window": 8}, "upsamp_window is 8 .* says 9"),
        ({"n_layers": 6}, "n_layers is 6 .* says 5"),
        ({"n_residual_channels": 6}, "n_residual_channels is 6 .* says 5"),
        ({"upsamp_stride": None}, "'upsamp_stride'"),
        ({"upsamp_stride": 10}, "upsamp_stride"),
        ({"max_dilation": 8}, "max_dilation is 8 .* but 4 in the checkpoint itself"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, options, message):
    with pytest.raises(CheckpointError, match=message):
        import_model(changed(tmp_path, **options))


def test_the_largest_dilation_is_not_guessed():
    with pytest.raises(CheckpointError, match="'max_dilation'"):
        import_model(DATA / "nv-state" / "wavenet_7", sample_rate=16_000, settings={"upsamp_stride": 4})


def test_exported_weights_are_refused_by_name(tmp_path):
    """They are what the CUDA kernels take, without the layers that make conditions of frames."""
    torch.save(
        {
            "embedding_prev": torch.zeros(256, 4), "embedding_curr": torch.randn(256, 4),
            "conv_out_weight": torch.randn(256, 5, 1), "conv_end_weight": torch.randn(256, 256, 1),
            "dilate_weights": [torch.randn(8, 4, 2)], "max_dilation": 1,
        },
        tmp_path / "model.pt",
    )  # fmt: skip
    with pytest.raises(CheckpointError, match=r"export_weights of nv-wavenet.*conditioning layers"):
        import_model(tmp_path / "model.pt", sample_rate=16_000)
