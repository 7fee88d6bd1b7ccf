"""Files become shards: the same tokens as loading and encoding them, through damage, crashes and many processes."""

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import soundfile
import torch

from fastwave import ConfigError, InputError, codec
from fastwave.data import prepare as module
from fastwave.data import reading
from fastwave.data.preparation import Preparation
from fastwave.data.prepare import find, levels_in_words, prepare
from fastwave.data.shards import Data
from fastwave.data.sources import Source
from fastwave.sound import audio
from fastwave.sound.features import Mel
from fastwave.sound.loudness import HIGHEST_PEAK, MOST_GAIN, TARGET_LUFS, decibels, measure
from fastwave.sound.mel import MelSettings, mel

RATE = 16_000


def noise(length, seed=0, level=0.5):
    """[time] float64 that 16 bits hold exactly."""
    return np.random.default_rng(seed).integers(-level * 32768, level * 32768, length) / 32768


def write(path, wave, rate=RATE, **form):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, **form)
    return path


def write_many(folder, count=7, length=400):
    for number in range(count):
        write(folder / f"n{number:02}.wav", noise(length + number, seed=number))
    return folder


def contents(folder):
    """Every file of a folder and its bytes."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*")}


def tokens_of(place):
    """Tokens of every prepared file by its name."""
    data = Data(place)
    return {file["name"]: data.tokens(i, 0, file["samples"]) for i, file in enumerate(data.files)}


@pytest.fixture
def small_shards(monkeypatch):
    """Two files a shard."""
    monkeypatch.setattr(module, "SHARD_FILES", 2)


def alone(folder, script, *arguments):
    """Run `script` in a process of its own, elsewhere than the checkout."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120)


# The same as loading and encoding


@pytest.mark.parametrize(
    ("name", "classes", "dtype"),
    [("mu-law", 256, np.uint8), ("mu-law", 1024, np.uint16), ("linear", 64, np.uint8), ("pcm", 0, np.int16)],
)
def test_tokens_are_those_of_load_and_encode(tmp_path, name, classes, dtype):
    write(tmp_path / "in/a.wav", noise(70_000))  # more than one block of the decoder
    write(tmp_path / "in/deep/b.flac", np.stack([noise(900, 1), noise(900, 2)], axis=1))
    write(tmp_path / "in/c.WAV", noise(1500, 3), 22_050)
    write(tmp_path / "in/d.wav", 3 * noise(500, 4), subtype="FLOAT")  # beyond full scale
    index = prepare(tmp_path / "in", tmp_path / "out", Preparation(codec=name, classes=classes), workers=1)
    assert [file["name"] for file in index["files"]] == ["a.wav", "c.WAV", "d.wav", "deep/b.flac"]
    counts = 0
    for file, stored in tokens_of(tmp_path / "out").items():
        want = codec.by_name(name, classes).encode(audio.load(tmp_path / "in" / file, RATE)[0]).numpy()
        if name == "pcm":
            want = np.clip(np.round(want * 32768), -32768, 32767)
        assert stored.dtype == dtype
        assert np.array_equal(stored, want)
        counts = counts + np.bincount(want.astype(int) + 32768 * (name == "pcm"), minlength=65_536)
    shares = counts[counts > 0] / counts.sum()
    assert index["order0_bits"] == pytest.approx(-(shares * np.log2(shares)).sum())
    assert index["white_noise_bits"] == math.log2(classes or 65_536)


def test_one_channel_of_a_file_can_be_chosen(tmp_path):
    write(tmp_path / "in/a.wav", np.stack([noise(300, 1), noise(300, 2)], axis=1))
    write(tmp_path / "in/b.wav", noise(300, 3))
    index = prepare(tmp_path / "in", tmp_path / "out", Preparation(codec="pcm", classes=0, channel="1"), workers=1)
    assert np.array_equal(tokens_of(tmp_path / "out")["a.wav"], noise(300, 2) * 32768)
    assert "no channel 1" in dict(index["skipped"])["b.wav"]


def test_text_is_its_bytes_even_where_a_block_ends_inside_a_character(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "TEXT_BLOCK", 7)
    text = "W\u00e4re \u4e2d\u6587 \U0001f3b5\n" * 5
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "in/b.md").write_text("b", encoding="utf-8")
    prepare(tmp_path / "in", tmp_path / "out", Preparation(codec="bytes", sample_rate=0), workers=1)
    assert np.array_equal(tokens_of(tmp_path / "out")["a.txt"], codec.Bytes().encode(text).numpy())


def test_a_single_file_can_be_named(tmp_path):
    write_many(tmp_path / "in")
    index = prepare(tmp_path / "in/n03.wav", tmp_path / "out", Preparation(), workers=1)
    assert [file["name"] for file in index["files"]] == ["n03.wav"]


def test_mel_frames_are_those_of_the_whole_wave(tmp_path):
    write_many(tmp_path / "in", count=3, length=5000)
    how = Preparation(features="mel", feature_channels=8, hop=128, trim=-20)
    data_of = prepare(tmp_path / "in", tmp_path / "out", how, workers=1)["files"]
    data = Data(tmp_path / "out")
    for number, file in enumerate(data_of):
        wave = audio.load(tmp_path / "in" / file["name"])[0]
        want = mel(wave, MelSettings(sample_rate=RATE, hop=128, bands=8)).numpy()
        assert file["frames"] == len(want)
        assert np.array_equal(data.frames(number, np.arange(len(want))), want)


