"""An import refuses what contradicts it, proves what it made, and writes it whole or not at all."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from fastwave import CheckpointError, FastwaveError, InputError, WaveNet, import_model
from fastwave.cli.main import main
from fastwave.importers import importing, notation, verify
from fastwave.importers.hyperparameters import Hyperparameters
from fastwave.importers.notes import Notes
from fastwave.importers.weights import Weights

DATA = Path(__file__).resolve().parent / "data"
STATE, MODULE, IBAB = "vh-state", "vh-module", "ibab-biases"
BLOCKS = {"layers": 3, "blocks": 2}


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    """The path of a case's checkpoint, in a folder without the options of its test."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for case in (STATE, MODULE):
        (folder / case).mkdir()
        shutil.copy(DATA / case / "snapshot", folder / case)
    shutil.copytree(DATA / IBAB, folder / IBAB)
    return lambda case: folder / case / ("" if case == IBAB else "snapshot")


@pytest.mark.parametrize(
    ("src", "options", "sentence"),
    [
        (STATE, {"settings": BLOCKS}, "--sample-rate"),
        (STATE, {"sample_rate": 8000}, "'blocks'.* is missing.*--set blocks="),
        (STATE, {"sample_rate": 8000, "settings": {"layers": 4}}, "layers = 4"),
        (STATE, {"sample_rate": 8000, "settings": {"layers": 3, "blocks": 3}}, "blocks = 3"),
        (
            STATE,
            {"sample_rate": 8000, "settings": {**BLOCKS, "kernel_size": 2}},
            r"shape of filter_convs.0.weight says 3",
        ),
        (STATE, {"sample_rate": 8000, "settings": {**BLOCKS, "classes": 64}}, r"shape of start_conv.weight says 256"),
        (STATE, {"sample_rate": 8000, "settings": {"layers": "x"}}, "must be a whole number"),
        (STATE, {"source": "ibab"}, "no checkpoint of ibab"),
        (STATE, {"source": "vhh"}, "Did you mean 'vh'"),
        (STATE, {"sample_rate": 0}, "0 Hz"),
        (MODULE, {"sample_rate": 8000, "settings": {"layers": 2, "blocks": 3}}, "the checkpoint itself"),
        (IBAB, {"settings": {"dilations": [1, 2, 4]}}, "3 entries, and the checkpoint 6 layers"),
        (IBAB, {"settings": {"filter_width": 3}}, "filter_width is 3"),
        (IBAB, {"settings": {"use_biases": False}}, "use_biases is False"),
        (IBAB, {"settings": {"scalar_input": True}}, "scalar_input is True"),
        (IBAB, {"sample_rate": 8000}, "sample_rate is 16000"),
        ("nowhere", {}, "there is no"),
    ],
)
def test_what_is_missing_or_contradicts_the_file_is_refused_by_name(at, src, options, sentence):
    with pytest.raises(FastwaveError, match=sentence):
        import_model(at(src), **options)


def test_a_folder_without_checkpoints_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        import_model(tmp_path)


def changed(tmp_path, change):
    """The state dict of a case, changed."""
    tensors = {
        name.removeprefix("module."): each
        for name, each in torch.load(DATA / STATE / "snapshot", weights_only=True).items()
    }
    change(tensors)
    torch.save(tensors, tmp_path / "a.pth")
    return tmp_path / "a.pth"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda tensors: tensors.update(strange=torch.ones(2)), "tensors that this layout does not have: strange"),
        (lambda tensors: tensors.pop("skip_convs.2.weight"), "lacks the tensor skip_convs.2.weight"),
        (lambda tensors: tensors.pop("filter_convs.2.weight"), "incomplete"),
        (
            lambda tensors: tensors.update({"gate_convs.1.weight": torch.ones(6, 5, 2)}),
            r"gate_convs.1.weight has shape",
        ),
        (lambda tensors: tensors["end_conv_1.bias"].fill_(float("nan")), "end_conv_1.bias contains NaN"),
        (lambda tensors: tensors.update({"end_conv_1.bias": torch.ones(9, dtype=torch.int64)}), "no.*fraction"),
        (lambda tensors: tensors.clear() or tensors.update(weight=torch.ones(2)), "no project that is known"),
    ],
)
def test_another_layout_is_refused_by_the_name_of_a_tensor(tmp_path, change, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        import_model(changed(tmp_path, change), sample_rate=8000, settings=BLOCKS)


@pytest.mark.parametrize("name", ["front.weight", "dilated.bias", "residual.weight", "skip.bias", "head.1.weight"])
def test_a_wrong_fold_is_refused_before_anything_is_written(monkeypatch, at, name):
    build = importing._build

    def wrong(config, tensors, source):
        return build(config, {**tensors, name: tensors[name] * 1.0001}, source)

    monkeypatch.setattr(importing, "_build", wrong)
    with pytest.raises(CheckpointError, match="differs from the original"):
        import_model(at(MODULE), sample_rate=8000)


def test_the_trial_reaches_over_the_receptive_field(at):
    model, report = import_model(at(MODULE), sample_rate=8000)
    assert len(verify.draw_trial(model.config).tokens) > model.config.receptive_field
    assert 0 < report.difference < 1e-6


def test_the_verb_writes_a_model_and_its_report(tmp_path, capsys, at):
    out = tmp_path / "model"
    arguments = ["import", str(at(MODULE)), "-o", str(out), "--sample-rate", "8000"]
    assert main([*arguments[:2], *arguments[4:], "--dry-run"]) == 0
    assert not out.exists()
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    for word in ("vincentherrmann", "2 blocks of 3 layers", "residual_convs.5.weight", "mu 256", "fastwave generate"):
        assert word in shown
    report = json.loads((out / "import.json").read_text())
    assert re.fullmatch("[0-9a-f]{64}", report["sha256"]["snapshot"]) and report["from"] == "vh"
    model, expected = WaveNet.from_pretrained(out), import_model(at(MODULE), sample_rate=8000)[0]
    assert all(torch.equal(model.state_dict()[name], each) for name, each in expected.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert main(arguments) == 1  # the folder is full now
    assert main([*arguments[:2], "--dry-run", "--json", "--sample-rate", "8000"]) == 0


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch, at):
    model, report = import_model(at(MODULE), sample_rate=8000)

    def fail(*_, **__):
        raise OSError("no space")

    monkeypatch.setattr(importing.json, "dumps", fail)
    with pytest.raises(CheckpointError):
        importing.save(model, report, tmp_path / "new" / "model")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [["--set", "blocks"], ["--hparams", "nowhere.json"], ["--from", "vh", "--sample-rate", "8000"], []],
)
def test_a_refusal_is_one_sentence_and_status_1(tmp_path, capsys, at, arguments):
    out = ["-o", str(tmp_path / "model")] if arguments else []
    assert main(["import", str(at(STATE)), *out, *arguments]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "model").exists()


