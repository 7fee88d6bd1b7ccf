"""The sound card of this machine, through PortAudio (package `sounddevice`, extra `play`)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .ring import Ring

LATENCY = 0.1  # seconds from a sample that is written to its sound
PATIENCE = 5.0  # seconds without a sample taken, after which the sound card counts as gone

Array = npt.NDArray[np.float32]


class SoundCard:
    """Plays what is written to it. The sound begins once its buffer is full; the times when that was empty are counted.

    A sample is heard `latency` seconds after it was written: that is how long the buffer here and that of the device
    are together. The device is on before the sound begins, and fills its own buffer with silence: it takes that much at
    once, and a model that is hardly faster than real time would fall behind at the first samples.
    """

    def __init__(
        self, sample_rate: int, channels: int = 1, latency: float = LATENCY, device: int | str | None = None
    ) -> None:
        self.sample_rate, self.underruns, self.paused = sample_rate, 0, False
        self._taken, self._is_sounding, self._ending, self._is_gap = threading.Event(), False, False, False
        portaudio = _portaudio()
        self._error: type[Exception] = portaudio.PortAudioError
        try:
            self._stream: Any = portaudio.OutputStream(
                samplerate=sample_rate,
                channels=channels,
                dtype="float32",
                latency=latency / 3,
                device=device,
                callback=self._play,
            )
        except (portaudio.PortAudioError, ValueError) as error:
            raise InputError(
                f"no sound device here plays {channels} channel{'s' * (channels > 1)} at {sample_rate} Hz: {error}. "
                "`python -m sounddevice` lists the devices."
            ) from error
        device_latency = float(self._stream.latency)  # what it can do, which may be more
        ours = max(latency - device_latency, device_latency, latency / 2)  # never less than what it takes at a time
        self._ring = Ring(round(ours * sample_rate), channels)
        self.latency = ours + device_latency

    @property
    def played(self) -> int:
        """Samples that the device has taken."""
        return self._ring.taken

    def write(self, block: Array) -> None:
        """Play a block [time] or [time, channels] behind those before it; wait while there is no room for it."""
        rest = block.reshape(len(block), -1)
        while len(rest):
            count = self._ring.write(rest)
            rest = rest[count:]
            if len(rest):
                self._is_sounding = True
                self._wait()

    def finish(self) -> None:
        """Wait until everything that was written has been played."""
        self._ending = self._is_sounding = True
        while self._ring.filled:
            self._wait()
        self._tell(self._stream.stop)

    def __enter__(self) -> SoundCard:
        try:
            self._tell(self._stream.start)
        except InputError:
            self._stream.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def _tell(self, command: Callable[[], None]) -> None:
        try:
            command()
        except self._error as error:
            raise InputError(f"the sound device does not play: {error}.") from error

    def _wait(self) -> None:
        """Until the device has taken samples. While it is paused it takes none, and nothing is wrong."""
        self._taken.clear()
        if not self._taken.wait(PATIENCE) and not self.paused:
            raise InputError(f"the sound device has taken no sample for {PATIENCE:g} s: it is gone, or in use.")

    def _play(self, out: Array, samples: int, time: object, status: Any) -> None:
        """What the device calls, in a thread of its own, for the next samples."""
        if self.paused or not self._is_sounding:
            out[:] = 0
            return
        fell_behind = self._ring.read(out) < samples and not self._ending
        is_gap = bool(fell_behind or (status and status.output_underflow))
        self.underruns += is_gap and not self._is_gap  # one gap, however many calls it lasts
        self._is_gap = is_gap
        self._taken.set()


def has_device() -> bool:
    """Whether this machine has a sound device that can be played on."""
    try:
        portaudio = _portaudio()
        portaudio.query_devices(kind="output")
    except Exception:  # no package, no library, no device; what it is, the one who needs it will say
        return False
    return True


def _portaudio() -> Any:
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise InputError(
            "playing needs the package sounddevice, which is not here: pip install 'fastwave[play]'."
        ) from error
    except OSError as error:  # the package is here, the library that it calls is not
        raise InputError(
            f"sounddevice does not find PortAudio ({error}): install it, on Debian and Ubuntu by "
            "`apt install libportaudio2`."
        ) from error
    return sounddevice