# What cannot be used


def spoil(folder):
    """Useless files between good ones, each with a word of the reason for leaving it out."""
    good = noise(400, 9)
    (folder / "n01-broken.wav").write_bytes(b"RIFF\x00\x01nothing")
    (folder / "n01-empty.wav").write_bytes(b"")
    write(folder / "n02-headeronly.wav", good[:0])
    write(folder / "n02-silent.wav", good * 1e-3)
    # the damage comes late: what was written before it must go
    write(folder / "n03-nan.wav", np.append(noise(200_000), [np.nan, 0.1]), subtype="FLOAT")
    whole = write(folder / "n03-short.flac", noise(200_000, 4)).read_bytes()
    (folder / "n03-short.flac").write_bytes(whole[: len(whole) // 2])
    (folder / "n05-nowhere.wav").symlink_to(folder / "gone.wav")
    os.mkfifo(folder / "n05-pipe.wav")
    (folder / "n05-pipe.txt").symlink_to(folder / "n05-pipe.wav")
    return {
        "n01-broken.wav": "cannot read|not a wav",
        "n01-empty.wav": "not a wav",
        "n02-headeronly.wav": "silent|no sound",
        "n02-silent.wav": "silent: nothing above -60 dB",
        "n03-nan.wav": "NaN",
        "n03-short.flac": "cut short|sound library",
        "n05-nowhere.wav": "No such file",
        "n05-pipe.wav": "not an ordinary file",
    }


@pytest.mark.parametrize("features", [None, "mel"])
def test_files_that_cannot_be_used_are_named_and_leave_no_byte(tmp_path, features):
    how = Preparation(features=features, feature_channels=8 if features else 0, hop=128 if features else 1)
    write_many(tmp_path / "in")
    clean = prepare(tmp_path / "in", tmp_path / "clean", how, workers=1)
    reasons = spoil(tmp_path / "in")
    spoilt = prepare(tmp_path / "in", tmp_path / "spoilt", how, workers=1)
    assert spoilt["files"] == clean["files"]
    assert spoilt["order0_bits"] == clean["order0_bits"]
    for kind in ("tokens", "frames"):
        name = f"shard-00000.{kind}"
        assert (tmp_path / "spoilt" / name).read_bytes() == (tmp_path / "clean" / name).read_bytes()
    skipped = dict(spoilt["skipped"])
    assert sorted(skipped) == sorted(reasons)
    for name, reason in skipped.items():
        assert any(word in reason for word in reasons[name].split("|")), reason
        assert str(tmp_path) not in reason


def test_texts_that_cannot_be_used_are_named_and_leave_no_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "TEXT_BLOCK", 8)
    (tmp_path / "in").mkdir()
    for name, content in {"a.txt": b"first text", "e.txt": b"last text"}.items():
        (tmp_path / "in" / name).write_bytes(content)
    (tmp_path / "in/b.txt").write_bytes(b"begins well, ends \xff\xfe")
    (tmp_path / "in/b2.txt").write_bytes("ends within a character \u4e2d".encode()[:-1])
    (tmp_path / "in/c.txt").write_bytes(b"")
    os.mkfifo(tmp_path / "in/d.txt")
    index = prepare(tmp_path / "in", tmp_path / "out", Preparation(codec="bytes", sample_rate=0), workers=1)
    assert {name: reason.split(":")[0] for name, reason in index["skipped"]} == {
        "b.txt": "it is not UTF-8 text",
        "b2.txt": "it is not UTF-8 text",
        "c.txt": "it is empty",
        "d.txt": "cannot read it",
    }
    assert (tmp_path / "out/shard-00000.tokens").read_bytes() == b"first textlast text"
    assert [file["at"] for file in index["files"]] == [0, 10]


def test_a_name_that_is_not_utf8_is_a_name(tmp_path):
    write_many(tmp_path / "in", count=2)
    os.rename(tmp_path / "in/n01.wav", os.fsencode(tmp_path) + b"/in/\xff.wav")
    prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)
    assert len(tokens_of(tmp_path / "out")) == 2


def test_hidden_files_and_training_runs_below_are_no_data(tmp_path):
    write_many(tmp_path / "in", count=2)
    write(tmp_path / "in/._n00.wav", noise(10))
    write(tmp_path / "in/.cache/x.wav", noise(10))
    write(tmp_path / "in/run/samples/real.wav", noise(10))
    (tmp_path / "in/run/run.json").write_text("{}")
    assert [source.name for source in find(tmp_path / "in")[0]] == ["n00.wav", "n01.wav"]


# Once, over all cores, and again


