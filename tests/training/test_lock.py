"""One process a run: the lock, and what else stops a run that would not do what its user thinks."""

import subprocess
import sys

import pytest

from fastwave import InputError, WaveNet
from fastwave.cli.main import main
from fastwave.training import lock
from fastwave.training.wavenet import WaveNetTask
from small_runs import lines_of, make_config, make_data, make_settings, make_sound, train_wavenet

HOLD = (
    "import sys; from pathlib import Path; from fastwave.training.lock import locked\n"
    "with locked(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
)
QUICK = [
    *("--steps=4", "--batch=2", "--window=64", "--save-every=2", "--validate-every=2", "--sample-every=4"),
    *("--sample-seconds=0.05", "--threads=1", "--workers=1", "--log-every=1", "--set"),
    *("residual_channels=8", "skip_channels=12", "dilations=4x1"),
]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")


@pytest.fixture
def data(tmp_path):
    return make_data(tmp_path)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path/run."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_in_one_run_is_refused_until_the_first_dies(data, tmp_path, holder):
    with pytest.raises(InputError, match=rf"another process \(number {holder.pid}\) is training in .*run"):
        train_wavenet(data, tmp_path / "run", make_config(), make_settings(steps=2))
    holder.kill()  # without a chance to clean up
    holder.wait()
    train_wavenet(data, tmp_path / "run", make_config(), make_settings(steps=2))


def test_the_command_takes_the_lock_before_it_prepares_data(tmp_path, holder, capsys):
    make_sound(tmp_path / "sounds")
    assert main(["train", str(tmp_path / "sounds"), "--out", str(tmp_path / "run"), *QUICK]) == 1
    assert "is training in" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == [lock.FILE]


def test_a_run_may_be_resumed_in_the_same_process_also_after_an_error(data, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(WaveNetTask, "loss", fail)
        with pytest.raises(RuntimeError, match="planted"):
            train_wavenet(data, tmp_path / "run", make_config(), make_settings(steps=2))
    train_wavenet(data, tmp_path / "run", make_config(), make_settings(steps=2))


def test_processes_that_do_not_want_the_lock_run_beside_the_one_that_holds_it(tmp_path, holder):
    with lock.locked(tmp_path / "run", wanted=False), pytest.raises(InputError), lock.locked(tmp_path / "run"):
        pass


# What else is refused


def test_other_data_are_refused_until_they_are_allowed(data, tmp_path):
    train_wavenet(data, tmp_path / "run", make_config(), make_settings(steps=4))
    other = make_data(tmp_path, held_out=0.5)
    with pytest.raises(InputError, match=r"files were added, removed or changed.* --other-data"):
        train_wavenet(other, tmp_path / "run", make_config(), make_settings(steps=8))
    assert lines_of(tmp_path / "run", "resume") == []
    train_wavenet(other, tmp_path / "run", make_config(), make_settings(steps=8), other_data=True)


def test_the_command_goes_on_with_other_data_when_asked_to(tmp_path, capsys):
    sounds = make_sound(tmp_path / "sounds")
    command = ["train", str(sounds), "--out", str(tmp_path / "run"), *QUICK]
    assert main(command) == 0
    make_sound(sounds / "more", files=2)
    command[4] = "--steps=6"
    assert main(command) == 1
    assert "--other-data" in capsys.readouterr().err
    assert main([*command[:4], "--other-data", *command[4:]]) == 0
    assert "resumes from step 4 of 6" in capsys.readouterr().err


def test_fewer_steps_than_a_run_has_done_are_refused_and_leave_it_as_it_was(data, tmp_path, capsys):
    train_wavenet(data, tmp_path / "run", make_config(), make_settings(steps=4))
    before = (tmp_path / "run/run.json").read_bytes()
    with pytest.raises(InputError, match="has done 4 steps already, and --steps is 1: give more than 4"):
        train_wavenet(data, tmp_path / "run", make_config(), make_settings(steps=1))
    assert (tmp_path / "run/run.json").read_bytes() == before
    train_wavenet(data, tmp_path / "run", make_config(), make_settings(steps=4))
    assert "all 4 steps are done already: there is nothing left to train" in capsys.readouterr().err


def test_a_run_that_ends_above_white_noise_is_no_success(tmp_path, capsys):
    sounds = make_sound(tmp_path / "sounds")
    wild = ["--learning-rate=100", "--warmup=0", "--clip=1e9", "--average=0"]
    assert main(["train", str(sounds), "--out", str(tmp_path / "run"), *wild, *QUICK]) == 1
    err = capsys.readouterr().err
    assert "the training has failed: it ended at" in err and "white noise costs 8" in err
    assert "a smaller --learning-rate than 100" in err


def test_sound_shorter_than_the_model_looks_back_is_refused(data, tmp_path):
    with pytest.raises(InputError, match=r"too little to train on: 0.75 s .* needs at least 1.02 s"):
        WaveNetTask(data, make_config(dilations=(8192, 8192)), make_settings())


def test_a_backend_that_cannot_run_is_refused_before_data_are_prepared(tmp_path, capsys, monkeypatch):
    sounds = make_sound(tmp_path / "sounds")
    monkeypatch.setattr("fastwave.runtime.dispatch._missing", lambda role, name: "not here" * (name == "triton"))
    assert main(["train", str(sounds), "--out", str(tmp_path / "run"), "--backend=triton", *QUICK]) == 1
    assert "triton: not here" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_names_of_speakers_are_learned_from_the_data(tmp_path, capsys):
    for who in ("anna", "bert"):
        make_sound(tmp_path / "voices" / who, files=2)
    command = ["train", str(tmp_path / "voices"), "--out", str(tmp_path / "run"), "--speakers=folders", *QUICK]
    assert main(command) == 0
    assert WaveNet.from_pretrained(tmp_path / "run").config.speaker_names == ("anna", "bert")
    capsys.readouterr()
    assert main(["info", str(tmp_path / "run")]) == 0
    assert "2: anna, bert; --speaker takes a name" in capsys.readouterr().out
    out = str(tmp_path / "x.wav")
    assert main(["generate", str(tmp_path / "run"), "--speaker", "bert", "--samples", "20", "-o", out]) == 0
