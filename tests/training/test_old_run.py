"""A run folder of an older version resumes: see data/old_run/README.md."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from fastwave import WaveNet
from fastwave.cli.main import main
from fastwave.training import report
from small_runs import lines_of

OLD = Path(__file__).parent / "data/old_run"
COMMAND = [
    *("--threads=1", "--workers=1", "--device=cpu", "--batch=4", "--window=64", "--learning-rate=1e-2", "--warmup=2"),
    *("--validate-every=6", "--validation-targets=2000", "--sample-every=1000", "--sample-seconds=0.02"),
    *("--save-every=6", "--keep=1", "--log-every=1", "--set"),
    *("residual_channels=8", "skip_channels=12", "dilations=1,2,4", "classes=32"),
]


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(OLD / "run", tmp_path / "run"))


def losses(lines, event):
    return {line["step"]: line["bits"] for line in lines if line["event"] == event}


def test_an_old_run_resumes_and_ends_as_the_uninterrupted_one_did(run, capsys):
    assert main(["train", str(OLD / "prepared"), "--out", str(run), *COMMAND, "--steps=12"]) == 0
    printed = capsys.readouterr().err
    assert "resumes from step 6 of 12" in printed
    assert "passed over" not in printed and "data have changed" not in printed
    expected = [json.loads(line) for line in (OLD / "uninterrupted.jsonl").read_text().splitlines()]
    for event in ("train", "validation"):
        resumed, uninterrupted = losses(lines_of(run), event), losses(expected, event)
        assert resumed.keys() == uninterrupted.keys()
        for step, bits in resumed.items():  # another processor adds in another order, and 6 steps carry that on
            assert bits == pytest.approx(uninterrupted[step], rel=1e-6 if step <= 7 else 1e-4), f"{event} of {step}"


def test_an_old_checkpoint_loads_to_the_last_bit(run):
    """Nothing is left to train, so the exported model is the checkpoint's average as it was read."""
    old = WaveNet.from_pretrained(OLD / "run").state_dict()
    (run / "model.safetensors").unlink()
    assert main(["train", str(OLD / "prepared"), "--out", str(run), *COMMAND, "--steps=6"]) == 0
    new = WaveNet.from_pretrained(run).state_dict()
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_the_report_of_an_old_run_is_drawn(run):
    page = report.write(run).read_text()
    assert "Step 8 of 12" in page and "bits a sample on held-out data" in page


def test_an_old_run_is_not_resumed_as_another(run, capsys):
    command = ["train", str(OLD / "prepared"), "--out", str(run), *COMMAND, "--seed=3"]
    assert main(command) == 1
    assert "seed was 0, now 3" in capsys.readouterr().err
