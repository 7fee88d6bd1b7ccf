"""Primes from files, speakers by name, and outputs that are checked first and never lost."""

import errno

import numpy as np
import pytest
import soundfile
import torch

from fastwave import AudioError, Engine, InputError, WaveNet, WaveNetConfig, generate, score
from fastwave.sound import audio
from shapes import make_model

CHOIR = {"residual_channels": 4, "skip_channels": 4, "dilations": (1, 2), "classes": 16, "speakers": 2}
NAMED = {**CHOIR, "speaker_channels": 3, "condition_channels": 3, "speaker_names": ("anna", "bert")}


@pytest.fixture
def sound(tmp_path):
    """A path of 100 samples at 16 kHz."""
    soundfile.write(tmp_path / "p.wav", np.linspace(-0.5, 0.5, 100), 16_000, subtype="FLOAT")
    return tmp_path / "p.wav"


def same(first, second):
    return torch.equal(first.tokens, second.tokens)


def test_a_prime_is_a_path_as_a_model_is(sound, monkeypatch):
    model = make_model("mixture")
    expected = generate(model, samples=30, prime=audio.load(sound)[0])
    monkeypatch.chdir(sound.parent)
    assert same(generate(model, samples=30, prime=sound), expected)
    assert same(generate(model, samples=30, prime="p.wav"), expected)
    assert score(model, sound) == score(model, audio.load(sound)[0])


def test_a_prime_file_is_resampled_to_the_model(tmp_path):
    soundfile.write(tmp_path / "slow.wav", np.zeros(50), 8_000)
    result = generate(make_model("mixture"), samples=10, prime=tmp_path / "slow.wav", include_prime=True)
    assert result.lengths == (110,)


def test_a_path_gives_a_text_model_the_text_of_the_file(tmp_path):
    (tmp_path / "t.txt").write_text("Once")
    model = WaveNet(WaveNetConfig(residual_channels=4, skip_channels=4, dilations=(1,), codec="bytes", sample_rate=0))
    assert same(generate(model, samples=20, prime=tmp_path / "t.txt"), generate(model, samples=20, prime="Once"))
    with pytest.raises(InputError, match=r"cannot read prime .*nowhere"):
        generate(model, samples=20, prime=tmp_path / "nowhere.txt")


def test_text_for_a_model_of_sound_is_refused_with_both_cures():
    with pytest.raises(InputError, match=r"give a waveform, or the path of a sound file \(there is no file 'hello'\)"):
        generate(make_model("mixture"), samples=5, prime="hello")


def test_a_prime_with_more_rows_than_streams_is_refused():
    model = make_model("categorical")
    with pytest.raises(InputError, match="prime has 2 rows, but batch=1: give one row for all streams, or batch=2"):
        generate(model, samples=5, prime=torch.zeros(2, 7, dtype=torch.int64))
    assert generate(model, samples=5, prime=torch.zeros(2, 7, dtype=torch.int64), batch=2).lengths == (5, 5)


def test_speakers_are_called_by_name_or_by_number():
    torch.manual_seed(0)
    model = WaveNet(WaveNetConfig(**NAMED), backend="reference")
    for name, number in (("anna", 0), ("bert", 1)):
        assert same(generate(model, samples=20, speaker=name), generate(model, samples=20, speaker=number))
        assert same(generate(model, samples=20, speaker=str(number)), generate(model, samples=20, speaker=number))
    both = generate(model, samples=20, batch=2, speaker=["bert", "anna"])
    assert same(both, generate(model, samples=20, batch=2, speaker=torch.tensor([1, 0])))
    engine = Engine(model)
    by_name, by_number = (engine.run(engine.start(1, speaker=each), 9, speaker=each) for each in ("bert", 1))
    assert torch.equal(by_name, by_number)
    with pytest.raises(InputError, match="'bret' is not known to this model: speakers are anna, bert"):
        generate(model, samples=20, speaker="bret")


@pytest.mark.parametrize("names", [("anna",), ("anna", "anna"), ("anna", 3), "anna"])
def test_names_that_are_not_one_a_speaker_are_refused(names):
    with pytest.raises(ValueError, match="speaker_names must be"):
        WaveNetConfig(**{**NAMED, "speaker_names": names})


def test_a_config_without_names_is_written_as_it_always_was():
    assert "speaker_names" not in WaveNetConfig().to_dict()
    config = WaveNetConfig(**NAMED)
    assert config.to_dict()["speaker_names"] == ["anna", "bert"]
    assert WaveNetConfig.from_dict(config.to_dict()) == config


@pytest.fixture
def never_runs(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("samples were made")

    monkeypatch.setattr("fastwave.generation.request.Request.parts", fail)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere/x.wav", "there is no folder"),
        (".", "it is a folder"),
        ("x.xyz", "cannot tell the format from the suffix '.xyz'"),
        ("x", "cannot tell the format"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_made(name, message, tmp_path, never_runs):
    with pytest.raises((InputError, AudioError), match=message):
        generate(make_model("mixture"), samples=5, output=tmp_path / name)


def test_a_rate_that_the_format_cannot_hold_is_refused_before_anything_is_made(tmp_path, never_runs):
    config = WaveNetConfig(residual_channels=4, skip_channels=4, dilations=(1,), sample_rate=5000)
    with pytest.raises(InputError, match="MP3 cannot hold 5000 Hz"):
        generate(WaveNet(config), samples=5, output=tmp_path / "x.mp3")


def test_a_folder_that_may_not_be_written_in_is_refused_before_anything_is_made(tmp_path, never_runs, monkeypatch):
    monkeypatch.setattr("fastwave.generation.saving.os.access", lambda folder, mode: folder != tmp_path)
    with pytest.raises(InputError, match="you may not write in the folder"):
        generate(make_model("mixture"), samples=5, output=tmp_path / "x.wav")


def test_a_sound_that_a_full_disk_refuses_is_saved_elsewhere_and_the_error_says_where(tmp_path, monkeypatch):
    model, elsewhere = make_model("mixture"), tmp_path / "elsewhere"
    (tmp_path / "full").mkdir()
    elsewhere.mkdir()
    original = audio.save

    def save(path, samples, sample_rate):
        if path.parent.name == "full":
            raise AudioError(f"{path}: cannot write: {OSError(errno.ENOSPC, 'No space left on device').strerror}")
        original(path, samples, sample_rate)

    monkeypatch.setattr("fastwave.generation.result.audio.save", save)
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    with pytest.raises(AudioError, match=r"No space left on device. What was made is saved as (\S+) instead") as caught:
        generate(model, samples=50, seed=3, output=tmp_path / "full" / "x.wav")
    (path,) = elsewhere.rglob("x.wav")
    assert str(path) in str(caught.value)
    wave = soundfile.read(path, dtype="float32")[0]
    assert np.abs(wave - generate(model, samples=50, seed=3).samples[0].numpy()).max() <= 1 / 32768