def test_two_processes_make_the_bytes_of_one(tmp_path, small_shards):
    write_many(tmp_path / "in")
    spoil(tmp_path / "in")
    how = Preparation(features="mel", feature_channels=8, hop=64)
    one = prepare(tmp_path / "in", tmp_path / "one", how, workers=1)
    two = prepare(tmp_path / "in", tmp_path / "two", how, workers=2)
    assert one == two
    assert len(contents(tmp_path / "one")) > 3 * 3
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_threads_of_torch_are_left_as_they_were(tmp_path):
    write_many(tmp_path / "in", count=1)
    torch.set_num_threads(2)
    try:
        prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_a_second_call_makes_nothing_anew(tmp_path, small_shards, monkeypatch):
    write_many(tmp_path / "in")
    first = prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)
    before, made = contents(tmp_path / "out"), times(tmp_path / "out")
    monkeypatch.setattr(module, "make_shard", None)
    assert prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1) == first
    assert contents(tmp_path / "out") == before
    assert times(tmp_path / "out") == made
    # another share to hold out is another index and no other shard
    again = prepare(tmp_path / "in", tmp_path / "out", Preparation(held_out=0.5), workers=1)
    assert again["preparation"]["held_out"] == 0.5
    assert times(tmp_path / "out") == made


def remade(before, place):
    return {name.split(".")[0] for name, when in times(place).items() if before.get(name) != when}


def test_a_changed_file_remakes_its_shard_alone(tmp_path, small_shards):
    write_many(tmp_path / "in")
    prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)
    before = times(tmp_path / "out")
    write(tmp_path / "in/n03.wav", noise(500, 33))
    write(tmp_path / "in/n07.wav", noise(500, 34))  # joins the last shard
    prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)
    assert remade(before, tmp_path / "out") == {"shard-00001", "shard-00003"}
    prepare(tmp_path / "in", tmp_path / "fresh", Preparation(), workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


@pytest.mark.parametrize("changes", [{"classes": 64}, {"codec": "linear"}, {"sample_rate": 8000}, {"trim": -40.0}])
def test_another_setting_remakes_the_shards(tmp_path, changes):
    write_many(tmp_path / "in", count=2)
    prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)
    prepare(tmp_path / "in", tmp_path / "out", Preparation(**changes), workers=1)
    prepare(tmp_path / "in", tmp_path / "fresh", Preparation(**changes), workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


# Crashes


def crash_at(monkeypatch, number):
    """Let the writing of a shard's JSON, after its tokens, fail."""
    right = module._write_json

    def failing(path, values):
        if path.name == f"shard-{number:05}.json":
            raise RuntimeError("crash")
        right(path, values)

    monkeypatch.setattr(module, "_write_json", failing)


def test_a_crash_leaves_whole_shards_or_none_and_the_next_call_finishes(tmp_path, small_shards, monkeypatch):
    write_many(tmp_path / "in")
    whole = prepare(tmp_path / "in", tmp_path / "whole", Preparation(), workers=1)
    crash_at(monkeypatch, 2)
    with pytest.raises(RuntimeError, match="crash"):
        prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)
    assert not list((tmp_path / "out").glob(".*"))
    assert sorted(path.name for path in (tmp_path / "out").glob("*.json")) == ["shard-00000.json", "shard-00001.json"]
    before = times(tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setattr(module, "SHARD_FILES", 2)
    assert prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1) == whole
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert remade(before, tmp_path / "out") == {"shard-00002", "shard-00003"}


def test_a_crash_on_the_way_to_other_settings_leaves_nothing_that_looks_like_the_old(tmp_path, monkeypatch):
    write_many(tmp_path / "in", count=2)
    prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)
    right = contents(tmp_path / "out")
    with monkeypatch.context() as during:
        crash_at(during, 0)
        with pytest.raises(RuntimeError, match="crash"):
            prepare(tmp_path / "in", tmp_path / "out", Preparation(codec="linear"), workers=1)
    with pytest.raises(InputError, match="fastwave prepare"):
        Data(tmp_path / "out")
    prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)
    assert contents(tmp_path / "out") == right


KILLED = """
    import os, signal, sys
    from fastwave.data import prepare

    right, prepare.SHARD_FILES, written = prepare._write_file, 2, []

    def deadly(source, how, tokens, frames):
        result = right(source, how, tokens, frames)
        tokens.flush()
        if source.name == "n05.wav":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    prepare._write_file = deadly
    prepare.prepare(sys.argv[1], sys.argv[2], prepare.Preparation(), workers=1)
"""


def test_a_kill_leaves_whole_shards_and_what_else_it_leaves_is_swept(tmp_path, small_shards):
    write_many(tmp_path / "in")
    whole = prepare(tmp_path / "in", tmp_path / "whole", Preparation(), workers=1)
    done = alone(tmp_path, KILLED, tmp_path / "in", tmp_path / "out")
    assert done.returncode == -signal.SIGKILL, done.stderr
    names = set(contents(tmp_path / "out"))
    assert {name for name in names if name.endswith(".json")} == {"shard-00000.json", "shard-00001.json"}
    assert any(name.startswith(".shard-00002") for name in names)
    (tmp_path / "out/.prepared.0123.tmp.json").write_text("{")
    before = times(tmp_path / "out")
    assert prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1) == whole
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert remade(before, tmp_path / "out") == {"shard-00002", "shard-00003"}


