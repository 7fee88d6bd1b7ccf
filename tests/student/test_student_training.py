"""From recordings to a student, by the command and by parts: what it learns, keeps, resumes and refuses."""

import json

import numpy as np
import pytest
import torch

import fastwave
from fastwave import CheckpointError, ConfigError, InputError
from fastwave.cli.main import main
from fastwave.sound import audio
from fastwave.student import data, objectives, training
from fastwave.student.config import StudentConfig
from fastwave.student.network import ParallelWaveNet
from fastwave.student.task import StudentTask
from fastwave.training.settings import Settings
from fastwave.vocoder.frame_task import Place
from small_student import CONFIG, LAYOUT, frames, saw, small_student

SHORT = {"window": 2048, "warmup": 2, "validation_targets": 4096, "sample_seconds": 0.3, "seed": 3}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saws")
    for index, f0 in enumerate((110.0, 150.0, 200.0)):
        audio.save(folder / f"{index}.wav", saw(1.5, f0=f0), LAYOUT.sample_rate)
    audio.save(folder / "silent.wav", np.zeros(8000, np.float32), LAYOUT.sample_rate)
    return folder


@pytest.fixture(scope="module")
def prepared(recordings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    left_out = data.prepare(recordings, folder, LAYOUT, held_out=0.25)
    assert len(left_out) == 1 and "silent.wav" in left_out[0]
    return data.StudentData(folder)


def test_held_out_recordings_stand_at_the_end(prepared):
    assert prepared.index["recordings"] == 3
    assert prepared.frames == 450 and prepared.trained_frames in (300, 450)
    assert prepared.wave(0, 450).shape == (450 * LAYOUT.hop,)


def test_an_untrained_student_is_its_prior(prepared):
    task = StudentTask(prepared, CONFIG, Settings(steps=1, **SHORT))
    batch, targets = task.batch(0, slice(0, 1))
    model = task.build()
    assert torch.equal(model(batch.excitation[:, 0], batch.conditions), batch.excitation[:, 0])
    assert batch.wave.shape[1] == targets == 26 * LAYOUT.hop


def test_a_batch_depends_on_its_step_alone_and_its_draws_differ(prepared):
    task = StudentTask(prepared, CONFIG, Settings(steps=9, **SHORT))
    first, again = task.batch(4, slice(0, 1))[0], task.batch(4, slice(0, 1))[0]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first.excitation[:, 0], first.excitation[:, 1])
    assert not torch.equal(first.excitation, task.batch(5, slice(0, 1))[0].excitation)


def test_windows_are_trained_as_they_are_generated(prepared):
    """The end of a window equals what the generator makes of the same frames and noise: the context is long enough."""
    task = StudentTask(prepared, CONFIG, Settings(steps=1, **SHORT))
    model = small_student()
    batch, _ = task.batch(0, slice(0, 1))
    longer = StudentTask(prepared, CONFIG, Settings(steps=1, **SHORT))
    longer.context += 15
    rows = slice(0, 1)
    place = [Place(200, 0, False)]
    with torch.no_grad():
        short, long = (each.read(place) for each in (task, longer))
        # the same noise at the same samples, from other beginnings
        extra = 15 * LAYOUT.hop
        long.excitation[:, :, extra:] = short.excitation
        waves = [heard(each, model, task) for each in (short, long)]
    assert torch.allclose(waves[0], waves[1], atol=1e-5)
    assert waves[0].shape == short.wave[rows].shape and batch.wave.shape == short.wave.shape


def heard(batch, model, task):
    from fastwave.student.prior import shaped

    refined = model(batch.excitation[:, 0], batch.conditions)[:, -(batch.filters.shape[1] + 1) * LAYOUT.hop :]
    made = shaped(refined, batch.filters, torch.from_numpy(task.prior.window).float())
    return made[:, -batch.wave.shape[1] :]


