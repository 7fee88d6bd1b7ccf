"""From recorded notes to a band, by one call."""

import json

import numpy as np
import pytest
import torch

from fastwave.errors import InputError
from fastwave.music import corpus, training
from fastwave.music.analysis import FRAMES, LEAD, WIDTH
from fastwave.music.notes import hertz
from fastwave.music.stiffness import Stiffness
from fastwave.music.timbre import Shape
from fastwave.music.timbre_task import TimbreTask
from fastwave.sound import audio
from fastwave.training.settings import Settings
from fastwave.vocoder import vocoder
from small_runs import verbs_of

RATE = 16_000
CONFIG = vocoder.config(frames=FRAMES, residual_channels=4, skip_channels=4, dilations=(1, 2))
SHAPE = Shape(1, 12, 4)


def write_notes(folder, count=16, **changes):
    """Sines of 0.1 s with an octave above them, half a second apart, in one file."""
    wave, lines = np.zeros(round((count + 1) * 0.5 * RATE)), []
    for number in range(count):
        key = 60 + number % 5
        time = np.arange(1_600) / RATE
        begin = 0.1 + 0.5 * number
        tone = 0.2 * np.sin(2 * np.pi * hertz(key) * time) + 0.1 * np.sin(4 * np.pi * hertz(key) * time)
        wave[round(begin * RATE) :][:1_600] = tone + 0.002 * np.random.default_rng(number).normal(size=1_600)
        line = {"file": "all.wav", "instrument": "toy", "key": key, "velocity": 80, "begin": begin, "held": 0.1}
        lines.append(json.dumps({**line, "end": begin + 0.3, **changes}))
    folder.mkdir(exist_ok=True)
    audio.save(folder / "all.wav", wave, RATE)
    (folder / "notes.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    return write_notes(tmp_path_factory.mktemp("notes"))


@pytest.mark.parametrize("residual", ["noise", "wavenet"])
def test_one_call_makes_a_band_and_the_same_call_makes_nothing_new(notes, tmp_path, capsys, residual):
    quick = {"steps": 2, "config": CONFIG, "shape": SHAPE, "residual": residual}
    band = training.train(notes, tmp_path / "toy", licence="MIT", **quick)
    assert band.names == ("toy",) and band.description.instruments["toy"] in ((60, 64), [60, 64])
    assert band.description.name == "toy" and band.description.licence == "MIT"
    assert (band.wavenet is not None) == (residual == "wavenet") == (tmp_path / "toy" / "wavenet").is_dir()
    shown = capsys.readouterr().err
    assert "step 2 of 2" in shown and verbs_of(shown) == {"instrument"}
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "toy" / "runs").rglob("*.safetensors")}
    training.train(notes, tmp_path / "toy", **quick)
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "toy" / "runs").rglob("*.safetensors")}


def test_an_unknown_residual_is_refused(notes, tmp_path):
    with pytest.raises(InputError, match="residual must be noise or wavenet, got 'breath'"):
        training.train(notes, tmp_path, residual="breath")


def test_the_stiffness_of_strings_is_that_of_their_keys(tmp_path, monkeypatch):
    listed = corpus.read(write_notes(tmp_path))
    found = iter(Stiffness(1e-5 * note.key, 1.5) for note in listed)
    monkeypatch.setattr(corpus.stiffness, "of", lambda *_: next(found))
    notes = corpus.with_stretches(tmp_path, listed)
    assert [note.stretch for note in notes] == pytest.approx([1e-5 * note.key for note in notes])
    assert corpus.stretches(notes)["toy"] == pytest.approx([1e-5 * key for key in range(60, 65)])
    assert corpus.stretches(listed) == {}


def test_waves_begin_before_the_onset_and_are_equally_loud(notes):
    listed = corpus.read(notes)
    waves = list(corpus.waves(notes, listed))
    assert max(np.abs(wave).max() for wave in waves) == pytest.approx(0.6, abs=1e-6)
    assert all(np.abs(wave[: LEAD - 8]).max() < 0.01 and np.abs(wave[LEAD + 20 :]).max() > 0.3 for wave in waves)


def test_the_network_learns_what_the_notes_are_like(notes):
    listed = corpus.read(notes)
    analysed = [(note, training.analyse(wave, note.key).rows) for note, wave in zip(
        listed, corpus.waves(notes, listed), strict=True)]  # fmt: skip
    task = TimbreTask(analysed, ["toy"], "", Shape(1, 32, 8), Settings(steps=150, batch=128, window=1))
    torch.manual_seed(0)
    model = task.build()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    losses = []
    for step in range(150):
        batch, targets = task.batch(step, slice(0, 128))
        loss = task.loss(model, batch, targets)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert np.mean(losses[-10:]) < 0.35 * losses[0]


def test_batches_are_the_same_in_every_run_and_every_row_comes_once_in_a_pass(notes):
    listed = corpus.read(notes)
    analysed = [(note, np.full((4, WIDTH), number, np.float32)) for number, note in enumerate(listed)]
    tasks = [TimbreTask(analysed, ["toy"], "", SHAPE, Settings(steps=9, batch=6, window=1)) for _ in range(2)]
    rows = len(tasks[0].training.key)
    seen = []
    for step in range(rows // 6 + 2):
        (one, _), (other, _) = (task.batch(step, slice(0, 6)) for task in tasks)
        assert torch.equal(one.wanted, other.wanted)
        seen += one.wanted[:, 0].tolist()
    counts = np.unique(seen[:rows], return_counts=True)[1]
    assert (counts == 4).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": 128}, "line 1: file and instrument are texts, key is 0..127"),
        ({"velocity": "80"}, "velocity 1..127"),
        ({"held": 0}, "end is at most 30 s after begin"),
        ({"end": 99}, "end is at most 30 s after begin"),
        ({"begin": None}, "line 1 describes no note"),
        ({"file": "absent.wav"}, "absent.wav"),
    ],
)
def test_notes_that_cannot_be_used_are_named(tmp_path, change, message):
    folder = write_notes(tmp_path / "notes", **change)
    with pytest.raises(Exception, match=message) as caught:
        list(corpus.waves(folder, corpus.read(folder)))
    assert caught.type.__module__ == "fastwave.errors"


def test_too_few_notes_and_no_notes_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"12 notes or more, got toy \(3\)"):
        corpus.read(write_notes(tmp_path / "few", 3))
    with pytest.raises(InputError, match="holds no notes"):
        corpus.read(tmp_path)
