"""`fastwave play`: what is heard is what the model makes, keys change it, and the real PortAudio plays it."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest
import soundfile

import fastwave
from fastwave.cli import play
from fastwave.cli.main import main
from fastwave.distributions import Sampling
from fastwave.sound import audio
from shapes import make_model


class Device:
    """A device of ALSA that plays into a pipe, which is read as fast as it would sound."""

    def __init__(self, folder):
        self.folder, self.played = folder, bytearray()
        pipe = folder / "pipe"
        os.mkfifo(pipe)
        self._pipe = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(self._pipe, 1031, 4096)  # F_SETPIPE_SZ: little waits on the way
        (folder / ".asoundrc").write_text(
            f'pcm.!default {{ type file; slave.pcm "null"; file "{pipe}"; format "raw" }}\n'
        )
        self.environment = {**os.environ, "HOME": str(folder), "OMP_NUM_THREADS": "1"}
        self._is_on = True
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self):
        begun = time.monotonic()
        while self._is_on:
            due = int((time.monotonic() - begun) * 64_000) - len(self.played)
            if due >= 256 and select.select([self._pipe], [], [], 0)[0]:
                self.played += os.read(self._pipe, due // 4 * 4)
            elif due > 6_400:  # nothing came for a while: what is late is not made up for
                begun = time.monotonic() - len(self.played) / 64_000
            else:
                time.sleep(0.002)

    def close(self):
        self._is_on = False
        self._thread.join()
        os.close(self._pipe)

    @property
    def heard(self):
        """What was played as float32, without silence before and behind it."""
        wave = np.frombuffer(bytes(self.played), "<f4")
        sounding = np.flatnonzero(wave)
        return wave[sounding[0] : sounding[-1] + 1]

    def command(self, *options):
        return [sys.executable, "-m", "fastwave", "play", str(self.folder / "tiny"), "--latency", "0.4", *options]


@pytest.fixture
def device(tmp_path):
    """A real sound device of PortAudio."""
    pytest.importorskip("sounddevice", exc_type=(ImportError, OSError))
    opened = Device(tmp_path)
    try:
        probe = "import sounddevice as s; s.check_output_settings(samplerate=16000, channels=1, dtype='float32')"
        known = subprocess.run([sys.executable, "-c", probe], env=opened.environment, capture_output=True, check=False)
        if known.returncode:
            pytest.skip("PortAudio takes no device of ALSA here")
        make_model("categorical").save_pretrained(tmp_path / "tiny")
        yield opened
    finally:
        opened.close()


def test_what_a_real_device_plays_is_what_the_model_makes(device):
    options = ["--seconds", "1.5", "--seed", "3", "--threads", "1", "--record", "kept.wav"]
    run = subprocess.run(
        device.command(*options), env=device.environment, capture_output=True, text=True, cwd=device.folder, check=False
    )
    assert run.returncode == 0, run.stderr
    gaps = int(re.search(r"played 1\.5 s, (\d+) gap", run.stderr)[1])
    alone = fastwave.generate(make_model("categorical"), seconds=1.5, seed=3).samples[0].numpy()
    kept, rate = soundfile.read(device.folder / "kept.wav", dtype="int16")
    assert rate == 16_000 and np.array_equal(kept, audio.sixteen_bits(alone))
    sounding = np.flatnonzero(alone)
    if gaps == 0:  # a busy machine may have gaps, which are counted
        assert np.array_equal(device.heard, alone[sounding[0] : sounding[-1] + 1])
    else:
        assert np.array_equal(device.heard[device.heard != 0], alone[alone != 0])


def test_keys_change_what_is_heard_and_end_it(device):
    """On a terminal: a new seed, a warmer temperature, a pause, the end."""
    terminal, theirs = pty.openpty()
    options = ["--threads", "1", "--record", "kept.wav"]
    process = subprocess.Popen(
        device.command(*options), env=device.environment, stdin=theirs, stderr=theirs, cwd=device.folder
    )
    os.close(theirs)
    shown = ""

    def until(pattern):
        nonlocal shown
        end = time.monotonic() + 60
        while not re.search(pattern, shown):
            assert time.monotonic() < end, shown
            shown += os.read(terminal, 4096).decode()

    until(r"[1-9]\.\d s  temperature 1\.00  seed 0")
    for keys, pattern in [("s", "seed 1"), ("\x1b[A+", r"temperature 1\.10"), ("-", r"1\.05"), (" ", "paused")]:
        os.write(terminal, keys.encode())
        shown = ""
        until(pattern)
    os.write(terminal, b" ")
    shown = ""
    until(r"\d\.\d s  temperature")
    before = re.search(r"(\d+\.\d) s  temperature", shown)[1]
    until(rf" (?!{before})\d+\.\d s  temperature 1\.05  seed 1")  # some of the new sound was heard
    os.write(terminal, b"q")
    until(r"played \d+\.\d s")
    assert process.wait(60) == 0
    os.close(terminal)
    kept, _ = soundfile.read(device.folder / "kept.wav", dtype="int16")
    first = audio.sixteen_bits(fastwave.generate(make_model("categorical"), samples=len(kept)).samples[0].numpy())
    same = np.flatnonzero(kept != first)[0]  # from the new seed on it is another sound
    assert 16_000 <= same < len(kept)


def test_control_c_ends_it_and_keeps_the_recording(device):
    options = ["--threads", "1", "--record", "kept.wav"]
    process = subprocess.Popen(
        device.command(*options), env=device.environment, stderr=subprocess.PIPE, cwd=device.folder
    )
    while len(device.played) < 64_000:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert b"played" in process.stderr.read()
    kept, _ = soundfile.read(device.folder / "kept.wav", dtype="int16")
    alone = fastwave.generate(make_model("categorical"), samples=len(kept)).samples[0].numpy()
    assert len(kept) > 8_000 and np.array_equal(kept, audio.sixteen_bits(alone))


def test_a_device_that_is_lost_keeps_the_recording(monkeypatch, tmp_path, capsys):
    """The one here takes nothing after its first samples."""

    class Lost:
        latency, sample_rate, played, underruns, paused = 0.1, 16_000, 800, 0, False

        def __init__(self, *_):
            self.writes = 0

        def write(self, wave):
            self.writes += 1
            if self.writes > 5:
                raise fastwave.InputError("the sound device has taken no sample for 5 s.")

        __enter__, __exit__ = (lambda self: self), (lambda *_: None)

    monkeypatch.setattr("fastwave.serving.sound_card.SoundCard", Lost)
    make_model("categorical").save_pretrained(tmp_path / "tiny")
    kept = tmp_path / "kept.wav"
    assert main(["play", str(tmp_path / "tiny"), "--threads", "1", "--record", str(kept)]) == 1
    assert "taken no sample" in capsys.readouterr().err
    assert soundfile.info(kept).frames == 5 * 320


class Pressed:
    """Keys that are pressed one after another."""

    def __init__(self, *keys):
        self.keys = list(keys)

    def pressed(self, patience):
        return self.keys.pop(0) if self.keys else None


@pytest.mark.parametrize(
    ("begin", "keys", "end"),
    [
        (1.9, ["up"] * 4, 2.0),
        (0.07, ["down"] * 4, 0.0),
        (1.0, ["up", "-", "down", "+", "+"], 1.05),
        (3.0, ["up"], 3.0),  # above the range of the keys, where --temperature may begin: never further away,
        (3.0, ["down"], 2.95),  # and never back in one jump, which would be heard as a fault
        (3.0, ["down", "down", "up"], 2.9),
    ],
)
def test_the_keys_keep_the_temperature_within_their_range(begin, keys, end):
    request = types.SimpleNamespace(sampling=Sampling(begin), seed=0)
    card = types.SimpleNamespace(paused=False, played=0, sample_rate=16_000, underruns=0)
    play._Performance(request, card, 1)._answer(Pressed(*keys))
    assert request.sampling.temperature == pytest.approx(end, abs=1e-12)


def test_speech_and_music_are_played_on_the_sound_card_too(device):
    command = [sys.executable, "-m", "fastwave", "speak", "Yes.", "--seed", "2"]
    played = subprocess.run([*command, "--play"], env=device.environment, capture_output=True, check=False)
    assert played.returncode == 0, played.stderr
    said = fastwave.speak("Yes.", seed=2).samples[0].numpy()
    assert np.array_equal(device.heard[device.heard != 0], said[said != 0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["pluk"], "pluck"),
        (["pluck", "--latency", "0"], "0.02..2"),
        (["pluck", "--record", "kept.txt"], "suffix"),
        (["pluck", "--record", "no/such/folder/kept.wav"], "no/such/folder"),
        (["pluck", "--prime", "nothing.wav"], "no such file"),
        (["chorale"], "makes text"),
    ],
)
def test_a_mistake_is_answered_by_a_sentence(options, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["play", *options]) == 1
    assert words in capsys.readouterr().err