def test_training_brings_a_student_nearer_than_its_prior(prepared, tmp_path):
    settings = Settings(steps=30, learning_rate=0.01, average=0.5, **SHORT)
    task = StudentTask(prepared, CONFIG, settings)
    batch, targets = task.batch(0, slice(0, 1))
    before = float(task.loss(task.build(), batch, targets).detach())
    from fastwave.training import loop

    loop.train(task, tmp_path / "run")
    student = fastwave.load(tmp_path / "run")
    assert isinstance(student, ParallelWaveNet) and student.config == CONFIG
    assert float(task.loss(student, batch, targets).detach()) < 0.93 * before
    assert (tmp_path / "run" / "samples" / "step-00000030.wav").exists()


def test_the_term_that_holds_draws_apart_has_its_weight(prepared):
    task, model = StudentTask(prepared, CONFIG, Settings(steps=1, **SHORT)), small_student()
    batch, targets = task.batch(0, slice(0, 1))
    second = batch._replace(excitation=batch.excitation.flip(1))
    with torch.no_grad():
        x, y, z = (
            torch.as_tensor(each) for each in (batch.wave, heard(batch, model, task), heard(second, model, task))
        )
        d = objectives.spectral_distance
        expected = float(d(x, y) + d(x, z) - 0.4 * d(y, z)) * (x.shape[1] / targets)
        assert float(task.loss(model, batch, targets)) == pytest.approx(expected, rel=1e-4)
        assert float(objectives.energy_distance(x, y, z)) == pytest.approx(float(d(x, y) + d(x, z) - d(y, z)))


@pytest.mark.parametrize("low", [0.5, 1.0])
def test_a_run_planned_from_a_time_takes_the_faster_precision(recordings, tmp_path, monkeypatch, low):
    measured = {"float32": 1.0, "bfloat16": low}
    monkeypatch.setattr(training.planning, "seconds_per_step", lambda task, _: measured[task.settings.precision])
    monkeypatch.setattr(training.loop, "train", lambda task, *_: task.settings)
    settings = training.train(recordings, tmp_path / "run", config=CONFIG, minutes=10)
    assert settings.precision == ("bfloat16" if low < 1 else "float32")
    assert 0.8 * 600 < settings.steps * min(1.0, low) < 600
    assert training.DISTILLING["precision"] == "float32"


