"""Copy synthesis: the features of a recording by the checkpoint's settings, its length, its name, and the distances."""

import json

import numpy as np
import pytest
import soundfile
import torch

from fastwave import Engine, WaveNet, WaveNetConfig, generate
from fastwave.cli.main import main
from fastwave.generation import copy

RATE = 8000
SHAPE = {"residual_channels": 4, "skip_channels": 4, "dilations": (1, 2), "sample_rate": RATE}
MEL = {"condition_channels": 8, "hop": 64, "features": {"kind": "mel", "bands": 8, "window": 256}}


def save_model(folder, **fields):
    torch.manual_seed(0)
    WaveNet(WaveNetConfig(**{**SHAPE, **fields})).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def vocoder(tmp_path):
    return save_model(tmp_path / "vocoder", **MEL)


def record(path, seconds=0.3, rate=RATE, frequency=200.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate), rate)
    return str(path)


def test_a_copy_is_what_generate_makes_under_the_recordings_features(vocoder, tmp_path):
    recording = record(tmp_path / "in.wav")
    arguments = ["copy", vocoder, recording, "-o", str(tmp_path / "out.wav"), "--seed", "5", "--temperature", "0.8"]
    assert main(arguments) == 0
    wave, rate = soundfile.read(tmp_path / "out.wav", dtype="float32")
    expected = generate(vocoder, samples=2400, condition=recording, seed=5, temperature=0.8).samples[0].numpy()
    assert rate == RATE and len(wave) == 2400
    assert np.abs(wave - expected).max() <= 1 / 32768


def test_a_recording_of_another_rate_gives_a_copy_as_long_at_the_models_rate(vocoder, tmp_path):
    recording = record(tmp_path / "in.flac", seconds=0.25, rate=44_100)
    assert main(["copy", vocoder, recording, "-o", str(tmp_path / "out.ogg")]) == 0
    info = soundfile.info(tmp_path / "out.ogg")
    assert info.samplerate == RATE and info.frames == pytest.approx(2000, abs=1)


def test_a_folder_is_mirrored_and_measured_row_by_row(vocoder, tmp_path, capsys):
    for name, seconds in (("a.wav", 0.2), ("x/b.flac", 0.3), ("x/c.wav", 0.1)):
        record(tmp_path / "in" / name, seconds)
    assert main(["copy", vocoder, str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [entry["generated"] for entry in report["files"]] == [
        str(tmp_path / "out" / name) for name in ("a.wav", "x/b.flac", "x/c.wav")
    ]
    assert [soundfile.info(entry["generated"]).frames for entry in report["files"]] == [1600, 2400, 800]
    assert all(entry["comparison"]["log_mel_distance_db"] > 0 for entry in report["files"])
    assert report["mean"]["comparison"]["voicing_error"] is not None


def test_recordings_copied_together_are_as_long_and_follow_their_own_features(vocoder, tmp_path, monkeypatch):
    """A stream's samples depend on its row, so each is compared with the same row of a batch of its own frames."""
    paths = [record(tmp_path / f"{index}.wav", 0.1 + 0.05 * index, frequency=150.0 + 90 * index) for index in range(3)]
    engine = Engine(WaveNet.from_pretrained(vocoder), "reference")
    together = dict(copy.copies(engine, paths, seed=1))
    for row, index in enumerate((2, 1, 0)):  # the longest first
        length = together[index].lengths[0]
        alone = generate(engine, samples=length, condition=paths[index], seed=1, batch=row + 1)
        assert torch.equal(together[index].tokens[0], alone.tokens[row])
    monkeypatch.setattr(copy, "MOST_STREAMS", 1)
    assert [index for index, _ in copy.copies(engine, paths)] == [2, 1, 0]


def test_the_table_shows_the_copy_beside_the_recording(vocoder, tmp_path, capsys):
    assert main(["copy", vocoder, record(tmp_path / "in.wav"), "-o", str(tmp_path / "out.wav")]) == 0
    out = capsys.readouterr().out
    for words in ("generated", "reference", "log-spectral distance", "log-mel distance", "pitch error", "verdict: "):
        assert words in out


def test_an_existing_folder_takes_the_copy_of_one_recording(vocoder, tmp_path):
    (tmp_path / "copies").mkdir()
    assert main(["copy", vocoder, record(tmp_path / "in.wav"), "-o", str(tmp_path / "copies")]) == 0
    assert (tmp_path / "copies" / "in.wav").exists()


def test_a_model_of_several_speakers_needs_one(tmp_path, capsys):
    model = save_model(tmp_path / "m", **{**MEL, "condition_channels": 10, "speaker_channels": 2, "speakers": 3})
    arguments = ["copy", model, record(tmp_path / "in.wav"), "-o", str(tmp_path / "out.wav")]
    assert main(arguments) == 1
    assert "speaker" in capsys.readouterr().err
    assert main([*arguments, "--speaker", "2"]) == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"codec": "bytes", "sample_rate": 0}, "makes text"),
        ({}, "takes no features"),
        ({"condition_channels": 8, "hop": 64}, "does not say how the features"),
        ({**MEL, "features": {"kind": "array", "channels": 8}}, "not a recording"),
    ],
    ids=["text", "no features", "features of unknown kind", "array"],
)
def test_a_model_that_cannot_copy_is_refused_with_what_to_do(fields, message, tmp_path, capsys):
    model = save_model(tmp_path / "m", **fields)
    assert main(["copy", model, record(tmp_path / "in.wav"), "-o", str(tmp_path / "out.wav")]) == 1
    err = capsys.readouterr().err
    assert message in err and ("--features mel" in err or "--condition" in err)


@pytest.mark.parametrize(
    ("recording", "output", "message"),
    [
        ("in", "in", "another folder"),
        ("in", "in/copies", "another folder"),
        ("in/a.wav", "in/a.wav", "the recording itself"),
        ("in/a.wav", "in", "the recording itself"),
        ("in", "a.txt", "is a file"),
        ("in/a.wav", "out.xyz", "must end in"),
        ("in/a.wav", "a.txt/out.wav", "cannot write"),
        ("nowhere.wav", "out.wav", "nowhere.wav"),
        ("a.txt", "out.wav", "holds no sound"),
    ],
)
def test_impossible_places_are_refused_before_anything_is_generated(
    recording, output, message, vocoder, tmp_path, monkeypatch, capsys
):
    def never(*_, **__):
        raise AssertionError("generation began")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(copy, "generate", never)
    record(tmp_path / "in" / "a.wav")
    (tmp_path / "a.txt").write_text("words")
    before = sorted(tmp_path.rglob("*"))
    assert main(["copy", vocoder, recording, "-o", output]) == 1
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
