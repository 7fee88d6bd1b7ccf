"""How loud a recording is (ITU-R BS.1770-4, as EBU R128 uses it), and the gain that brings it to a common level.

A recording is one channel here, as a model hears it. By the standard the same sound on two loudspeakers counts 3 LU
more. Low sample rates bend the weighting a little: at 16 kHz a tone of 1 kHz counts 0.04 LU more than at 48 kHz. Peaks
are those of the samples, not of the analogue wave between them.
"""

from __future__ import annotations

import functools
import math
import os
from array import array
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..errors import ConfigError
from . import audio

Normalize = Literal["off", "peak", "loudness"]
TARGET_LUFS = -23.0  # of EBU R128
HIGHEST_PEAK = -1.0  # dB: a gain that would lift the peak above it is lowered, so nothing is ever clipped
MOST_GAIN = 40.0  # dB: the hiss of a nearly silent recording is not blown up further
QUIETEST = -70.0  # LUFS: the absolute gate; what is below it counts as this
KNEE = 0.8  # of full scale: below it `bent` changes nothing
SILENT = 1e-3  # -60 dB: a recording whose peak is lower is no sound

_CHUNK = 1 << 16  # samples weighted at a time
_MEMORY_SECONDS = 0.15  # after which the impulse response of the weighting has fallen by 300 dB

Array = npt.NDArray[np.float64]
Waves = Iterable[npt.NDArray[np.float32]]


class Level(NamedTuple):
    """What is measured of a recording."""

    peak: float  # of the samples, 1 at full scale
    loudness: float  # integrated, in LUFS, at least QUIETEST

    def gain_db(self, normalize: Normalize) -> float:
        """What brings the recording to TARGET_LUFS or HIGHEST_PEAK, with both bounds kept; rounded down to 0.01 dB."""
        if normalize == "off" or self.peak == 0:
            return 0.0
        most = min(MOST_GAIN, HIGHEST_PEAK - decibels(self.peak))
        wanted = TARGET_LUFS - self.loudness if normalize == "loudness" else most
        return math.floor(100 * min(wanted, most)) / 100


class Meter:
    """The level of a recording that comes block by block; of each 0.1 s it keeps 8 bytes."""

    def __init__(self, sample_rate: int) -> None:
        self._rate, self._step = sample_rate, max(1, round(sample_rate / 10))
        self._past = np.zeros(math.ceil(_MEMORY_SECONDS * sample_rate))  # samples that still sound in the weighting
        self._rest = np.zeros(0)  # weighted and squared, of the step that is not over
        self._powers = array("d")  # mean squares of the steps
        self._peak = 0.0

    def add(self, wave: npt.NDArray[np.float32]) -> None:
        """The next samples, [time]."""
        for first in range(0, len(wave), _CHUNK):
            chunk = wave[first : first + _CHUNK]
            self._peak = max(self._peak, float(np.abs(chunk).max()))
            squares = np.concatenate([self._rest, self._weighted(chunk) ** 2])
            whole = len(squares) // self._step * self._step
            self._powers.extend(squares[:whole].reshape(-1, self._step).mean(axis=1))
            self._rest = squares[whole:]

    def level(self) -> Level:
        """Of all that was added. A recording shorter than a block of 0.4 s is one block."""
        steps = np.array(self._powers)
        if len(steps) >= 4:
            blocks = np.convolve(steps, np.full(4, 0.25), mode="valid")
        else:
            total = steps.sum() * self._step + self._rest.sum()
            blocks = np.array([total / max(1, len(steps) * self._step + len(self._rest))])
        audible = blocks[blocks > _power(QUIETEST)]
        if not len(audible):
            return Level(self._peak, QUIETEST)
        gated = audible[audible > 0.1 * audible.mean()]  # the relative gate: 10 LU below the mean
        return Level(self._peak, 10 * math.log10(gated.mean()) - 0.691)

    def _weighted(self, wave: npt.NDArray[np.float32]) -> Array:
        """The K-weighting of the next samples, by overlap-save."""
        heard = np.concatenate([self._past, wave])
        size = 1 << (len(heard) - 1).bit_length()
        weighted: Array = np.fft.irfft(np.fft.rfft(heard, size) * _response(self._rate, size), size)
        weighted = weighted[len(self._past) : len(heard)]
        self._past = heard[len(wave) :]
        return weighted


