"""Sound -> log-mel spectrogram, the local features that a vocoder is conditioned on.

Frame i is centred on sample i*hop, with zeros before the start and after the end, so a wave of T samples has
ceil(T / hop) frames, however short it is. A frame is, in this order:

    spectrum   magnitudes (not squared) of the DFT of `window` samples under a periodic Hann window, unscaled
    value      the spectrum through `bands` triangles, evenly spaced in Slaney's mel from low to high, each of area 1
               over frequency in Hz
    frame      1 - 2 * ln(max(value, floor)) / ln(floor)

so that silence is exactly -1, a value of 1 is 1, and loud sound is a little above. The inverse is
value = floor ** ((1 - frame) / 2). The values are those that librosa.feature.melspectrogram computes with power=1,
center=True and pad_mode="constant".
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import ConfigError, InputError

# These limits keep memory (most of it the filter bank) below a GiB, whatever a damaged file says.
MAX_SAMPLE_RATE = 768_000
MAX_WINDOW = 65_536
MAX_BANDS = 1_024
GROUP = 64  # frames computed at a time, always as many: rounding may depend on the shape of an FFT or a matrix product

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class MelSettings:
    """Which spectrogram. Frozen, validated on creation, exact in and out of JSON."""

    sample_rate: int
    hop: int = 256  # samples from one frame to the next
    bands: int = 80  # values a frame
    window: int = 1024  # samples that one frame is computed from
    low: float = 0.0  # Hz, where the lowest band begins
    high: float | None = None  # Hz, where the highest band ends; None: the Nyquist frequency
    floor: float = 1e-5  # smaller values count as silence; 1e-5 is 100 dB under a value of 1

    def __post_init__(self) -> None:
        self._check_sizes()
        self._check_frequencies()
        self._check_bands()

    @property
    def highest(self) -> float:
        """Hz, where the highest band ends."""
        return self.sample_rate / 2 if self.high is None else self.high

    def frames(self, samples: int) -> int:
        """How many frames a wave of so many samples has: every sample position i*hop inside it has one."""
        return -(-samples // self.hop)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, every field."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MelSettings:
        """The inverse of `to_dict`. Fields that are absent take their defaults; unknown ones are refused."""
        if not isinstance(values, Mapping):
            raise ConfigError(f"mel settings are a JSON object, got {type(values).__name__}.")
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(str(key) for key in values if key not in known)
        if unknown:
            raise ConfigError(
                f"unknown mel setting {', '.join(map(repr, unknown))[:200]}; this version knows "
                f"{', '.join(sorted(known))}. The file may come from a newer fastwave."
            )
        if "sample_rate" not in values:
            raise ConfigError("mel settings need sample_rate, in Hz.")
        return cls(**values)

    def _check_sizes(self) -> None:
        _require_integer("sample_rate", self.sample_rate, 1, MAX_SAMPLE_RATE)
        _require_integer("window", self.window, 2, MAX_WINDOW)
        _require_integer("hop", self.hop, 1, self.window)  # with a longer hop some samples would lie in no frame
        _require_integer("bands", self.bands, 1, MAX_BANDS)
        if self.window % 2:
            raise ConfigError(f"window must be even, to have a middle sample, got {self.window}.")

    def _check_frequencies(self) -> None:
        for name in ("low", "floor") if self.high is None else ("low", "high", "floor"):
            object.__setattr__(self, name, _finite(name, getattr(self, name)))
        if not 0 <= self.low < self.highest <= self.sample_rate / 2:
            raise ConfigError(
                f"low and high must keep 0 <= low < high <= {self.sample_rate / 2:g} Hz, half the sample rate; "
                f"got low={self.low:g}, high={self.highest:g}."
            )
        # a subnormal floor has lost digits; at 1 the formula divides by zero, and above 1 it turns loud into quiet
        if not 1e-300 <= self.floor < 1:
            raise ConfigError(f"floor must be 1e-300 up to 1, such as 1e-5, got {self.floor:g}.")

    def _check_bands(self) -> None:
        """Refuse a band that lies between two bins of the DFT: it would be silent for every sound."""
        edges = _band_edges(self) * (self.window / self.sample_rate)  # in bins
        empty = np.flatnonzero(np.floor(edges[:-2]) + 1 >= edges[2:])
        if len(empty):
            raise ConfigError(
                f"{self.bands} bands from {self.low:g} to {self.highest:g} Hz are too narrow for a window of "
                f"{self.window} samples at {self.sample_rate} Hz: {len(empty)} of them, starting with "
                f"band {empty[0]}, would hear nothing. Ask for fewer bands or a longer window."
            )


def mel(wave: Tensor, settings: MelSettings) -> Tensor:
    """[time] floats, full scale 1 -> log-mel frames by the formula of this file, float32 [ceil(time / hop), bands]."""
    if not isinstance(wave, Tensor) or not wave.is_floating_point() or wave.ndim != 1:
        raise InputError(f"a wave must be a float tensor [time], one sound at a time, got {_described(wave)}.")
    groups = list(mel_blocks([wave.detach().cpu().float().numpy()], settings))
    return torch.cat(groups) if groups else torch.empty(0, settings.bands, dtype=torch.float32, device="cpu")


def mel_blocks(chunks: Iterable[npt.NDArray[np.float32]], settings: MelSettings) -> Iterator[Tensor]:
    """The frames of `mel` for a wave that comes in float32 chunks [time], any sizes -> [frames, bands] at a time.

    The same bits for every chunking, in memory that does not grow with the length of the wave. The caller may
    reuse the memory of a chunk once the next one is asked for.
    """
    window, hop = settings.window, settings.hop
    hann, bank = torch.from_numpy(_hann(window)), torch.from_numpy(_filter_bank(settings))
    buffer = np.zeros((GROUP - 1) * hop + window, dtype=np.float32)  # of the next GROUP frames; zeros from `filled` on
    filled = window // 2  # the zeros before the start
    samples = emitted = 0
    for chunk in chunks:
        _check_chunk(chunk, samples)
        taken = 0
        while taken < len(chunk):
            part = chunk[taken : taken + len(buffer) - filled]
            buffer[filled : filled + len(part)] = part
            filled, taken, samples = filled + len(part), taken + len(part), samples + len(part)
            if filled == len(buffer):
                yield _frames(buffer, hann, bank, settings)
                emitted += GROUP
                filled = _advance(buffer, GROUP * hop)
    while emitted < settings.frames(samples):  # up to GROUP - 1 + window / (2 * hop) are left
        yield _frames(buffer, hann, bank, settings)[: settings.frames(samples) - emitted]
        emitted += GROUP
        _advance(buffer, GROUP * hop)


def magnitudes(frames: Array, settings: MelSettings) -> Array:
    """Frames [F, bands] -> the mean magnitude of a DFT bin in each band, [F, bands] float64."""
    values: Array = settings.floor ** ((1 - np.asarray(frames, dtype=np.float64)) / 2)
    return np.asarray(values / _filter_bank(settings).sum(axis=0))


def band_centres(settings: MelSettings) -> Array:
    """Hz at which each band peaks, [bands]."""
    return _band_edges(settings)[1:-1]


def _frames(buffer: Array, hann: Tensor, bank: Tensor, settings: MelSettings) -> Tensor:
    """[(GROUP-1)*hop + window] -> [GROUP, bands] float32."""
    # in float64, as hann and bank are: the only rounding that shows is the last one, to float32
    windows = torch.from_numpy(buffer).unfold(0, settings.window, settings.hop) * hann
    values: Tensor = torch.fft.rfft(windows).abs() @ bank
    logs = values.clamp(min=settings.floor).log()
    return (1 - logs * (2 / math.log(settings.floor))).float()


def _advance(buffer: Array, count: int) -> int:
    """Drop the oldest samples and put zeros behind the rest -> the number of samples in the rest."""
    kept = len(buffer) - count
    buffer[:kept] = buffer[count:].copy()
    buffer[kept:] = 0
    return kept


def _hann(window: int) -> Array:
    """Periodic: one period of a cosine is `window` samples, so that its peak is the middle sample."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)


