"""The last sentences of a run: true for each way in which it can end, with a command that works for its model."""

import json
import os
import shlex
import signal
import time

import numpy as np
import pytest

from duration_task import DurationTask, duration_settings
from fastwave.cli.main import main
from fastwave.sound import audio
from fastwave.training import ending, history, loop, report
from fastwave.training.hearing import levels, problems, problems_of_text
from report_runs import RATE, sample, start, train, validation, write_log
from small_runs import lines_of, make_config, make_data, make_settings, make_sound, train_wavenet

END = {"event": "end", "step": 20, "elapsed": 9.0}


def sentences_of(run, *lines):
    write_log(run, [start(), train(20), validation(20), *lines])
    return "\n".join(ending.sentences(run))


def test_each_way_to_end_has_its_own_sentence(tmp_path):
    assert sentences_of(tmp_path, {**END, "reason": "done"}).startswith("Finished: all of its 20 steps are done.")
    stopped = sentences_of(tmp_path, {**END, "reason": "stopped after 6 minutes; run the same command to resume"})
    assert stopped.startswith("Stopped by the clock at step 20, before the last step of its schedule. The same command")
    assert sentences_of(tmp_path, {**END, "reason": "interrupted"}).startswith("Interrupted at step 20, which is saved")
    assert sentences_of(tmp_path).startswith("Still on, at step 20.")
    long_ago = time.time() - history.QUIET_SECONDS - 60
    os.utime(tmp_path / "log.jsonl", (long_ago, long_ago))
    assert ending.sentences(tmp_path)[0].startswith("Broken off: its log ends at step 20, at ")


def test_the_verdict_names_the_samples_that_it_is_about(tmp_path):
    (tmp_path / "samples").mkdir()
    tone = 0.1 * np.sin(np.arange(RATE) * 0.3)
    waves = {"old": np.zeros(RATE), "plain": tone, "cool": np.zeros(RATE)}
    for name, wave in waves.items():
        audio.save(tmp_path / f"samples/{name}.wav", wave, RATE)
    audio.save(tmp_path / "samples/primed.wav", np.concatenate([tone, np.zeros(RATE)]), RATE)
    lines = [{**sample(10), "file": "samples/old.wav"}]
    lines += [{**sample(20), "file": f"samples/{name}.wav", "label": name} for name in ("plain", "cool")]
    lines += [{**sample(20), "file": "samples/primed.wav", "label": "primed", "prime": RATE}]
    write_log(tmp_path, [start(), *lines])
    assert ending.verdict(tmp_path) == "sounds ordinary, but is silent (cool; primed)"

    def quality(*lines):
        return sentences_of(tmp_path, *lines, {**END, "reason": "done", "verdict": ending.verdict(tmp_path)})

    assert "What it makes sounds ordinary, but is silent (cool; primed). The report" in quality(*lines)
    write_log(tmp_path, [start(), *lines[2:]])
    assert "What it makes is silent: more training usually helps." in quality(*lines[2:])
    write_log(tmp_path, [start(), lines[1]])
    assert ending.verdict(tmp_path) == ending.ORDINARY
    (tmp_path / "samples/plain.wav").unlink()
    assert ending.verdict(tmp_path) == ending.ORDINARY  # a file that is gone is no fault of the model's


def test_silence_clipping_and_one_value_are_heard():
    tone = 0.5 * np.sin(np.arange(RATE) * 0.3)
    assert problems(tone, RATE) == ()
    assert problems(1e-4 * tone, RATE) == problems(np.zeros(10), RATE) == ("silent",)
    assert problems(np.clip(4 * tone, -1, 1), RATE) == ("clipped",)
    assert problems(np.concatenate([tone, np.full(RATE, 0.25)]), RATE) == ("stuck on one sound",)
    assert problems_of_text("once more") == () and problems_of_text(" \n") == ("empty",)
    assert problems_of_text("once " + "e" * 200) == ("stuck on one character",)


def test_levels_are_of_full_scale():
    tone = np.sin(2 * np.pi * np.arange(RATE) / 40)
    assert str(levels(tone)) == "peak 0.0 dB, RMS \u22123.0 dB, 5.00% clipped"
    assert str(levels(0.1 * tone)) == "peak \u221220.0 dB, RMS \u221223.0 dB, 0.00% clipped"
    assert str(levels(np.zeros(5))) == str(levels(np.zeros(0))) == "silence"