ORPHANS = """
    import os, signal, sys
    from fastwave.data import prepare

    if __name__ == "__main__":
        prepare.SHARD_FILES = 2
        for done in prepare._work(prepare.Path(sys.argv[1]), {n: [] for n in range(4)}, prepare.Preparation(), 2):
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_processes_of_a_killed_one_end_too(tmp_path):
    """They hold its output open: were they to live on, reading it to the end would time out."""
    (tmp_path / "script.py").write_text(textwrap.dedent(ORPHANS))
    command = [sys.executable, tmp_path / "script.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("broken", ["{", "[]", "null", "{}"])
def test_a_damaged_shard_is_made_anew(tmp_path, broken):
    write_many(tmp_path / "in", count=2)
    prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)
    right = contents(tmp_path / "out")
    (tmp_path / "out/shard-00000.json").write_text(broken)
    (tmp_path / "out/shard-00000.tokens").write_bytes(b"")
    prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)
    assert contents(tmp_path / "out") == right


# Trimming


def test_trimming_keeps_what_is_between_and_a_margin(tmp_path):
    margin = round(0.02 * RATE)
    loud, quiet = noise(90_000, 1), noise(300_000, 2, level=2e-3)
    loud[[0, -1]] = 0.5
    hush = np.zeros(5000)
    between = np.concatenate([loud, quiet[:100_000], loud])
    write(tmp_path / "in/a.wav", np.concatenate([quiet[:70_000], between, quiet[70_000:]]))
    write(tmp_path / "in/b.wav", np.concatenate([hush[:100], loud, hush[:50]]))  # less than the margin on both sides
    write(tmp_path / "in/c.wav", quiet)
    index = prepare(tmp_path / "in", tmp_path / "cut", Preparation(trim=-40), workers=1)
    prepare(tmp_path / "in", tmp_path / "whole", Preparation(), workers=1)
    cut, whole = tokens_of(tmp_path / "cut"), tokens_of(tmp_path / "whole")
    assert np.array_equal(cut["a.wav"], whole["a.wav"][70_000 - margin : 70_000 + len(between) + margin])
    assert np.array_equal(cut["b.wav"], whole["b.wav"])
    assert index["skipped"] == [("c.wav", "nothing is left of it after trimming")]


# Speakers


def speakers_of(index):
    return {file["name"]: index["speakers"][file["speaker"]] for file in index["files"]}


def test_speakers_by_folders(tmp_path):
    for name in ("bob/x.wav", "ann/y.wav", "bob/z.wav", "top.wav"):
        write(tmp_path / "in" / name, noise(300))
    index = prepare(tmp_path / "in", tmp_path / "out", Preparation(speakers="folders"), workers=1)
    assert index["speakers"] == ["ann", "bob"]
    assert speakers_of(index) == {"ann/y.wav": "ann", "bob/x.wav": "bob", "bob/z.wav": "bob"}
    assert [(name, "sub-folder" in reason) for name, reason in index["skipped"]] == [("top.wav", True)]


def test_speakers_by_a_table(tmp_path):
    for name in ("x.wav", "y.wav", "deep/z.wav", "none.wav"):
        write(tmp_path / "in" / name, noise(300))
    table = tmp_path / "who.csv"
    table.write_text("\ufeffx.wav,bob\ny, ann \n\ndeep/z,bob\nelsewhere.wav,eve\n", encoding="utf-8")
    how = Preparation(speakers=str(table))
    index = prepare(tmp_path / "in", tmp_path / "out", how, workers=1)
    assert index["speakers"] == ["ann", "bob"]
    assert speakers_of(index) == {"x.wav": "bob", "y.wav": "ann", "deep/z.wav": "bob"}
    assert index["skipped"] == [("none.wav", f"{table} names no speaker for it")]
    table.write_text("x,ann\ny,bob\ndeep/z,bob\n")
    assert speakers_of(prepare(tmp_path / "in", tmp_path / "out", how, workers=1))["x.wav"] == "ann"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the speakers"),
        (b"x.wav,ann,tall\n", "every line must be name,speaker"),
        (b"\xff\xfe", "cannot read the speakers"),
        (b"other.wav,ann\n", "no file has a speaker"),
    ],
)
def test_a_table_of_speakers_that_does_not_help_is_an_input_error(tmp_path, content, message):
    write(tmp_path / "in/x.wav", noise(300))
    if content is not None:
        (tmp_path / "who.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        prepare(tmp_path / "in", tmp_path / "out", Preparation(speakers=str(tmp_path / "who.csv")), workers=1)


# Features that somebody brings


def test_features_of_a_folder_are_copied_and_checked(tmp_path):
    hop = 10
    good = np.random.default_rng(0).normal(size=(40, 3))
    bad = {
        "b-missing": None,
        "b-short": good[:39],
        "b-long": np.ones((43, 3)),
        "b-narrow": good[:, :2],
        "b-flat": good[:, 0],
        "b-nan": np.where(np.arange(40)[:, None] == 39, np.nan, good),
        "b-huge": good * 1e300,
        "b-words": np.full((40, 3), "word"),
        "b-objects": np.full((40, 3), None),
    }
    for name in ("a", *bad, "c/d.e"):
        write(tmp_path / f"in/{name}.wav", noise(395))
    (tmp_path / "features/c").mkdir(parents=True)
    for name, values in bad.items():
        if values is not None:
            np.save(tmp_path / f"features/{name}.npy", values)
    np.save(tmp_path / "features/a.npy", good.astype(np.float32))
    np.save(tmp_path / "features/c/d.e.npy", np.vstack([good + 1, good[:2]]))
    for name, content in (("b-noise", b"\x93NUMPY garbage"), ("b-nothing", b""), ("b-zip", b"PK\x03\x04" + bytes(50))):
        write(tmp_path / f"in/{name}.wav", noise(395))
        (tmp_path / f"features/{name}.npy").write_bytes(content)
    how = Preparation(features=str(tmp_path / "features"), feature_channels=3, hop=hop)
    with np.errstate(over="ignore"):
        index = prepare(tmp_path / "in", tmp_path / "out", how, workers=1)
    assert [file["name"] for file in index["files"]] == ["a.wav", "c/d.e.wav"]
    reasons = dict(index["skipped"])
    assert sorted(reasons) == sorted([*(f"{name}.wav" for name in bad), "b-noise.wav", "b-nothing.wav", "b-zip.wav"])
    assert "No such file" in reasons["b-missing.wav"]
    assert "39 frames, but 395 samples at hop 10 need 40" in reasons["b-short.wav"]
    assert "43 frames" in reasons["b-long.wav"]
    assert "[frames, 3], got float64 [40, 2]" in reasons["b-narrow.wav"]
    assert "NaN or infinity" in reasons["b-nan.wav"] and "NaN or infinity" in reasons["b-huge.wav"]
    data = Data(tmp_path / "out")
    assert np.array_equal(data.frames(0, np.arange(40)), good.astype(np.float32))
    assert np.array_equal(data.frames(1, np.arange(40)), (good + 1).astype(np.float32))
    assert (tmp_path / "out/shard-00000.tokens").stat().st_size == 2 * 395
    assert (tmp_path / "out/shard-00000.frames").stat().st_size == 2 * 40 * 3 * 4
    # frames that change are noticed, as sound that changes
    np.save(tmp_path / "features/a.npy", good.astype(np.float32) - 1)
    with np.errstate(over="ignore"):
        prepare(tmp_path / "in", tmp_path / "out", how, workers=1)
    assert np.array_equal(Data(tmp_path / "out").frames(0, np.arange(40)), good.astype(np.float32) - 1)


# What validation keeps


def held_out(names, share):
    """What is chosen of files of these names, without any sound."""
    files = [{"name": name, "samples": 100} for name in names]
    module._mark_held_out(files, share)
    assert all(file["held_out_samples"] in (0, 100) for file in files)
    return {file["name"] for file in files if file["held_out_samples"]}


def test_a_file_keeps_its_side_when_others_come():
    names = [f"file{number}.wav" for number in range(2000)]
    chosen = held_out(names[:1000], 0.05)
    more = held_out(names, 0.05)
    assert 30 < len(chosen) < 70
    assert more & set(names[:1000]) == chosen
    assert held_out(names[::-1], 0.05) == more
    # what was once trained on is never held out, not even where files are so few that one is picked
    for count in range(2, 60):
        for share in (0.02, 0.1, 0.3):
            before, after = held_out(names[:count], share), held_out(names[: count + 5], share)
            assert len(before) == count - 1 or not (after - before) & set(names[:count])


def test_at_least_one_file_is_held_out_and_never_all():
    for count in range(2, 40):
        for share in (1e-6, 0.05, 0.5, 0.999):
            assert 1 <= len(held_out([f"{number}.flac" for number in range(count)], share)) < count


def test_nothing_is_held_out_where_nobody_asks(tmp_path):
    write_many(tmp_path / "in", count=3)
    prepare(tmp_path / "in", tmp_path / "out", Preparation(held_out=0), workers=1)
    assert Data(tmp_path / "out").summary()["held_out_samples"] == 0


def test_a_single_file_gives_its_end(tmp_path):
    write(tmp_path / "in/a.wav", noise(1000))
    (file,) = prepare(tmp_path / "in", tmp_path / "out", Preparation(held_out=0.1), workers=1)["files"]
    assert file["held_out_samples"] == 100


# Clear errors


def test_where_there_is_nothing_to_prepare_it_is_said(tmp_path):
    with pytest.raises(InputError, match=r"there is no .*nowhere: give a folder"):
        prepare(tmp_path / "nowhere", tmp_path / "out", Preparation())
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match=r"holds no .*\.wav.* file"):
        prepare(tmp_path / "in", tmp_path / "out", Preparation())
    (tmp_path / "in/a.txt").write_text("text")
    with pytest.raises(InputError, match=r"holds no sound files, and codec mu-law needs them"):
        prepare(tmp_path / "in", tmp_path / "out", Preparation())
    (tmp_path / "in/a.wav").write_text("not sound")
    with pytest.raises(InputError, match=r"none of the 1 files of .* can be used. a.wav: "):
        prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)
    assert not (tmp_path / "out/prepared.json").exists()


class _Full:
    """A file on a full disk: some bytes, then none."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, content):
        self.room -= len(content)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(content)

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_full_disk_is_a_clear_error_and_what_was_made_stays(tmp_path, small_shards, monkeypatch):
    write_many(tmp_path / "in")
    whole = prepare(tmp_path / "in", tmp_path / "whole", Preparation(), workers=1)

    def opened(path, mode="r", **rest):
        file = open(path, mode, **rest)  # noqa: SIM115
        return _Full(file, 500) if ".shard-00002" in str(path) and path.suffix == ".tokens" else file

    with monkeypatch.context() as full:
        full.setattr(module, "open", opened, raising=False)
        with pytest.raises(InputError, match=r"cannot prepare data in .*out: No space left on device"):
            prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)
    assert sorted(contents(tmp_path / "out")) == [
        f"shard-0000{n}.{kind}" for n in (0, 1) for kind in ("frames", "json", "tokens")
    ]
    assert prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1) == whole