def _filter_bank(settings: MelSettings) -> Array:
    """[window/2 + 1, bands]: the triangle of every band at the frequency of every bin."""
    edges = _band_edges(settings)
    lower, middle, upper = edges[:-2], edges[1:-1], edges[2:]
    bins = np.arange(settings.window // 2 + 1)[:, None] * (settings.sample_rate / settings.window)
    triangles = np.minimum((bins - lower) / (middle - lower), (upper - bins) / (upper - middle))
    bank: Array = np.maximum(triangles, 0) * (2 / (upper - lower))
    return bank


def _band_edges(settings: MelSettings) -> Array:
    """[bands + 2] Hz: band b begins at edge b, peaks at b+1 and ends at b+2."""
    return _hertz(np.linspace(_mels(settings.low), _mels(settings.highest), settings.bands + 2))


# Slaney's scale: 15 mels up to 1 kHz, evenly; above it 27 mels for every factor of 6.4.


def _mels(hertz: float) -> float:
    return hertz * 15 / 1000 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def _hertz(mels: Array) -> Array:
    return np.where(mels < 15, mels * 1000 / 15, 1000 * 6.4 ** ((mels - 15) / 27))


def _check_chunk(chunk: Any, first: int) -> None:
    if not isinstance(chunk, np.ndarray) or chunk.dtype != np.float32 or chunk.ndim != 1:
        raise InputError(f"a chunk of a wave must be a float32 array [time], got {_described(chunk)}.")
    finite = np.isfinite(chunk)
    if not finite.all():
        where = first + int(np.argmin(finite))
        raise InputError(f"sample {where} of the wave is {chunk[where - first]}: a spectrum needs finite samples.")


def _described(value: Any) -> str:
    if isinstance(value, (Tensor, np.ndarray)):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {list(value.shape)}"
    return type(value).__name__


def _require_integer(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name} must be a whole number {low}..{high}, got {str(value)[:80]!r}.")


def _finite(name: str, value: Any) -> float:
    # the comparison first: float() of a whole number beyond 1e308 raises
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= 1e300:
        raise ConfigError(f"{name} must be a finite number, got {str(value)[:80]!r}.")
    return float(value)