TEXTS = {
    "a.json": '{"layers": 24, "scales": [4, 4.5], "inner": {"flag": true, "none": null}, "name": "a b"}',
    "a.yml": "# why\nlayers: 24\nscales: [4, 4.5]\ninner:\n  flag: true  # yes\n  none: null\nname: 'a b'\n",
    "b.yaml": "layers: 24\nscales:\n- 4\n- 4.5\ninner:\n    flag: True\n    none: ~\nname: a b\n",
    "a.txt": "layers=24,scales=[4, 4.5],name='a b'\n# why\ninner.flag=True",
}


@pytest.mark.parametrize("name", TEXTS)
def test_every_notation_says_the_same(tmp_path, name):
    (tmp_path / name).write_text(TEXTS[name])
    hyper = Hyperparameters([("here", notation.read(tmp_path / name))], Notes())
    assert (hyper.integer("layers"), hyper.numbers("scales"), hyper.text("name")) == (24, (4, 4.5), "a b")
    assert hyper.flag("inner.flag") is True
    with pytest.raises(CheckpointError, match="whole numbers"):
        hyper.integers("scales")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"a": '),
        ("a.json", "[" * 100_000),
        ("a.txt", "a=1, b"),
        ("a.txt", "a=" + "[" * 1000),
        ("a.txt", "a=[1"),
        ("a.yml", "a: &anchor b"),
        ("a.yml", "a: |\n  text"),
        ("a.yml", "- a: 1"),
        ("a.yml", "a:\n  b: 1\n c: 2\n- d"),
        ("a.yml", "\x00"),
        ("a.yml", "".join(" " * depth + "a:\n" for depth in range(40))),
    ],
)
def test_a_bad_notation_is_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError):
        notation.read(tmp_path / name)


def test_an_assumption_is_said_and_a_later_place_wins():
    notes = Notes()
    hyper = Hyperparameters([("file", {}), ("beside", {"a": 1}), ("--set", {"a": 2})], notes)
    assert (hyper.integer("a"), hyper.integer("b", assumed=3, why="the usual")) == (2, 3)
    assert notes.assumed_lines == ["b = 3: the usual"]


@pytest.mark.parametrize("parametrised", [False, True])
def test_weight_normalisation_is_folded_as_torch_does(parametrised):
    layer = torch.nn.Conv1d(3, 4, 2).double()
    normed = torch.nn.utils.parametrizations.weight_norm if parametrised else torch.nn.utils.weight_norm
    normed(layer)
    weights = Weights({f"conv.{name}": each for name, each in layer.state_dict().items()}, "file", Notes())
    folded = weights.take_normed("conv", (4, 3, 2))
    assert torch.allclose(folded, layer.weight, rtol=1e-15)


def test_a_speaker_is_asked_for():
    _, report = import_model(DATA / "ibab-speakers")
    assert report.notes.condition_lines == ["speaker: a number 0..3"]


def test_a_folder_that_is_full_is_refused(tmp_path, at):
    model, report = import_model(at(MODULE), sample_rate=8000)
    (tmp_path / "a").write_text("")
    with pytest.raises(InputError, match="not empty"):
        importing.save(model, report, tmp_path)


@pytest.mark.parametrize(
    ("speakers", "channels", "lines"),
    [(3, 4, ["a speaker, 0..2"]), (0, 4, ["a speaker vector of 4"]), (0, 0, [])],
)
def test_the_report_says_which_speaker_the_model_must_be_given(speakers, channels, lines):
    notes = Notes()
    notes.speaker(speakers, channels)
    assert notes.as_dict()["conditions"] == lines