@pytest.mark.parametrize("where", ["mkdir", "open"])
def test_a_target_that_cannot_be_written_is_a_clear_error(tmp_path, monkeypatch, where):
    write_many(tmp_path / "in", count=1)
    right = os.open if where == "open" else os.mkdir

    def refusing(path, *arguments, **rest):
        if "out" in str(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return right(path, *arguments, **rest)

    if where == "open":
        (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, where, refusing)
    with pytest.raises(InputError, match=r"cannot prepare data in .*out: Read-only file system"):
        prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)


def test_a_file_in_the_place_of_the_target_is_a_clear_error(tmp_path):
    write_many(tmp_path / "in", count=1)
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match=r"cannot prepare data in .*out: File exists"):
        prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)
    assert (tmp_path / "out").read_text() == "mine"


def test_a_worker_that_dies_is_a_clear_error(tmp_path):
    script = """
        import os, sys
        from fastwave.data import prepare

        class Deadly(prepare.Preparation):
            def __reduce__(self):
                return os._exit, (9,)

        groups = {n: [] for n in range(2)}
        try:
            list(prepare._work(prepare.Path(sys.argv[1]), groups, Deadly(), 2))
        except prepare.InputError as error:
            print(error)
    """
    done = alone(tmp_path, script, tmp_path)
    assert "was killed, perhaps for want of memory: run again, with fewer workers" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_out": 1.0}, "held_out is a share"),
        ({"held_out": math.nan}, "held_out is a share"),
        ({"codec": "bytes", "trim": -50.0}, "for sound"),
        ({"trim": 3.0}, "in dB"),
        ({"trim": -50.0, "features": "f", "feature_channels": 2}, "trim the files first"),
        ({"features": "mel"}, "feature_channels"),
        ({"channel": "left"}, "channel is mix or a number"),
        ({"classes": 0}, "classes"),
        ({"codec": "morse"}, "unknown codec"),
    ],
)
def test_senseless_preparations_are_refused(changes, message):
    with pytest.raises((InputError, ConfigError), match=message):
        Preparation(**changes)


