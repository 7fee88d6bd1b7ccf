"""A checkpoint comes back exactly, or not at all and with a sentence that helps."""

import json
import os

import pytest
import safetensors.torch
import torch

from fastwave import CheckpointError, WaveNet, WaveNetConfig, generate
from fastwave.checkpoint import CONFIG_FILE, WEIGHTS_FILE
from shapes import CONFIGS, make_condition, make_model, make_tokens


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_comes_back_exactly(name, dtype, tmp_path):
    model = make_model(name, dtype)
    model.save_pretrained(tmp_path / "run")
    again = WaveNet.from_pretrained(tmp_path / "run", backend="reference")
    assert again.config == model.config
    for key, value in model.state_dict().items():
        assert again.state_dict()[key].dtype == dtype and torch.equal(again.state_dict()[key], value)
    assert all(parameter.requires_grad for parameter in again.parameters())
    tokens, given = make_tokens(model.config, 1, 30), make_condition(model.config, 1, 30)
    assert torch.equal(again(tokens, **given), model(tokens, **given))


def test_the_folder_describes_itself(tmp_path):
    make_model("categorical").save_pretrained(tmp_path)
    values = json.loads((tmp_path / CONFIG_FILE).read_text())
    assert values["format"] == 1 and values["codec"] == "mu-law" and values["sample_rate"] == 16_000
    card = (tmp_path / "README.md").read_text()
    assert "receptive field 12 samples (0.8 ms)" in card and "mu-law at 16000 Hz" in card
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", CONFIG_FILE, WEIGHTS_FILE]


def test_generate_takes_a_path(tmp_path):
    model = make_model("categorical")
    model.save_pretrained(tmp_path)
    assert torch.equal(generate(tmp_path, samples=20).tokens, generate(model, samples=20).tokens)


def test_a_model_may_be_replaced_by_its_next_version(tmp_path):
    make_model("categorical").save_pretrained(tmp_path)
    loaded = WaveNet.from_pretrained(tmp_path)
    before = {key: value.clone() for key, value in loaded.state_dict().items()}
    make_model("categorical", seed=3).save_pretrained(tmp_path)
    assert all(torch.equal(value, before[key]) for key, value in loaded.state_dict().items())
    assert not torch.equal(WaveNet.from_pretrained(tmp_path).get_parameter("skip.weight"), before["skip.weight"])


def edit(folder, **changes):
    path = folder / CONFIG_FILE
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))


def resave(folder, change):
    tensors = safetensors.torch.load_file(folder / WEIGHTS_FILE)
    tensors = {key: value.clone() for key, value in tensors.items()}
    change(tensors)
    safetensors.torch.save_file(tensors, folder / WEIGHTS_FILE)


