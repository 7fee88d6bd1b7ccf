"""The sound card: what is written is played, in order and whole; gaps are counted; faults are sentences."""

import sys
import threading
import types

import numpy as np
import pytest

from fastwave import InputError
from fastwave.serving import sound_card
from fastwave.serving.ring import Ring
from fastwave.serving.sound_card import SoundCard

RATE = 16_000


def test_a_ring_gives_what_it_was_given_whatever_the_sizes():
    picks = np.random.default_rng(0)
    ring, whole, read = Ring(37, 2), np.random.default_rng(1).random((2_000, 2), dtype=np.float32), []
    place = 0
    while sum(map(len, read)) < len(whole):
        place += ring.write(whole[place : place + int(picks.integers(0, 60))])
        assert 0 <= ring.filled <= ring.size
        out = np.full((int(picks.integers(1, 60)), 2), 9, np.float32)
        count = ring.read(out)
        assert not out[count:].any()
        read.append(out[:count])
    assert np.array_equal(np.concatenate(read), whole)


class Device:
    """A sound device that asks for samples when the test says so, or for ever in a thread."""

    def __init__(self, callback, channels, latency, **_):
        self.callback, self.channels, self.latency = callback, channels, latency
        self.played, self.is_on, self.is_closed, self._thread = [], False, False, None

    def ask(self, samples=80):
        out = np.full((samples, self.channels), 9, np.float32)
        self.callback(out, samples, None, None)
        self.played.append(out)

    def start(self):
        assert not self.is_on
        self.is_on = True
        if Device.runs:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def _run(self):
        while self.is_on:
            self.ask()
            threading.Event().wait(0.001)

    def stop(self):
        self.is_on = False

    def close(self):
        self.is_on, self.is_closed = False, True
        if self._thread is not None:
            self._thread.join(60)

    runs = True


class Portaudio(types.ModuleType):
    PortAudioError = OSError

    def OutputStream(self, **settings):
        self.device = Device(**settings)
        return self.device


@pytest.fixture
def portaudio(monkeypatch):
    module = Portaudio("sounddevice")
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    monkeypatch.setattr(Device, "runs", True)
    return module


def test_what_is_written_is_played_whole_and_in_order(portaudio):
    wave = np.random.default_rng(0).random(9_000, dtype=np.float32) + 1  # never silent
    with SoundCard(RATE) as card:
        for block in np.split(wave, [1, 700, 5_000]):
            card.write(block)
        card.finish()
    played = np.concatenate(portaudio.device.played)[:, 0]
    assert np.array_equal(played[played != 0], wave)
    assert card.played == 9_000 and card.underruns == 0


def test_it_begins_when_its_memory_is_full_and_counts_gaps(portaudio, monkeypatch):
    monkeypatch.setattr(Device, "runs", False)
    with SoundCard(RATE, latency=0.1) as card:
        size = card._ring.size
        card.write(np.ones(size, np.float32))
        portaudio.device.ask(20)  # it is full, and nothing more has come
        assert not portaudio.device.played[-1].any() and card._ring.filled == size
        writer = threading.Thread(target=card.write, args=(np.ones(10, np.float32),))
        writer.start()
        while not card._is_sounding:
            assert writer.is_alive()
        assert card.underruns == 0
        portaudio.device.ask(20)
        writer.join(60)
        assert not writer.is_alive() and card.underruns == 0
        while card._ring.filled:
            portaudio.device.ask(1)
        assert card.underruns == 0
        for _ in range(3):  # one gap
            portaudio.device.ask(20)
        assert card.underruns == 1
        card.write(np.ones(30, np.float32))
        portaudio.device.ask(20)
        portaudio.device.ask(20)  # the second one
        assert card.underruns == 2
        card.write(np.ones(30, np.float32))
        card.paused = True
        portaudio.device.ask(20)
        assert card.underruns == 2 and not portaudio.device.played[-1].any()