# Memory

HUNGER = """
    import sys, tracemalloc
    from fastwave.data import prepare

    how = prepare.Preparation(sample_rate=16_000, trim=-50.0, features="mel", feature_channels=8, hop=256)
    prepare.prepare(sys.argv[1], sys.argv[2] + "/short", how, workers=1)
    import resource
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    prepare.prepare(sys.argv[3], sys.argv[2] + "/long", how, workers=1)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(tracemalloc.get_traced_memory()[1], 1024 * grown)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no getrusage there")
def test_a_long_file_is_never_held_whole(tmp_path):
    minutes = 10
    write(tmp_path / "short.wav", noise(RATE * 10, level=0.1), 8_000)
    write(tmp_path / "long.wav", np.tile(noise(8_000 * 60, level=0.1), minutes), 8_000)  # resampled to 16 kHz
    done = alone(tmp_path, HUNGER, tmp_path / "short.wav", tmp_path, tmp_path / "long.wav")
    assert done.returncode == 0, done.stderr
    traced, grown = map(int, done.stdout.split())
    floats = 4 * RATE * 60 * minutes
    assert (tmp_path / "long/shard-00000.tokens").stat().st_size == floats / 4
    assert traced < floats / 8
    assert grown < floats / 2


def test_the_shards_are_all_there_is_to_move(tmp_path):
    """Prepared data are read where they lie, also without the sound."""
    write_many(tmp_path / "in", count=3)
    prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)
    want = tokens_of(tmp_path / "out")
    shutil.rmtree(tmp_path / "in")
    (tmp_path / "out").rename(tmp_path / "moved")
    got = tokens_of(tmp_path / "moved")
    assert all(np.array_equal(got[name], want[name]) for name in want)
    assert json.loads((tmp_path / "moved/prepared.json").read_text())["format"] == module.FORMAT


# Parameters of features and codecs


def test_data_without_parameters_are_described_as_they_were_before_there_were_any():
    """Another key would prepare everybody's data anew."""
    sources = [Source("a.wav", "/x/a.wav", 10, 20, 0)]
    names = "codec classes sample_rate channel trim features feature_channels hop speakers held_out"
    for preparation, key in (
        (Preparation(), "05408f334df7b6fb06afac1ac3221481"),
        (Preparation(features="mel", feature_channels=8, hop=64), "d19323b0d2589ba3358b1eafebf5b2c8"),
        (
            Preparation(codec="pcm", classes=0, trim=-40.0, speakers="folders", channel="1"),
            "95fb47c0f0e0e303e9d1c8161b9ef66c",
        ),
    ):
        assert " ".join(preparation.to_dict()) == names
        assert module._key(sources, preparation) == key


