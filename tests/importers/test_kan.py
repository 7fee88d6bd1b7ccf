"""Checkpoints of kan-bayashi/PytorchWaveNetVocoder: with and without its upsampling layer, and what cannot be."""

import argparse
import shutil
from pathlib import Path

import pytest
import torch

from fastwave import import_model
from fastwave.errors import CheckpointError
from fastwave.upsampling import UpsampleStage

DATA = Path(__file__).resolve().parent / "data"
ABSENT = object()


def changed(tmp_path, case, options):
    """A case whose model.conf has other options; ABSENT takes one away."""
    folder = tmp_path / "changed"
    shutil.copytree(DATA / case, folder)
    with torch.serialization.safe_globals([argparse.Namespace]):
        known = vars(torch.load(folder / "model.conf"))
    values = {key: value for key, value in {**known, **options}.items() if value is not ABSENT}
    torch.save(argparse.Namespace(**values), folder / "model.conf")
    return folder


def test_the_upsampling_layer_becomes_a_stage_and_its_absence_a_repetition():
    upsampled = import_model(DATA / "kan-upsampled", sample_rate=16_000)[0].config
    assert upsampled.upsample_stages == (UpsampleStage(5, 5, weights="shared", bias=True),)
    repeated = import_model(DATA / "kan-repeated", sample_rate=16_000)[0].config
    assert (repeated.upsampling, repeated.hop, repeated.front_kernel) == ("repeat", 4, 3)


@pytest.mark.parametrize(
    ("case", "options", "message"),
    [
        ("kan-upsampled", {"upsampling_factor": 4}, "upsampling_factor is 4 .* says 5"),
        ("kan-upsampled", {"dilation_depth": 4}, "make 8 layers, but there are 6"),
        ("kan-upsampled", {"dilation_depth": ABSENT, "dilation_repeat": ABSENT}, "'dilation_repeat' .* is missing"),
        ("kan-upsampled", {"kernel_size": 3}, "kernel_size is 3 .* says 2"),
        ("kan-upsampled", {"n_aux": 28}, "n_aux is 28 .* says 5"),
        ("kan-upsampled", {"n_skipch": 256}, "n_skipch is 256 .* says 7"),
        ("kan-upsampled", {"n_quantize": 128}, "n_quantize is 128 .* says 256"),
        ("kan-repeated", {"use_upsampling_layer": True}, "lacks upsampling.conv.weight"),
        ("kan-repeated", {"upsampling_factor": ABSENT}, "'upsampling_factor' .* is missing"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, case, options, message):
    with pytest.raises(CheckpointError, match=message):
        import_model(changed(tmp_path, case, options), sample_rate=16_000)


def test_the_sample_rate_is_not_guessed():
    with pytest.raises(CheckpointError, match="give --sample-rate"):
        import_model(DATA / "kan-upsampled")
