"""`fastwave serve` as a process: addresses, signals, tokens, and a missing package."""

import argparse
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from fastwave.cli.main import main
from shapes import make_model

httpx = pytest.importorskip("httpx")
pytest.importorskip("uvicorn")


class Process:
    """A server as a process, which says its address on standard error."""

    def __init__(self, folder, *arguments):
        command = [sys.executable, *arguments]
        self.process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        self.lines = []
        self._told = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()
        self.address = self.line_with(r"http://127\.0\.0\.1:\d+")

    def _read(self):
        for line in self.process.stderr:
            with self._told:
                self.lines.append(line)
                self._told.notify()

    def line_with(self, pattern):
        """What matches in a line of standard error, once there is one."""
        with self._told:
            found = None
            while found is None:
                found = next((match[0] for line in self.lines if (match := re.search(pattern, line))), None)
                assert found or self._told.wait(120), self.lines
            return found

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(120)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def process(tmp_path):
    """A server of two models, on a free port."""
    for name, seed in (("tiny", 0), ("other", 1)):
        make_model("categorical", seed=seed).save_pretrained(tmp_path / name)
    models = [str(tmp_path / "tiny"), str(tmp_path / "other")]
    with Process(tmp_path, "-m", "fastwave", "serve", *models, "--port", "0", "--streams", "4") as started:
        yield started


# A server whose catalogs are loaded by hand: each load says when it begins and ends, and after which catalog.
LOADS_BY_HAND = """
import pathlib, sys, time
from fastwave.serving import server
from fastwave.serving.catalog import Catalog

loaded = []

def load(before):
    number = len(loaded)
    loaded.append(Catalog([]))
    after = loaded.index(before) if before else None
    print(f"load {number} begins, after {after}", file=sys.stderr, flush=True)
    while not pathlib.Path(f"go{number}").exists():
        time.sleep(0.01)
    if pathlib.Path(f"go{number}").read_text():
        raise RuntimeError("no error of ours")
    print(f"load {number} ends", file=sys.stderr, flush=True)
    return loaded[number]

def ready(catalog, port):
    print(f"http://127.0.0.1:{port}", file=sys.stderr, flush=True)

server.serve(server.bound("127.0.0.1", 0), load, ready=ready)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_stopped_first_ends_its_streams(process, number):
    body = {"model": "tiny", "samples": 30_000, "seed": 2}
    with httpx.stream("POST", f"{process.address}/v1/generate", json=body, timeout=120) as answer:
        parts = answer.iter_bytes()
        first = next(parts)
        process.process.send_signal(number)
        whole = first + b"".join(parts)
    assert len(whole) == 44 + 2 * 30_000
    assert process.process.wait(120) == 0
    assert "Traceback" not in "".join(process.lines)


def test_a_hangup_loads_the_models_again(process, tmp_path):
    def ask():
        body = {"model": "tiny", "samples": 200}
        return httpx.post(f"{process.address}/v1/generate", json=body, timeout=60).content

    before = ask()
    assert ask() == before
    make_model("categorical", seed=9).save_pretrained(tmp_path / "tiny")
    process.process.send_signal(signal.SIGHUP)
    process.line_with("loaded again: tiny, other")
    assert ask() != before
    (tmp_path / "other" / "model.safetensors").write_bytes(b"damaged")
    process.process.send_signal(signal.SIGHUP)
    process.line_with("stay as they were")
    assert len(ask()) == len(before)
    assert process.end() == 0


def test_a_hangup_that_fails_by_whatever_error_changes_nothing(tmp_path):
    (tmp_path / "go0").touch()
    (tmp_path / "go1").write_text("fail")
    (tmp_path / "go2").touch()
    with Process(tmp_path, "-c", LOADS_BY_HAND) as process:
        process.process.send_signal(signal.SIGHUP)
        process.line_with("stay as they were: no error of ours")
        assert httpx.get(f"{process.address}/health").status_code == 200
        process.process.send_signal(signal.SIGHUP)
        process.line_with("load 2 begins, after 0")  # the one before is still the first
        process.line_with("loaded again")
        assert process.end() == 0


def test_two_hangups_at_once_are_one_after_the_other(tmp_path):
    (tmp_path / "go0").touch()
    with Process(tmp_path, "-c", LOADS_BY_HAND) as process:
        process.process.send_signal(signal.SIGHUP)
        process.line_with("load 1 begins, after 0")
        process.process.send_signal(signal.SIGHUP)
        assert httpx.get(f"{process.address}/health").status_code == 200  # it answers meanwhile
        (tmp_path / "go2").touch()
        for _ in range(20):
            assert httpx.get(f"{process.address}/health").status_code == 200
        (tmp_path / "go1").touch()
        process.line_with("load 2 ends")
        assert process.end() == 0
    loads = [line.strip() for line in process.lines if line.startswith("load ")]
    assert loads[2:] == ["load 1 begins, after 0", "load 1 ends", "load 2 begins, after 1", "load 2 ends"]


def test_freed_memory_and_replaced_models_are_let_go_again_and_again(tmp_path):
    (tmp_path / "go0").touch()
    tidying = """