def test_features_and_codecs_are_prepared_with_their_parameters(tmp_path):
    write_many(tmp_path / "in", count=2, length=3000)
    preparation = Preparation(
        codec_parameters={"rounding": "floor"},
        features="mel",
        feature_channels=8,
        hop=128,
        feature_parameters={"window": 512, "low": 100.0, "floor": 1e-3},
    )
    prepare(tmp_path / "in", tmp_path / "out", preparation, workers=1)
    data = Data(tmp_path / "out")
    assert data.preparation == preparation
    assert data.preparation.feature_kind == Mel(bands=8, window=512, low=100.0, floor=1e-3)
    for number, (name, stored) in enumerate(tokens_of(tmp_path / "out").items()):
        wave = audio.load(tmp_path / "in" / name)[0]
        assert np.array_equal(stored, codec.MuLaw(256, rounding="floor").encode(wave).numpy())
        want = mel(wave, MelSettings(RATE, hop=128, bands=8, window=512, low=100.0, floor=1e-3)).numpy()
        assert np.array_equal(data.frames(number, np.arange(len(want))), want)
    usual = Preparation(codec_parameters={"mu": 255}, features="mel", feature_channels=8, hop=128)
    assert "codec_parameters" not in usual.to_dict()
    assert module._key([], preparation) != module._key([], usual)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codec_parameters": {"nu": 1}}, "no parameter 'nu'"),
        ({"codec_parameters": [1]}, "an object of names and values"),
        ({"feature_parameters": {"low": 1.0}}, "without features"),
        ({"features": "mel", "feature_channels": 8, "feature_parameters": {"bins": 1}}, "no parameter 'bins'"),
        ({"features": "mel", "feature_channels": 8, "hop": 4096}, "hop must be"),
        ({"features": "folder", "feature_channels": 8, "feature_parameters": {"low": 1.0}}, "no parameter 'low'"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(changes, message):
    with pytest.raises((InputError, ConfigError), match=message):
        Preparation(**changes)


# The common level


def levels_of(place):
    """Loudness of every prepared file as it decodes, by name."""
    data = Data(place)
    chosen, rate = data.preparation.codec_object, data.preparation.sample_rate
    levels = {}
    for number, file in enumerate(data.files):
        wave = chosen.decode(data.tokens(number, 0, file["samples"]).astype(int))
        levels[file["name"]] = measure([wave.numpy()], rate)
    return levels


def speech_like(seconds=2, level=0.1, seed=0):
    """Noise that comes and goes."""
    count = round(seconds * RATE)
    return level * np.random.default_rng(seed).standard_normal(count) * np.sin(np.arange(count) / 2000) ** 2


def write_levels(folder):
    """The same sound quiet, louder, and with one click that no gain may clip; and one that is silent."""
    wave = speech_like()
    write(folder / "a-quiet.wav", 0.04 * wave, subtype="FLOAT")
    write(folder / "b-loud.wav", 2 * wave, subtype="FLOAT")
    click = 0.1 * wave
    click[9000] = 0.9
    write(folder / "c-click.wav", click, subtype="FLOAT")
    write(folder / "d-silent.wav", 0.0005 * np.sin(np.arange(8000)), subtype="FLOAT")
    return folder


def test_files_of_any_level_are_brought_to_a_common_loudness_and_never_clipped(tmp_path):
    write_levels(tmp_path / "in")
    index = prepare(tmp_path / "in", tmp_path / "out", Preparation(normalize="loudness", classes=65_536), workers=1)
    levels = levels_of(tmp_path / "out")
    assert list(levels) == ["a-quiet.wav", "b-loud.wav", "c-click.wav"]
    assert levels["a-quiet.wav"].loudness == pytest.approx(TARGET_LUFS, abs=0.05)
    assert levels["b-loud.wav"].loudness == pytest.approx(TARGET_LUFS, abs=0.05)
    assert decibels(levels["c-click.wav"].peak) == pytest.approx(HIGHEST_PEAK, abs=0.02)
    assert levels["c-click.wav"].loudness < TARGET_LUFS - 5
    assert "silent: nothing above -60 dB" in dict(index["skipped"])["d-silent.wav"]
    quiet, loud, click = index["files"]
    apart = decibels(2 / 0.04)
    assert quiet["gain_db"] - loud["gain_db"] == pytest.approx(apart, abs=0.02)
    assert loud["loudness"] - quiet["loudness"] == pytest.approx(apart, abs=0.02)
    assert click["peak_db"] == pytest.approx(decibels(0.9), abs=0.01) and click["gain_db"] < 0
    words = levels_in_words(index)
    assert f"loudness {quiet['loudness']:.1f} to {loud['loudness']:.1f} LUFS, brought to -23.0 LUFS" in words
    assert "peaks at most -1.0 dB; 1 of 3 stay quieter" in words


def test_a_nearly_silent_file_is_not_blown_up_beyond_the_bound(tmp_path):
    write(tmp_path / "in/a.wav", speech_like(level=4e-4), subtype="FLOAT")
    index = prepare(tmp_path / "in", tmp_path / "out", Preparation(normalize="loudness"), workers=1)
    assert index["files"][0]["gain_db"] == MOST_GAIN


def test_peaks_can_be_brought_to_a_common_level_instead(tmp_path):
    write_levels(tmp_path / "in")
    index = prepare(tmp_path / "in", tmp_path / "out", Preparation(normalize="peak", classes=65_536), workers=1)
    for level in levels_of(tmp_path / "out").values():
        assert decibels(level.peak) == pytest.approx(HIGHEST_PEAK, abs=0.02)
    assert "brought to a peak of -1.0 dB; peaks at most -1.0 dB" in levels_in_words(index)


def test_tokens_are_the_encoded_sound_times_the_gain(tmp_path):
    write(tmp_path / "in/a.wav", noise(90_000, level=0.02), 22_050)
    index = prepare(tmp_path / "in", tmp_path / "out", Preparation(normalize="loudness"), workers=1)
    gain = np.float32(10 ** (index["files"][0]["gain_db"] / 20))
    wave = audio.load(tmp_path / "in/a.wav", RATE)[0] * gain
    assert np.array_equal(tokens_of(tmp_path / "out")["a.wav"], codec.MuLaw(256).encode(wave).numpy())


def test_frames_and_trimming_see_the_common_level(tmp_path):
    """So files of different levels are trimmed alike, and have the same frames."""
    wave = np.concatenate([1e-3 * noise(20_000), speech_like(), 1e-3 * noise(20_000, 1)])
    how = Preparation(normalize="loudness", trim=-50, features="mel", feature_channels=8, hop=128)
    for name, factor in (("a", 0.05), ("b", 1.0)):
        write(tmp_path / f"in/{name}.wav", factor * wave, subtype="DOUBLE")
    index = prepare(tmp_path / "in", tmp_path / "out", how, workers=1)
    quiet, loud = index["files"]
    assert RATE < quiet["samples"] == loud["samples"] < 40_000
    data = Data(tmp_path / "out")
    rows = np.arange(quiet["frames"])
    assert np.allclose(data.frames(0, rows), data.frames(1, rows), atol=5e-3)  # gains are rounded to 0.01 dB


def test_data_without_a_common_level_are_what_they_were_before_there_was_one(tmp_path):
    """The keys of an early fastwave: shards that it made are not made again."""
    source = [Source("a.wav", "/x/a.wav", 100, 7)]
    keys = {
        "320db249fbd42b4e6539736cf00e244f": Preparation(),
        "3a0e1a44d9b427b82de138bbb353cca7": Preparation(codec_parameters={"mu": 256}),
        "cd40c6f181b70703f45432bdf9f25b42": Preparation(trim=-50.0, features="mel", feature_channels=8, hop=64),
    }
    assert {module._key(source, how): how for how in keys.values()} == keys
    assert module._key(source, Preparation(normalize="peak")) not in keys
    write_many(tmp_path / "in", count=2)
    index = prepare(tmp_path / "in", tmp_path / "out", Preparation(), workers=1)
    assert "normalize" not in index["preparation"]
    names = {"name", "shard", "speaker", "at", "samples", "first_frame", "frames", "held_out_samples"}
    assert set(index["files"][0]) == names
    assert levels_in_words(index) == "levels: as recorded"


def test_a_way_to_normalise_that_does_not_exist_and_text_are_refused():
    with pytest.raises(ConfigError, match="one of off, peak, loudness"):
        Preparation(normalize="loud")
    with pytest.raises(InputError, match="normalize are for sound"):
        Preparation(codec="bytes", sample_rate=0, normalize="peak")


@pytest.mark.parametrize("changes", [{}, {"trim": -30.0}, {"normalize": "loudness"}])
def test_pre_emphasis_crosses_the_blocks_of_the_decoder(tmp_path, changes):
    write(tmp_path / "in/a.wav", noise(150_000, 3), 22_050)
    parameters = {"pre_emphasis": 0.85}
    index = prepare(tmp_path / "in", tmp_path / "out", Preparation(codec_parameters=parameters, **changes), workers=1)
    gain = np.float32(10 ** (index["files"][0].get("gain_db", 0) / 20))
    wave = audio.load(tmp_path / "in/a.wav", RATE)[0] * gain
    expected = codec.MuLaw(256, **parameters).encode(wave).numpy()
    assert np.array_equal(tokens_of(tmp_path / "out")["a.wav"], expected)
