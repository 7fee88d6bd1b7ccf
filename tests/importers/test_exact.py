"""Imported models compute what the projects' own code computes: networks that it made, saved and ran (make_*.py)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fastwave import generate, import_model
from fastwave.importers.mapping import Trial
from fastwave.importers.verify import LARGEST_DIFFERENCE, outputs

DATA = Path(__file__).resolve().parent / "data"
CASES = sorted(path.parent.name for path in DATA.glob("*/expected.npz"))


def load(case):
    """(the imported model, its report, what the project computed)"""
    options = json.loads((DATA / case / "options.json").read_text())
    model, report = import_model(
        DATA / case / options.get("src", ""),
        sample_rate=options.get("sample_rate"),
        settings=options.get("set"),
    )
    assert report.mapping == options["from"]
    with np.load(DATA / case / "expected.npz") as file:
        return model, report, dict(file)


@pytest.fixture(scope="module", params=CASES)
def imported(request):
    return load(request.param)


def trial_of(expected):
    frames = torch.from_numpy(expected["frames"]).double() if "frames" in expected else None
    speaker = torch.from_numpy(expected["speaker"]) if "speaker" in expected else None
    if speaker is not None:
        speaker = speaker.double() if speaker.is_floating_point() else int(speaker)
    return Trial(torch.from_numpy(expected["tokens"]), frames, speaker)


def test_outputs_are_those_of_the_project_from_the_first_sample_on(imported):
    model, report, expected = imported
    actual = outputs(model, trial_of(expected)).numpy()[int(expected.get("first", 0)) :]
    largest = np.abs(expected["outputs"]).max()
    assert np.abs(actual - expected["outputs"]).max() <= LARGEST_DIFFERENCE * largest
    assert report.difference <= 1e-6


def test_a_weight_that_is_off_by_a_thousandth_is_seen(imported):
    model, _, expected = imported
    weight = model.get_parameter("dilated.weight")
    original = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[-1, 0] *= 1.001
        actual = outputs(model, trial_of(expected)).numpy()[int(expected.get("first", 0)) :]
    finally:
        with torch.no_grad():
            weight.copy_(original)
    assert np.abs(actual - expected["outputs"]).max() > LARGEST_DIFFERENCE * np.abs(expected["outputs"]).max()


def test_greedy_continuation_on_the_cpu_engine_is_the_projects_token_for_token(imported):
    model, _, expected = imported
    if "greedy" not in expected:
        pytest.skip("no continuation was recorded for this case")
    trial = trial_of(expected)
    result = generate(
        model,
        samples=len(expected["greedy"]),
        prime=expected["start"],
        temperature=0,
        backend="cpu",
        dtype="float32",
        condition=None if trial.frames is None else trial.frames.float(),
        speaker=trial.speaker,
    )
    assert result.tokens[0].tolist() == expected["greedy"].tolist()


def test_codec_gives_the_projects_values_and_classes(imported):
    model, _, expected = imported
    if "decoded" not in expected:
        pytest.skip("no codec was recorded for this case")
    codec = model.config.codec_object
    decoded = codec.decode(torch.arange(len(expected["decoded"]))).numpy()
    assert np.abs(decoded - expected["decoded"]).max() <= 2e-7
    assert codec.encode(expected["samples"]).tolist() == expected["classes"].tolist()
