"""Checkpoints of Rayhane-mamah/Tacotron-2's WaveNet: what its layers become, and hyper-parameters that cannot be."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from fastwave import import_model
from fastwave.cli.main import main
from fastwave.errors import CheckpointError
from fastwave.upsampling import UpsampleStage

DATA = Path(__file__).resolve().parent / "data"
ABSENT = object()


def changed(tmp_path, case, hparams):
    """A case with other hyper-parameters; ABSENT takes one away."""
    folder = tmp_path / "changed"
    shutil.copytree(DATA / case, folder)
    values = {**json.loads((folder / "hparams.json").read_text()), **hparams}
    values = {key: value for key, value in values.items() if value is not ABSENT}
    (folder / "hparams.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize(
    ("case", "stage"),
    [
        ("sub-pixel", UpsampleStage(3, 9, 3, "shared", 3, True, 0.0, phase_bias=True)),
        ("sub-pixel-equal", UpsampleStage(3, 9, 3, "shared", 3, True, phase_bias=True)),
        ("resize", UpsampleStage(3, 5, 1, "shared", 3, True, 0.0)),
        ("2d", UpsampleStage(3, 3, 0, "shared", 3, True, 0.0)),
        ("1d", UpsampleStage(3, 3, bias=True, slope=0.4)),
    ],
)
def test_each_type_of_upsampling_is_a_stage(case, stage):
    config = import_model(DATA / f"rayhane-{case}")[0].config
    assert (config.hop, config.upsampling) == (6, "stages")
    assert config.upsample_stages[1] == stage


def test_the_nearest_neighbour_repeats_frames():
    config = import_model(DATA / "rayhane-nearest")[0].config
    assert (config.hop, config.upsampling, config.local_channels) == (6, "repeat", 5)


def test_a_checkpoint_that_holds_weights_under_the_names_of_averages_alone_says_so():
    _, report = import_model(DATA / "rayhane-sub-pixel")
    assert any("under the names of averages" in line for line in report.notes.recognised_lines)
    assert not any("averaged weights" in line for line in report.notes.recognised_lines)
    assert any("residual_block_out_conv_ResidualConv1DGLU_5" in line for line in report.notes.dropped_lines)


def test_the_command_that_is_printed_names_the_speaker_and_the_frames(tmp_path, capsys):
    assert main(["import", str(DATA / "rayhane-sub-pixel"), "-o", str(tmp_path / "model")]) == 0
    assert capsys.readouterr().out.rstrip().endswith("-o new.wav --speaker 0 --condition FILE")


def test_companded_numbers_have_its_mu_whatever_its_hyper_parameters_say():
    assert import_model(DATA / "rayhane-1d")[0].config.codec_parameters == {"mu": 255}


@pytest.mark.parametrize(
    ("case", "hparams", "message"),
    [
        ("sub-pixel", {"stacks": ABSENT}, "'stacks' .* is missing"),
        ("sub-pixel", {"stacks": 4}, "stacks = 4 does not divide the 6 layers"),
        ("sub-pixel", {"layers": 20}, "layers is 20 .* says 6"),
        ("sub-pixel", {"legacy": ABSENT}, "'legacy' .* is missing"),
        ("sub-pixel", {"residual_legacy": ABSENT}, "'residual_legacy' .* is missing"),
        ("sub-pixel", {"NN_init": ABSENT}, "'NN_init' .* is missing"),
        ("sub-pixel", {"upsample_type": "2D"}, "upsample_type is 2D .* says SubPixel"),
        ("sub-pixel", {"upsample_activation": ABSENT}, "'upsample_activation' .* is missing"),
        ("sub-pixel", {"upsample_scales": [3, 2]}, r"upsample_scales is \[3, 2\] .* says \[2, 3\]"),
        ("sub-pixel", {"hop_size": 275}, "hop_size is 275 .* says 6"),
        ("sub-pixel", {"kernel_size": 2}, "kernel_size is 2 .* says 3"),
        ("sub-pixel", {"gate_channels": 256}, "gate_channels is 256 .* says 10"),
        ("sub-pixel", {"n_speakers": 5}, "n_speakers is 5 .* says 4"),
        ("sub-pixel", {"input_type": "raw"}, "input_type is raw .* says mulaw-quantize"),
        ("sub-pixel", {"sample_rate": ABSENT}, "does not say its sample rate"),
        ("1d", {"leaky_alpha": 2}, r"leaky_alpha must be 0\.\.1, got 2"),
        ("1d", {"input_type": ABSENT}, "'input_type' .* is missing"),
        ("nearest", {"hop_size": ABSENT}, "'hop_size' .* is missing"),
        ("alone", {"cin_channels": 80}, "lacks residual_block_cin_conv"),
    ],
)
def test_hyper_parameters_that_cannot_be_are_refused(tmp_path, case, hparams, message):
    with pytest.raises(CheckpointError, match=message):
        import_model(changed(tmp_path, f"rayhane-{case}", hparams))


def refused(tmp_path, state):
    torch.save(state, tmp_path / "checkpoint.pth")
    with pytest.raises(CheckpointError) as refusal:
        import_model(tmp_path / "checkpoint.pth")
    return str(refusal.value)


def test_weight_normalisation_is_refused_with_the_reason(tmp_path):
    names = ["input_convolution/kernel", "input_convolution/g", "residual_block_causal_conv_ResidualConv1DGLU_0/kernel"]
    state = {f"WaveNet_model/inference/{name}": torch.ones(1, 1, 1) for name in names}
    assert "assigns the magnitudes g anew" in refused(tmp_path, state)


def test_two_tensors_of_one_layer_are_refused(tmp_path):
    names = ["input_convolution/kernel", "residual_block_causal_conv_ResidualConv1DGLU_0/kernel"]
    state = {f"{scope}/{name}": torch.ones(1, 1, 1) for name in names for scope in ("one", "two")}
    assert "holds two tensors input_convolution/kernel" in refused(tmp_path, state)


def test_nsynth_is_refused_by_name(tmp_path):
    names = ("startconv/W", "skip_start/W", "dilatedconv_1/W", "cond_map_1/W", "cond_map_out1/W")
    assert "NSynth's decoder cannot be imported exactly" in refused(tmp_path, {name: torch.ones(2) for name in names})