@functools.lru_cache(maxsize=8)
def _response(rate: int, size: int) -> npt.NDArray[np.complex128]:
    """The K-weighting at the frequencies of a Fourier transform of `size` samples.

    Two sections of second order, from the analogue filters whose bilinear transform at 48 kHz the standard tabulates; a
    section whose corner lies above half the sample rate is left out.
    """
    result = np.ones(size // 2 + 1, dtype=np.complex128)
    for numerator, denominator in weighting(rate):
        result *= np.fft.rfft(numerator, size) / np.fft.rfft(denominator, size)
    return result


def weighting(rate: int) -> list[tuple[list[float], list[float]]]:
    """Numerator and denominator of the two sections of the K-weighting, a shelf and a high pass."""
    sections = []
    corner, quality, high = 1681.974450955533, 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    if 2 * corner < rate:
        k, band = math.tan(math.pi * corner / rate), high**0.4996667741545416
        a0, a1, a2 = 1 + k / quality + k * k, 2 * (k * k - 1), 1 - k / quality + k * k
        b = [high + band * k / quality + k * k, 2 * (k * k - high), high - band * k / quality + k * k]
        sections.append(([each / a0 for each in b], [1.0, a1 / a0, a2 / a0]))
    corner, quality = 38.13547087602444, 0.5003270373238773
    if 2 * corner < rate:
        k = math.tan(math.pi * corner / rate)
        a0, a1, a2 = 1 + k / quality + k * k, 2 * (k * k - 1), 1 - k / quality + k * k
        sections.append(([1.0, -2.0, 1.0], [1.0, a1 / a0, a2 / a0]))
    return sections


def measure(waves: Waves, sample_rate: int) -> Level:
    """The level of a recording at a rate, in blocks [time]."""
    meter = Meter(sample_rate)
    for wave in waves:
        meter.add(wave)
    return meter.level()


def scaled(waves: Waves, gain_db: float) -> Iterator[npt.NDArray[np.float32]]:
    """The blocks times a gain."""
    factor = np.float32(10 ** (gain_db / 20))
    return (wave * factor if gain_db else wave for wave in waves)


def blocks(
    path: str | os.PathLike[str], sample_rate: int, normalize: Normalize = "off", channel: int | str = "mix"
) -> Iterator[npt.NDArray[np.float32]]:
    """A file at a rate and at the common level, float32 [time] at a time: decoded twice, never held."""
    gain = 0.0
    if normalize != "off":
        gain = measure(audio.blocks(path, sample_rate, channel), sample_rate).gain_db(normalize)
    return scaled(audio.blocks(path, sample_rate, channel), gain)


def load(path: str | os.PathLike[str], sample_rate: int, normalize: Normalize = "off") -> Tensor:
    """A file at a rate and at the common level, float32 [time]."""
    wave, _ = audio.load(path, sample_rate)
    if normalize != "off":
        wave *= 10 ** (measure([wave.numpy()], sample_rate).gain_db(normalize) / 20)
    return wave


def bent(wave: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Samples that never pass full scale. Above the knee the curve bends, so that it reaches full scale only for
    infinitely loud sound: one that is loud already is compressed, never clipped. It remembers nothing, so that no loud
    moment makes its neighbours quieter.
    """
    magnitude = np.abs(wave)
    if magnitude.max(initial=0.0) <= KNEE:
        return wave
    over = np.maximum(magnitude - KNEE, 0) / (1 - KNEE)
    return np.where(magnitude > KNEE, np.copysign(KNEE + (1 - KNEE) * over / (1 + over), wave), wave).astype(np.float32)


def decibels(peak: float) -> float:
    """dB of full scale."""
    return 20 * math.log10(peak) if peak else -math.inf


def check(normalize: object) -> None:
    """Refuse what is not one of the ways to normalise."""
    if normalize not in get_args(Normalize):
        raise ConfigError(f"normalize is one of {', '.join(get_args(Normalize))}, got {str(normalize)[:80]!r}.")


def _power(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))