def test_a_model_that_is_hardly_fast_enough_begins_without_a_gap(portaudio, monkeypatch):
    """On a device that at first takes as much as there is room for in its own memory."""
    monkeypatch.setattr(Device, "runs", False)
    usual_start = Device.start
    monkeypatch.setattr(Device, "start", lambda device: (usual_start(device), device.ask(RATE // 5)))
    wave, chunk = np.ones(RATE, np.float32), 320
    with SoundCard(RATE, latency=0.1) as card:
        device = portaudio.device
        monkeypatch.setattr(card, "_wait", device.ask)
        for block in np.split(wave, range(chunk, len(wave), chunk)):
            card.write(block)
            if device.is_on:
                device.ask(chunk)  # while the model makes the next one
        assert card.underruns == 0
        card.finish()
    played = np.concatenate(device.played)[:, 0]
    first, last = np.flatnonzero(played)[[0, -1]]
    assert np.array_equal(played[first : last + 1], wave)


@pytest.mark.parametrize("latency", [0.02, 0.1, 0.7])
def test_its_latency_is_what_was_asked_for(portaudio, latency):
    with SoundCard(RATE, latency=latency) as card:
        assert card.latency == pytest.approx(latency, rel=0.01)
        assert card._ring.size / RATE + portaudio.device.latency == pytest.approx(latency, rel=0.01)


def test_a_device_that_takes_nothing_is_reported(portaudio, monkeypatch):
    monkeypatch.setattr(Device, "runs", False)
    monkeypatch.setattr(sound_card, "PATIENCE", 0.05)
    with SoundCard(RATE) as card, pytest.raises(InputError, match="taken no sample"):
        card.write(np.ones(RATE, np.float32))


def test_a_slow_device_finds_enough_for_each_of_its_calls(portaudio, monkeypatch):
    """One that takes 200 ms at a time, where 100 ms were asked for."""
    monkeypatch.setattr(portaudio, "OutputStream", lambda **settings: Device(**{**settings, "latency": 0.2}))
    with SoundCard(RATE, latency=0.1) as card:
        assert card._ring.size >= 0.2 * RATE and card.latency >= 0.4


def test_gaps_that_the_device_reports_are_counted(portaudio, monkeypatch):
    monkeypatch.setattr(Device, "runs", False)
    with SoundCard(RATE) as card:
        monkeypatch.setattr(card, "_wait", portaudio.device.ask)
        card.write(np.ones(card._ring.size + 1, np.float32))  # the sound has begun
        for late in (False, True, True, False):
            out = np.zeros((10, 1), np.float32)
            portaudio.device.callback(out, 10, None, types.SimpleNamespace(output_underflow=late))
    assert card.underruns == 1


def test_a_device_that_does_not_start_is_reported(portaudio, monkeypatch):
    def refuses(self):
        raise OSError("device is in use")

    monkeypatch.setattr(Device, "start", refuses)
    with pytest.raises(InputError, match="in use"), SoundCard(RATE):
        pass
    assert portaudio.device.is_closed


def test_a_machine_without_a_device_is_told_so(portaudio, monkeypatch):
    def refuses(**_):
        raise OSError("Error querying device -1")

    monkeypatch.setattr(portaudio, "OutputStream", refuses)
    with pytest.raises(InputError, match=r"no sound device here plays 1 channel at 16000 Hz: Error querying"):
        SoundCard(RATE)


def test_a_missing_package_is_named_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(InputError, match=r"pip install 'fastwave\[play\]'"):
        SoundCard(RATE)


def test_a_missing_library_is_named_with_its_cure(monkeypatch, tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(InputError, match="apt install libportaudio2"):
        SoundCard(RATE)


def test_whether_there_is_a_device_is_known_without_a_failure(portaudio, monkeypatch):
    monkeypatch.setattr(portaudio, "query_devices", lambda kind: {"name": kind}, raising=False)
    assert sound_card.has_device()
    monkeypatch.delattr(portaudio, "query_devices")
    assert not sound_card.has_device()
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert not sound_card.has_device()
