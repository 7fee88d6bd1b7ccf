"""A voice is a folder: it comes back as it was saved, and what is damaged in it is refused with a sentence."""

import json
import shutil

import numpy as np
import pytest
import torch

import fastwave
from fastwave import CheckpointError, FastwaveError, InputError, Voice, WaveNet
from fastwave.speech import locate
from fastwave.speech.phones import Pause, Sentence, Word
from fuzz_inputs import mutate_bytes, mutate_json
from small_voice import make_real_voice, make_voice

SENTENCE = Sentence((Word("hi", ("HH", "AY1")), Pause(".")))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a tiny voice, in float32."""
    folder = tmp_path_factory.mktemp("voices") / "anna"
    make_real_voice(name="anna", speaker="nobody").save(folder, dtype="float32")
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(saved, tmp_path / "anna")


def load(folder):
    return Voice.load(folder)


def edit(folder, **changes):
    path = folder / "voice.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))


def test_a_voice_comes_back_bit_for_bit(saved):
    before, after = make_real_voice(), load(saved)
    assert torch.equal(before.acoustic.durations(SENTENCE), after.acoustic.durations(SENTENCE))
    durations = before.acoustic.durations(SENTENCE)
    frames = before.acoustic.frames(SENTENCE, durations)
    assert torch.equal(frames, after.acoustic.frames(SENTENCE, durations))
    assert np.array_equal(before.vocoder(frames[:3], seed=1), after.vocoder(frames[:3], seed=1))
    assert after.description.name == "anna" and after.description.speaker == "nobody"
    assert after.vocoder.settings == before.vocoder.settings


def test_a_folder_holds_json_and_safetensors_alone(saved):
    suffixes = {path.suffix for path in saved.rglob("*") if path.is_file()}
    assert suffixes == {".json", ".safetensors", ".md"}
    assert json.loads((saved / "voice.json").read_text())["kind"] == "voice"
    assert WaveNet.from_pretrained(saved / "wavenet").config.excitation_channels == 2  # an ordinary checkpoint


def test_weights_are_saved_in_half_the_bytes_and_run_in_float32(saved, tmp_path):
    make_real_voice().save(tmp_path / "half")
    for name in ("acoustic.safetensors", "wavenet/model.safetensors"):
        assert (tmp_path / "half" / name).stat().st_size < (saved / name).stat().st_size
    voice = load(tmp_path / "half")
    assert {parameter.dtype for parameter in voice.wavenet.parameters()} == {torch.float32}
    assert {tensor.dtype for tensor in voice.acoustic.tensors().values()} == {torch.float32}
    voice.save(tmp_path / "again")
    for name in ("voice.json", "acoustic.safetensors", "wavenet/model.safetensors"):
        assert (tmp_path / "half" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    with pytest.raises(InputError, match="saved as bfloat16 or float32, got 'int4'"):
        voice.save(tmp_path / "again", dtype="int4")


def test_stand_ins_cannot_be_saved(tmp_path):
    with pytest.raises(InputError, match="only a voice that is made of"):
        make_voice().save(tmp_path / "x")


def test_a_voice_is_named_by_its_folder_by_its_file_or_by_a_bundled_name(saved, monkeypatch):
    assert locate.locate_voice(saved / "voice.json") == saved
    monkeypatch.setattr(locate, "BUNDLED", saved.parent)
    assert locate.voices() == ["anna"]
    assert locate.locate_voice("anna") == saved
    monkeypatch.setattr(locate, "DEFAULT", "anna")
    assert Voice.load().description.name == "anna"
    with pytest.raises(CheckpointError, match=r"a bundled voice \(anna\).* Did you mean 'anna'\?"):
        locate.locate_voice("ana")


def test_another_bundled_voice_leaves_the_one_that_speaks_by_default(tmp_path, monkeypatch):
    assert locate.default_voice() in locate.voices()
    monkeypatch.setattr(locate, "BUNDLED", tmp_path)
    monkeypatch.setattr(locate, "DEFAULT", "emma")
    for name in ("anna", "emma", "zoe"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "voice.json").write_text("{}")
    assert locate.default_voice() == "emma"
    (tmp_path / "emma" / "voice.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no voice 'emma': name the folder .* or anna or zoe"):
        locate.default_voice()


def test_a_voice_is_refused_by_what_wants_a_model(saved):
    with pytest.raises(CheckpointError, match="is a voice, not a model: `fastwave speak TEXT --voice"):
        fastwave.generate(saved, samples=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "wavenet"}, "of kind 'wavenet', not a voice"),
        ({"format": 2}, "voice format '2'; this version reads format 1"),
        ({"flavour": 1}, "unknown field flavour"),
        ({"acoustic": ...}, "lacks acoustic: a save was interrupted"),
        ({"name": ""}, "needs a name of printable characters"),
        ({"name": 3}, "name of a voice must be a text"),
        ({"licence": None}, "licence of a voice must be a text"),
        ({"sample_rate": 22_050}, "a voice speaks at 16000 Hz, got sample_rate 22050"),
        ({"front_end": "klingon"}, "front end 'klingon' is not known: this version has english"),
        ({"dtype": "float13"}, "dtype of a voice must be one of float32"),
        ({"acoustic": []}, "acoustic of a voice must be an object of settings"),
        ({"vocoder": {"scale": -1}}, "scale of a vocoder must lie in"),
        ({"vocoder": {"scales": 1}}, "unknown setting of a vocoder 'scales'"),
    ],
)
def test_a_description_that_makes_no_voice_is_refused(changes, message, folder):
    edit(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        load(folder)


def test_settings_of_other_tensors_are_refused(folder):
    values = json.loads((folder / "voice.json").read_text())
    edit(folder, acoustic={**values["acoustic"], "pitch_mean": 5.5})
    with pytest.raises(CheckpointError, match=r"voice.json differs from the settings that acoustic.safetensors was"):
        load(folder)


@pytest.mark.parametrize(
    "name", ["voice.json", "acoustic.safetensors", "wavenet/model.safetensors", "wavenet/config.json"]
)
def test_a_missing_or_empty_file_is_refused(name, folder):
    (folder / name).write_bytes(b"")
    with pytest.raises(CheckpointError):
        load(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError):
        load(folder)


def test_a_wavenet_that_follows_no_speech_is_refused(folder):
    WaveNet(fastwave.WaveNetConfig(residual_channels=4, skip_channels=4, dilations=(1,))).save_pretrained(
        folder / "wavenet"
    )
    with pytest.raises(FastwaveError, match="a vocoder needs a WaveNet with"):
        load(folder)


def test_a_save_that_fails_leaves_no_voice(folder, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fastwave.checkpoint, "_write_text", refuse)
    with pytest.raises(CheckpointError, match="No space left on device"):
        load(folder).save(folder)
    with pytest.raises(CheckpointError, match="a folder without a voice"):
        load(folder)


@pytest.mark.parametrize("name", ["voice.json", "acoustic.safetensors", "wavenet/model.safetensors"])
def test_hundreds_of_damaged_files_load_or_are_refused(name, folder):
    """tests/helpers/fuzz_inputs.py does the same in little memory for checkpoints."""
    path = folder / name
    original = path.read_bytes()
    outcomes = {"loaded": 0, "refused": 0}
    for number in range(100):
        random = np.random.default_rng((3, number))
        damaged = (
            mutate_nested(original, random) if name == "voice.json" and number % 4 else mutate_bytes(original, random)
        )
        path.write_bytes(damaged)
        try:
            load(folder)
            outcomes["loaded"] += 1
        except FastwaveError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 30, outcomes


def mutate_nested(content, random):
    """A field of voice.json, of its settings or of the shapes in them replaced, dropped or renamed."""
    values = json.loads(content)
    place = [values, values["acoustic"], values["acoustic"]["shape"], values["vocoder"], values["vocoder"]["lpc"]]
    chosen = place[random.integers(len(place))]
    mutated = json.loads(mutate_json(json.dumps(chosen).encode(), random))
    chosen.clear()
    chosen.update(mutated)
    return json.dumps(values).encode()