def test_a_killed_run_ends_with_the_same_bits(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "WINDOW", 2048)
    for name, stops in (("whole", ()), ("parts", (2,))):
        for steps in (*stops, 4):
            monkeypatch.setattr(Settings, "sample_is_due", lambda *_: False)
            options = {**SHORT, "save_every": 2, "schedule": "constant", "steps": steps}
            training.train(recordings, tmp_path / name, config=CONFIG, **options)
    whole, parts = (fastwave.load(tmp_path / name).state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_the_command_trains_generates_and_copies(tmp_path, capsys):
    sounds, run = tmp_path / "sounds", tmp_path / "run"
    sounds.mkdir()
    for index in range(2):
        audio.save(sounds / f"{index}.wav", saw(1.2, rate=16_000), 16_000)
    arguments = ["--steps", "1", "--window", "2048", "--sample-seconds", "0.3", "--held-out", "0.5"]
    assert main(["train", str(sounds), "--parallel", "--out", str(run), *arguments]) == 0
    said = capsys.readouterr().out
    assert "spectral distance" in said and "fastwave generate" in said and "--condition" in said
    assert json.loads((run / "config.json").read_text())["kind"] == "student"
    out = tmp_path / "out.wav"
    assert main(["generate", str(run), "--condition", str(sounds / "0.wav"), "-o", str(out)]) == 0
    assert len(audio.load(out)[0]) == round(1.2 * 16_000)
    assert main(["copy", str(run), str(sounds), "-o", str(tmp_path / "copies")]) == 0
    copied = audio.load(tmp_path / "copies" / "0.wav")[0]
    assert len(copied) == round(1.2 * 16_000)


def test_info_says_what_a_student_is(tmp_path, capsys):
    small_student().save_pretrained(tmp_path)
    assert main(["info", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    facts = ("trained on recordings alone", "12 mel bands", "8 samples a step", f"{CONFIG.multiply_adds:,} mult")
    for fact in (*facts, "generation dtype"):
        assert fact in said
    assert main(["info", str(tmp_path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kind"] == "student" and facts["config"] == CONFIG.to_dict()
    assert facts["parameters"] == sum(value.numel() for value in small_student().parameters())


def test_a_server_says_that_a_student_needs_what_no_request_brings(tmp_path, capsys):
    small_student().save_pretrained(tmp_path / "student")
    assert main(["serve", str(tmp_path / "student"), "--port", "0"]) == 1
    assert "student follows features, which a request cannot bring" in capsys.readouterr().err


def test_play_plays_and_records_what_generate_makes(tmp_path, capsys, monkeypatch):
    small_student().save_pretrained(tmp_path)
    played = []

    class Card:
        paused, latency, played, underruns = False, 0.1, 0, 0

        def __init__(self, sample_rate, channels, latency, device):
            self.sample_rate = sample_rate

        __enter__ = __exit__ = finish = lambda self, *_: None

        def write(self, wave):
            played.append(wave)

    monkeypatch.setattr("fastwave.serving.sound_card.SoundCard", Card)
    audio.save(tmp_path / "buzz.wav", saw(0.5), LAYOUT.sample_rate)
    follow = [str(tmp_path), "--condition", str(tmp_path / "buzz.wav"), "--seed", "4"]
    assert main(["play", *follow, "--record", str(tmp_path / "played.wav")]) == 0
    assert main(["generate", *follow, "-o", str(tmp_path / "made.wav")]) == 0
    assert len(played) > 3
    assert (tmp_path / "played.wav").read_bytes() == (tmp_path / "made.wav").read_bytes()
    assert main(["play", str(tmp_path)]) == 1
    assert "a student follows frames" in capsys.readouterr().err


def test_the_command_refuses_options_that_a_student_decides(tmp_path, capsys):
    (tmp_path / "a.wav").touch()
    assert main(["train", str(tmp_path), "--parallel", "--out", str(tmp_path / "run"), "--trim", "-50"]) == 1
    assert "--parallel decides --trim itself" in capsys.readouterr().err


def test_a_run_of_another_kind_is_not_resumed(recordings, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"kind": "wavenet", "config": {}, "settings": {}, "command": ""}))
    with pytest.raises(InputError, match="not of a student"):
        training.train(recordings, tmp_path, config=CONFIG, steps=1)


# Checkpoints


def test_a_checkpoint_is_saved_and_loaded(tmp_path):
    model = small_student()
    model.save_pretrained(tmp_path)
    again = fastwave.load(tmp_path)
    assert again.config == CONFIG
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    made = fastwave.generate(tmp_path, condition=frames(20), seed=5)
    assert torch.equal(made.tokens, fastwave.generate(model, condition=frames(20), seed=5).tokens)


def test_load_takes_a_wavenet_too():
    assert isinstance(fastwave.load("pluck"), fastwave.WaveNet)


def test_who_wants_a_wavenet_says_who_reads_a_student(tmp_path):
    small_student().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"fastwave\.student reads it"):
        fastwave.WaveNet.from_pretrained(tmp_path)


def test_a_config_beside_other_weights_is_refused(tmp_path):
    small_student().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "normalize": "off"}))
    with pytest.raises(CheckpointError, match="differs from the config"):
        fastwave.load(tmp_path)


def test_a_config_goes_through_json_exactly():
    assert StudentConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG


def test_a_config_from_before_there_was_a_choice_keeps_its_pulses():
    values = CONFIG.to_dict()
    assert values.pop("voiced_to") == 8000
    before = StudentConfig.from_dict(values)
    assert before.voiced_to == 4500 and before.to_dict() == values


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"squeeze": 7}, "multiple of squeeze"),
        ({"squeeze": 0}, "squeeze must be"),
        ({"residual_channels": 4}, "at least squeeze"),
        ({"dilations": []}, "dilations are"),
        ({"dilations": [1, 0]}, "dilations are"),
        ({"dilations": [1 << 17]}, "looks back"),
        ({"kernel_size": 1}, "kernel_size"),
        ({"voiced_to": -1}, "voiced_to is a number"),
        ({"colour": 1}, "unknown setting"),
        ({"frames": {"colour": 1}}, "unknown setting of frames"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        StudentConfig.from_dict({**CONFIG.to_dict(), **changes})