from fastwave.serving import app, server as serving
serving.TIDY_SECONDS = 0.02
serving.library.give_back_memory = lambda: print("given back", file=sys.stderr, flush=True)
app.Server.forget_ended = lambda self: print("forgotten", file=sys.stderr, flush=True)
"""
    with Process(tmp_path, "-c", LOADS_BY_HAND.replace("\nserver.serve(", f"{tidying}\nserver.serve(")) as process:
        process.line_with("given back")
        process.lines.clear()
        process.line_with("forgotten")
        process.line_with("given back")
        assert process.end() == 0


def test_places_are_measured_once_and_kept_when_everything_is_loaded_again(tmp_path, monkeypatch):
    """While streams run, a measurement would find the machine busy, and give away too few places for ever."""
    from fastwave.cli import serve as verb
    from fastwave.serving import catalog

    make_model("categorical").save_pretrained(tmp_path / "tiny")
    options = argparse.Namespace(
        models=[str(tmp_path / "tiny"), "hazel"], streams=None, threads=1, backend="auto", dtype="float32"
    )
    monkeypatch.setattr(catalog, "_sustained", lambda engine: 7)
    monkeypatch.setattr(catalog, "_speed", lambda voice: 5 / catalog.MARGIN)
    first = verb._catalog(options, None)
    monkeypatch.setattr(catalog, "_sustained", lambda engine: pytest.fail("measured again"))
    monkeypatch.setattr(catalog, "_speed", lambda voice: pytest.fail("measured again"))
    again = verb._catalog(options, first)
    assert [entry.streams for entry in first] == [entry.streams for entry in again] == [7, 5]
    options.streams = 3  # what was said beforehand is no measurement
    assert [entry.streams for entry in verb._catalog(options, first)] == [3, 3]


def test_a_name_that_is_served_twice_is_refused(tmp_path, capsys):
    for folder in ("a", "b"):
        make_model("categorical").save_pretrained(tmp_path / folder / "same")
    assert (
        main(["serve", str(tmp_path / "a" / "same"), str(tmp_path / "b" / "same"), "--port", "0", "--streams", "1"])
        == 1
    )
    assert "same name" in capsys.readouterr().err


def test_a_model_that_follows_features_is_refused(tmp_path, capsys):
    make_model("gaussian-repeat").save_pretrained(tmp_path / "vocoder")
    assert main(["serve", str(tmp_path / "vocoder"), "--port", "0"]) == 1
    assert "follows features" in capsys.readouterr().err


def test_a_port_that_is_taken_is_refused(tmp_path, capsys):
    from fastwave.serving import server

    with server.bound("127.0.0.1", 0) as place:
        port = place.getsockname()[1]
        assert main(["serve", "pluck", "--port", str(port)]) == 1
    assert f"port {port}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"), [("", "one word"), ("two words", "one word"), ("short", "8"), ("ä" * 9, "cannot")]
)
def test_a_token_that_is_none_is_refused(tmp_path, capsys, content, words):
    (tmp_path / "token").write_text(content)
    assert main(["serve", "pluck", "--port", "0", "--token-file", str(tmp_path / "token")]) == 1
    assert words in capsys.readouterr().err


def test_a_package_that_is_missing_is_named_with_its_cure(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "pluck", "--port", "0", "--streams", "1"]) == 1
    assert "pip install 'fastwave[serve]'" in capsys.readouterr().err


def test_a_name_that_is_not_known_is_refused_before_torch_is_imported(tmp_path):
    command = [sys.executable, "-X", "importtime", "-m", "fastwave", "serve", "pluk"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ}, check=False)
    assert answer.returncode == 1 and "pluck" in answer.stderr and " torch\n" not in answer.stderr