def truncate(folder, name, keep):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * keep)])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: edit(f, flavour=1), "unknown config field 'flavour'"),
        (lambda f: edit(f, format=99), "format '99'; this version reads format 1"),
        (lambda f: edit(f, format=...), "format 'None'"),
        (lambda f: edit(f, codec="a-law"), "a-law"),
        (lambda f: edit(f, residual_channels=6), "residual_channels|shape"),
        (lambda f: edit(f, sample_rate=8000), "differs from the config"),
        (lambda f: edit(f, dilations=[1, 2]), "shape"),
        (lambda f: (f / CONFIG_FILE).write_text("{"), "not valid JSON"),
        (lambda f: (f / CONFIG_FILE).write_text("[" * 100_000), "not valid JSON"),
        (lambda f: (f / CONFIG_FILE).write_text("[]"), "must be a JSON object"),
        (lambda f: (f / CONFIG_FILE).write_text(" " * 2_000_000), "over 1048576 bytes"),
        (lambda f: (f / CONFIG_FILE).unlink(), "cannot read .*config.json"),
        (lambda f: (f / WEIGHTS_FILE).unlink(), "cannot read .*model.safetensors"),
        (lambda f: truncate(f, WEIGHTS_FILE, 0.5), "damaged"),
        (lambda f: truncate(f, WEIGHTS_FILE, 0.0), "damaged"),
        (lambda f: resave(f, lambda t: t.pop("skip.bias")), "lacks tensor skip.bias"),
        (lambda f: resave(f, lambda t: t.update(extra=torch.zeros(1))), "unknown tensor extra"),
        (lambda f: resave(f, lambda t: t.update({"skip.bias": torch.zeros(7)})), r"skip.bias has shape \[7\]"),
        (lambda f: resave(f, lambda t: t.update({"skip.bias": torch.zeros(6).half()})), "tensor types F16, F32"),
        (lambda f: resave(f, lambda t: t.update({"skip.bias": torch.zeros(6).long()})), "tensor types F32, I64"),
    ],
)
def test_damage_is_refused_with_a_sentence_that_helps(damage, message, tmp_path):
    make_model("categorical").save_pretrained(tmp_path)
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        WaveNet.from_pretrained(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint folder at .*nowhere"):
        WaveNet.from_pretrained(tmp_path / "nowhere")


def test_a_config_that_asks_for_terabytes_is_refused_before_allocation(tmp_path):
    make_model("categorical").save_pretrained(tmp_path)
    edit(tmp_path, residual_channels=65536, gate_channels=65536, skip_channels=65536, dilations=[1] * 4096)
    with pytest.raises(CheckpointError, match="shape"):
        WaveNet.from_pretrained(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_a_clear_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(CheckpointError, match="cannot save a checkpoint"):
        make_model("categorical").save_pretrained(tmp_path)


def test_a_failed_save_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    model = make_model("categorical")
    model.save_pretrained(tmp_path)

    def no_space(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", no_space)
    with pytest.raises(CheckpointError, match="No space left on device"):
        make_model("categorical", seed=2).save_pretrained(tmp_path)
    monkeypatch.undo()
    assert torch.equal(
        WaveNet.from_pretrained(tmp_path).get_parameter("skip.weight"), model.get_parameter("skip.weight")
    )
    assert len(list(tmp_path.iterdir())) == 3  # and no temporary is left behind


def test_saving_over_a_file_is_a_clear_error(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(CheckpointError, match="cannot save a checkpoint"):
        make_model("categorical").save_pretrained(tmp_path / "taken")


# Kinds, and features that were not always saved


def conditioned(**fields):
    torch.manual_seed(0)
    shape = {"residual_channels": 4, "skip_channels": 4, "dilations": (1, 2), "classes": 16}
    return WaveNet(WaveNetConfig(**shape, condition_channels=8, hop=64, **fields), backend="reference")


def test_a_wavenet_says_its_kind_and_a_file_without_a_kind_is_one(tmp_path):
    make_model("categorical").save_pretrained(tmp_path)
    assert json.loads((tmp_path / CONFIG_FILE).read_text())["kind"] == "wavenet"
    edit(tmp_path, kind=...)
    assert WaveNet.from_pretrained(tmp_path).config == make_model("categorical").config


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("voice", "a checkpoint of kind 'voice', not 'wavenet': fastwave.speech reads it"),
        ("student", "fastwave.student reads it"),
        ("banjo", "a checkpoint of kind 'banjo', not 'wavenet': a newer fastwave reads it"),
        (["voice"], "a newer fastwave reads it"),
        (None, "a newer fastwave reads it"),
    ],
)
def test_another_kind_is_refused_with_what_reads_it(kind, message, tmp_path):
    make_model("categorical").save_pretrained(tmp_path)
    edit(tmp_path, kind=kind, flavour=1)  # its fields are its own
    with pytest.raises(CheckpointError, match=message):
        WaveNet.from_pretrained(tmp_path)


def test_weights_of_a_model_without_parameters_hold_the_config_that_they_always_held(tmp_path):
    model = make_model("categorical")
    model.save_pretrained(tmp_path)
    with safetensors.safe_open(tmp_path / WEIGHTS_FILE, framework="pt") as file:
        assert file.metadata() == {"fastwave": json.dumps({"format": 1, **model.config.to_dict()}, indent=2)}


def test_parameters_come_back_with_the_model(tmp_path):
    model = conditioned(features={"kind": "mel", "bands": 8, "floor": 1e-3}, codec_parameters={"mu": 16})
    model.save_pretrained(tmp_path)
    assert WaveNet.from_pretrained(tmp_path).config == model.config


def test_features_can_be_written_into_an_old_checkpoint_but_not_changed(tmp_path):
    conditioned().save_pretrained(tmp_path / "old")
    edit(tmp_path / "old", features={"kind": "mel", "bands": 8})
    assert WaveNet.from_pretrained(tmp_path / "old").config.features.bands == 8
    conditioned(features={"kind": "mel", "bands": 8}).save_pretrained(tmp_path / "new")
    for change in (..., {"kind": "mel", "bands": 8, "low": 30.0}, {"kind": "array", "channels": 8}):
        edit(tmp_path / "new", features=change)
        with pytest.raises(CheckpointError, match="differs from the config"):
            WaveNet.from_pretrained(tmp_path / "new")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": {"kind": "phones"}}, "'phones' is not known; known are array, mel"),
        ({"features": {"kind": "mel", "bins": 8}}, "no parameter 'bins'; known are bands"),
        ({"codec_parameters": {"nu": 8}}, "no parameter 'nu'; known are mu"),
    ],
)
def test_parameters_that_are_not_known_are_refused_by_name(changes, message, tmp_path):
    conditioned().save_pretrained(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=message):
        WaveNet.from_pretrained(tmp_path)
