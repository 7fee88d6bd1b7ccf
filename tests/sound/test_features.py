"""The kinds of features: a registry that wings extend, parameters that are checked, and frames from files."""

import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import soundfile
import torch

from fastwave import AudioError, ConfigError, InputError, WaveNet, WaveNetConfig, generate
from fastwave.sound import audio, features
from fastwave.sound.features import Array, Features, Mel
from fastwave.sound.mel import MelSettings, mel

SHAPE = {"residual_channels": 4, "skip_channels": 4, "dilations": (1, 2), "classes": 16}


def write_sound(path, rate, seconds=0.2, channels=1):
    """Noise that 16 bits hold exactly."""
    wave = np.random.default_rng(0).integers(-9000, 9000, (round(rate * seconds), channels)) / 32768
    soundfile.write(path, wave, rate)
    return path


@pytest.fixture
def notes(monkeypatch):
    """A kind that a wing would register: numbers in a text file."""
    monkeypatch.setattr(features, "_KINDS", dict(features._KINDS))

    @features.register
    @dataclasses.dataclass(frozen=True)
    class Notes(Features):
        kind: ClassVar[str] = "notes"
        reads: ClassVar[str] = "a text of numbers"
        width_parameter: ClassVar[str] = "voices"
        voices: int = 1
        loudness: float = 1.0

        def from_file(self, path, sample_rate, hop):
            numbers = [float(word) for word in Path(path).read_text().split()]
            return self.loudness * torch.tensor(numbers).reshape(-1, self.voices)

    return Notes


# The registry


def test_the_core_knows_mel_and_array():
    assert features.kinds() == ["array", "mel"]
    assert features.is_heard("mel") and not features.is_heard("array") and not features.is_heard("phones")


@pytest.mark.parametrize("kind", [Mel(), Mel(bands=23, window=500, low=60.0, high=5_000.0, floor=1e-4), Array(7)])
def test_features_survive_json(kind):
    assert features.from_dict(kind.to_dict()) == kind
    assert hash(features.from_dict(kind.to_dict())) == hash(kind)


def test_parameters_that_are_absent_take_their_defaults():
    assert features.from_dict({"kind": "mel"}) == Mel(bands=80, window=1024, low=0.0, high=None, floor=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "phones"}, "feature kind 'phones' is not known; known are array, mel"),
        (
            {"kind": "mel", "bins": 3, "fmin": 1},
            "no parameter 'bins', 'fmin'; known are bands, window, low, ",
        ),
        ({"kind": "array", "bands": 3}, "no parameter 'bands'; known are channels"),
        ({"bands": 80}, "need a kind, one of array, mel"),
        ({"kind": ["mel"]}, "need a kind, one of array, mel"),
        (["mel"], "an object with a kind"),
    ],
)
def test_an_unknown_kind_or_parameter_is_refused_and_the_known_ones_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        features.from_dict(values)


def test_a_wing_adds_a_kind_that_the_core_does_not_import(notes, tmp_path):
    config = WaveNetConfig(
        **SHAPE, condition_channels=2, hop=5, features={"kind": "notes", "voices": 2, "loudness": 0.5}
    )
    assert WaveNetConfig.from_dict(config.to_dict()) == config
    torch.manual_seed(0)
    WaveNet(config).save_pretrained(tmp_path / "model")
    (tmp_path / "song.txt").write_text("1 2 3 4 5 6")
    frames = torch.tensor([[0.5, 1.0], [1.5, 2.0], [2.5, 3.0]])
    expected = generate(tmp_path / "model", condition=frames).tokens
    assert expected.shape == (1, 15)
    assert torch.equal(generate(tmp_path / "model", condition=tmp_path / "song.txt").tokens, expected)


def test_a_kind_whose_name_is_taken_is_not_registered(notes):
    with pytest.raises(ConfigError, match="'mel' is registered already, as Mel"):

        @features.register
        class Other(Features):
            kind = "mel"


# Frames from files


@pytest.mark.parametrize(("suffix", "rate", "channels"), [("wav", 8_000, 1), ("flac", 22_050, 2)])
def test_mel_frames_of_a_file_are_those_of_the_resampled_wave(tmp_path, suffix, rate, channels):
    path = write_sound(tmp_path / f"a.{suffix}", rate, channels=channels)
    kind = Mel(bands=12, window=256, low=50.0, floor=1e-3)
    wave = audio.load(path, 8_000)[0]
    expected = mel(wave, MelSettings(8_000, hop=64, bands=12, window=256, low=50.0, floor=1e-3))
    assert torch.equal(kind.from_file(str(path), 8_000, 64), expected)


def test_a_file_without_sound_is_refused(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8_000)
    with pytest.raises(AudioError, match="there is no sound in this file"):
        Mel(bands=8, window=256).from_file(str(tmp_path / "empty.wav"), 8_000, 64)


@pytest.mark.parametrize("kind", [Mel(bands=3), Array(3), None])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", np.longdouble])
def test_an_array_of_floats_is_accepted_for_every_kind_of_features(tmp_path, kind, dtype):
    values = np.arange(6).reshape(2, 3)
    np.save(tmp_path / "a.npy", values.astype(dtype))
    (tmp_path / "a").write_bytes((tmp_path / "a.npy").read_bytes())  # recognised by its content, not by its name
    for name in ("a.npy", "a"):
        frames = features.read(tmp_path / name, kind, 3, 8_000, 64)
        assert frames.is_floating_point() and torch.equal(frames.double(), torch.from_numpy(values).double())


@pytest.mark.parametrize(
    ("kind", "width", "message"),
    [
        (None, 3, "does not say how the features of its training data were made.*give a .npy array of floats.*resume"),
        (None, 0, "takes no local features"),
        (Array(3), 3, "brought as arrays.*give a .npy array of floats"),
        (Mel(bands=3), 3, "a.wav: cannot read"),
    ],
)
def test_a_file_that_cannot_become_frames_is_refused_with_what_to_do(tmp_path, kind, width, message):
    with pytest.raises((InputError, AudioError), match=message):
        features.read(tmp_path / "a.wav", kind, width, 8_000, 64)