@pytest.mark.parametrize("kind", ["plain", "vocoder", "speakers", "text"])
def test_the_command_for_more_works_for_the_model(tmp_path, capsys, kind):
    quick = ["--steps=2", "--batch=2", "--window=64", "--sample-seconds=0.05", "--threads=1", "--workers=1"]
    tiny = ["--set", "residual_channels=8", "skip_channels=12", "dilations=4x1"]
    options = {
        "plain": [], "vocoder": ["--features", "mel", "--bands", "8", "--sample-rate", "8000", *tiny, "hop=64"],
        "speakers": ["--speakers", "folders"], "text": [],
    }[kind]  # fmt: skip
    for name in ("one", "two"):
        if kind == "text":
            (tmp_path / "data" / name).mkdir(parents=True)
            (tmp_path / "data" / name / "a.txt").write_text(f"once more, said {name}. " * 40)
        else:
            make_sound(tmp_path / "data" / name)
    run = tmp_path / "run"
    assert main(["train", str(tmp_path / "data"), "--out", str(run), *quick, *(options or tiny)]) == 0
    capsys.readouterr()
    program, *arguments = shlex.split(ending.more_of_it(run, history.read(run)))
    assert program == "fastwave" and ("--condition" in arguments) == (kind == "vocoder")
    assert ("--speaker" in arguments) == (kind == "speakers")
    length = [] if kind in ("vocoder", "text") else ["--samples=50"]
    assert main([*arguments, *length]) == 0
    if kind == "text":
        assert len(capsys.readouterr().out) > 100
    else:
        assert audio.info(run / "out.wav").frames > 0


def test_a_conditioned_model_of_arrays_is_given_an_array(tmp_path):
    config = make_config(condition_channels=3, hop=64)
    write_log(tmp_path, [{**start(), "config": config.to_dict(), "kind": "wavenet"}])
    (tmp_path / "model.safetensors").touch()
    assert "--condition FILE" in ending.more_of_it(tmp_path, history.read(tmp_path))
    (tmp_path / "samples").mkdir()
    for name in ("real.wav", "real.npy"):
        (tmp_path / "samples" / name).touch()
    assert f"--condition {tmp_path}/samples/real.npy" in ending.more_of_it(tmp_path, history.read(tmp_path))


def test_a_model_of_another_kind_has_no_command(tmp_path):
    loop.train(DurationTask(duration_settings()), tmp_path)
    said = "\n".join(ending.sentences(tmp_path))
    assert "fastwave generate" not in said and "Finished" in said and str(tmp_path / "report.html") in said


def test_the_log_and_the_report_hold_how_a_run_ended(tmp_path, monkeypatch):
    data = make_data(tmp_path)
    train_wavenet(data, tmp_path / "run", make_config(), make_settings(steps=4))
    (end,) = lines_of(tmp_path / "run", "end")
    assert end["reason"] == "done" and end["verdict"].startswith(("is ", "sounds "))
    page = (tmp_path / "run/report.html").read_text()
    assert "Finished: all of its 4 steps are done." in page and end["verdict"].split(" (")[0] in page

    right = loop.Loop._one_step

    def interrupted(self):
        right(self)
        if self.step == 6:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop.Loop, "_one_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_wavenet(data, tmp_path / "run", make_config(), make_settings())
    page = (tmp_path / "run/report.html").read_text()
    assert "Interrupted at step 6, which is saved. The same command resumes it." in page and "<script" not in page
    assert history.read(tmp_path / "run").ended == "interrupted"


def test_a_run_that_the_clock_stops_has_samples_of_its_last_step(tmp_path, monkeypatch):
    data = make_data(tmp_path)
    counter = iter(range(100_000))
    monkeypatch.setattr(loop.time, "monotonic", lambda: 10.0 * next(counter))
    train_wavenet(data, tmp_path / "run", make_config(), make_settings(steps=500, minutes=5.0, save_every=100))
    (end,) = lines_of(tmp_path / "run", "end")
    assert end["reason"].startswith("stopped after 5 minutes") and end["step"] < 500
    assert {line["step"] for line in lines_of(tmp_path / "run", "sample")} == {end["step"]}
    assert "Stopped by the clock" in (tmp_path / "run/report.html").read_text()


def test_the_last_samples_may_take_longer(tmp_path, monkeypatch):
    seconds = []
    monkeypatch.setattr(DurationTask, "sample", lambda *arguments: seconds.append(arguments[-1]) or [])
    loop.train(DurationTask(duration_settings()), tmp_path)
    assert seconds == [2.0, 6.0]


def test_a_run_has_a_page_before_its_first_step(tmp_path, monkeypatch):
    data, seen = make_data(tmp_path), []
    right = loop.Loop._one_step

    def looking(self):
        seen.append((self.out / report.FILE).exists())
        right(self)

    monkeypatch.setattr(loop.Loop, "_one_step", looking)
    train_wavenet(data, tmp_path / "run", make_config(), make_settings(steps=2))
    assert seen[0]


def test_a_plan_in_run_json_stands_in_the_report(tmp_path):
    write_log(tmp_path, [start()])
    lines = ["20 minutes: 1,234 steps of 8 windows.", "The learning rate <falls> at the end."]
    (tmp_path / "run.json").write_text(json.dumps({"plan": {"lines": lines}}))
    page = report.write(tmp_path).read_text()
    assert "<h2>Plan</h2>" in page and "The learning rate &lt;falls&gt; at the end." in page
    (tmp_path / "run.json").write_text(json.dumps({"plan": {"lines": 3}}))
    assert "<h2>Plan</h2>" not in report.write(tmp_path).read_text()
