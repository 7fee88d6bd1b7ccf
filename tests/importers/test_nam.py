"""`fastwave process`: models of Neural Amp Modeler sound as its own code, whatever the blocks; others are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fastwave.cli.main import main
from fastwave.errors import CheckpointError, InputError
from fastwave.importers import nam
from fastwave.importers.mapping import by_name
from fastwave.sound import audio

DATA = Path(__file__).resolve().parent / "data"
CASES = sorted(path.parent.name for path in DATA.glob("nam-*/amp.nam"))


def sound_of(case):
    with np.load(DATA / case / "sound.npz") as file:
        return file["wave"], file["sound"]


def joined(amplifier, blocks):
    return np.concatenate(list(amplifier.process(blocks)))


@pytest.mark.parametrize("case", CASES)
def test_a_device_sounds_as_in_the_projects_own_code_from_the_first_sample_on(case):
    wave, expected = sound_of(case)
    amplifier = nam.load(DATA / case / "amp.nam")
    largest = np.abs(expected).max()
    assert np.abs(joined(amplifier.to(torch.float64), [wave]) - expected).max() <= 2e-7 * largest
    assert np.abs(joined(amplifier, [wave]) - expected).max() <= 2e-6 * largest


def test_the_bits_do_not_depend_on_the_blocks():
    wave, _ = sound_of(CASES[0])
    amplifier = nam.load(DATA / CASES[0] / "amp.nam")
    whole = joined(amplifier, [wave])
    assert len(whole) == len(wave)
    for size in (1, 7, 4096, 5000):
        parts = np.split(wave, range(size, len(wave), size))
        assert np.array_equal(joined(amplifier, parts), whole), size
    with np.errstate(all="raise"):
        assert list(amplifier.process([])) == []


def test_the_verb_writes_a_recording_at_the_models_rate(tmp_path):
    wave, _ = sound_of(CASES[0])
    audio.save(tmp_path / "in.wav", torch.from_numpy(wave), 48_000)
    model, out = DATA / CASES[0] / "amp.nam", tmp_path / "out.wav"
    assert main(["process", str(model), str(tmp_path / "in.wav"), "-o", str(out), "--quiet"]) == 0
    heard, rate = audio.load(tmp_path / "in.wav")
    expected = joined(nam.load(model), [heard.numpy()]).clip(-1, 1 - 2**-15)
    assert np.abs(audio.load(out)[0].numpy() - expected).max() <= 2**-16 + 1e-7
    audio.save(tmp_path / "slow.wav", torch.from_numpy(wave), 16_000)
    assert main(["process", str(model), str(tmp_path / "slow.wav"), "-o", str(out)]) == 0
    heard, rate = audio.load(out)
    assert (rate, len(heard)) == (48_000, 3 * len(wave))


def test_the_verb_takes_no_other_model(tmp_path, capsys):
    audio.save(tmp_path / "in.wav", torch.zeros(10), 48_000)
    assert main(["process", "pluck", str(tmp_path / "in.wav"), "-o", str(tmp_path / "out.wav")]) == 1
    assert "give a file NAME.nam" in capsys.readouterr().err
    assert main(["import", str(DATA / CASES[0] / "amp.nam"), "-o", str(tmp_path / "model")]) == 1
    assert "fastwave process" in capsys.readouterr().err
    with pytest.raises(InputError, match="need no import"):
        by_name("nam")


def changed(tmp_path, change, case="nam-plain"):
    values = json.loads((DATA / case / "amp.nam").read_text())
    change(values)
    (tmp_path / "amp.nam").write_text(json.dumps(values))
    return tmp_path / "amp.nam"


def layer(**fields):
    return lambda values: values["config"]["layers"][0].update(fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.update(architecture="LSTM"), "has the architecture 'LSTM': only WaveNets"),
        (lambda values: values.update(architecture="SlimmableContainer"), "'SlimmableContainer'"),
        (lambda values: values["config"].update(condition_dsp={}), "'condition_dsp', which belongs to .*A2"),
        (lambda values: values["config"].update(head={"channels": 3}), "'head', which belongs to .*A2"),
        (layer(bottleneck=2), "'bottleneck', which belongs to .*A2"),
        (layer(conv_pre_film={"active": True}), "'conv_pre_film', which belongs to .*A2"),
        (layer(groups_input=2), "'groups_input', which belongs to .*A2"),
        (layer(slimmable={"method": "x"}), "'slimmable', which belongs to .*A2"),
        (layer(head={"out_channels": 4, "kernel_size": 3, "bias": False}), "a head of several taps belongs to .*A2"),
        (layer(gating_mode="blended"), "the gating 'blended' belongs to .*A2"),
        (layer(activation="Snake"), "the activation 'Snake' is not known here"),
        (layer(dilations=[1, 2]), "its config asks for"),
        (layer(dilations=[1 << 30]), "a dilation must be a whole number"),
        (layer(channels=10**9), "channels must be a whole number"),
        (lambda values: values["weights"].append(1.0), "weights, and its config asks for"),
        (lambda values: values["weights"].pop(), "its config asks for more"),
        (lambda values: values.update(weights=[float("nan")]), "not a list of finite numbers"),
        (lambda values: values.update(weights=[10**400]), "not a list of finite numbers"),
        (lambda values: values.update(weights="1"), "not a list of finite numbers"),
        (lambda values: values.update(sample_rate=44_100.5), "no whole number of Hz"),
        (lambda values: values.update(config=None), "only WaveNets"),
    ],
)
def test_what_is_not_of_the_first_architecture_or_damaged_is_refused(tmp_path, change, message):
    with pytest.raises(CheckpointError, match=message):
        nam.load(changed(tmp_path, change))


def test_a_file_without_a_rate_is_of_48_kilohertz(tmp_path):
    assert nam.load(changed(tmp_path, lambda values: values.pop("sample_rate", None))).sample_rate == 48_000
