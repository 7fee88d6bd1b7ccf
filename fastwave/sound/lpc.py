"""Linear prediction from mel frames: the part of speech that its spectrum tells, so that a model learns the rest.

A predictor a of order p says what a sample is from those before it, and its gain g how far off it will be:

    excitation e[t] = (x[t] - sum_k a[k] x[t-k]) / g        `residual`
    wave       x[t] = g e[t] + sum_k a[k] x[t-k]            `Synthesis`, k = 1 .. p

Each stretch of samples has a predictor of its own. Both come from the mel frames alone, so a receiver of frames makes
the same ones: ln magnitudes of the bands are interpolated in time to the middle of the stretch, in frequency to the
bins of a DFT, squared to a power spectrum, and its inverse DFT is the autocorrelation, from which the Levinson
recursion makes the predictor. A power spectrum is never negative, so each filter is stable.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from ..errors import ConfigError, InputError
from .mel import MelSettings, band_centres, magnitudes

Array = npt.NDArray[np.float64]
_ROWS = 256  # power spectra at a time: those of a sentence of 24 s would take 78 MB


@dataclasses.dataclass(frozen=True)
class LpcSettings:
    """Which prediction, beside the mel frames it is made from. Frozen, validated on creation."""

    order: int = 20  # p
    stretch: int = 50  # samples that one predictor serves; the hop of the frames is a multiple of it
    bins: int = 257  # of the power spectrum, from 0 Hz to half the sample rate
    lag_hertz: float = 40.0  # each peak of the spectrum is widened by about so much, so that no harmonic is a resonance
    floor: float = 1.0005  # the autocorrelation at lag 0 is multiplied by it: white noise 33 dB below the sound

    def __post_init__(self) -> None:
        limits = {
            "order": (1, 64),
            "stretch": (1, 4_096),
            "bins": (65, 4_097),
            "lag_hertz": (0, 1_000),
            "floor": (1, 2),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            kinds = int if name in ("order", "stretch", "bins") else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
                raise ConfigError(f"{name} of linear prediction must lie in {low}..{high}, got {str(value)[:80]!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, every field."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LpcSettings:
        """The inverse of `to_dict`. Fields that are absent take their defaults; unknown ones are refused."""
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(str(key) for key in values if key not in known)
        if unknown:
            raise ConfigError(f"unknown setting of linear prediction {unknown[0][:80]!r}; known: {', '.join(known)}.")
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class Predictors:
    """Of every stretch in order: coefficients [stretches, order], a[1] first, and gain [stretches], above 0."""

    coefficients: Array
    gain: Array
    stretch: int

    @property
    def samples(self) -> int:
        """How many samples these predictors serve."""
        return len(self.gain) * self.stretch


def predictors(frames: npt.NDArray[np.floating], mel: MelSettings, settings: LpcSettings | None = None) -> Predictors:
    """Log-mel frames [F, bands] -> predictors of F * hop samples; the last frame stands for what comes after it."""
    settings = settings or LpcSettings()
    if frames.ndim != 2 or frames.shape[1] != mel.bands:
        raise InputError(f"mel frames must have shape [frames, {mel.bands}], got {list(frames.shape)}.")
    if mel.hop % settings.stretch:
        raise ConfigError(f"a hop of {mel.hop} samples is no multiple of stretches of {settings.stretch} samples.")
    correlation = _autocorrelation(_in_between(frames, mel.hop // settings.stretch), mel, settings)
    coefficients, error = levinson(correlation)
    return Predictors(coefficients, np.sqrt(error), settings.stretch)


def levinson(correlation: Array) -> tuple[Array, Array]:
    """Autocorrelations [rows, order + 1] -> predictors [rows, order] and their mean squared errors [rows]."""
    rows, order = len(correlation), correlation.shape[1] - 1
    a, error = np.zeros((rows, order)), correlation[:, 0].copy()
    for k in range(order):
        ahead = correlation[:, k + 1] - np.einsum("rk,rk->r", a[:, :k], correlation[:, k:0:-1])
        reflection = ahead / error
        a[:, :k] -= reflection[:, None] * a[:, :k][:, ::-1]
        a[:, k] = reflection
        error *= 1 - reflection**2
    return a, error


def residual(wave: npt.NDArray[np.floating], predictors: Predictors) -> Array:
    """wave [time] -> excitation [time], which `Synthesis` turns back; before the wave there is silence."""
    count, order = len(wave), predictors.coefficients.shape[1]
    if predictors.samples < count:
        raise InputError(f"these predictors serve {predictors.samples} samples, the wave has {count}.")
    x = np.zeros(order + predictors.samples)
    x[order : order + count] = wave
    past = sliding_window_view(x[:-1], order).reshape(len(predictors.gain), predictors.stretch, order)
    predicted = np.einsum("stk,sk->st", past, predictors.coefficients[:, ::-1])
    current = x[order:].reshape(predicted.shape)
    return np.asarray((current - predicted) / predictors.gain[:, None]).reshape(-1)[:count]


class Synthesis:
    """Excitation -> wave, block after block of any sizes: the same bits for every split.

    No loop runs over samples. What a stretch makes of the samples before it is what it makes of an excitation: of
    that part of the predictions which looks back beyond the start of the stretch. So a stretch is one convolution with
    the response of its filter to a single pulse.
    """

    def __init__(self, predictors: Predictors) -> None:
        self.predictors = predictors
        self.time = 0  # samples made so far
        self._past = np.zeros(predictors.coefficients.shape[1])  # before the current stretch, newest last
        self._excitation = np.zeros(predictors.stretch)  # of the current stretch, as far as `time`
        self._responses = _pulse_responses(predictors)

    def __call__(self, excitation: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """The next samples of excitation [n] -> the wave [n], float32; it may be louder than 1."""
        if self.time + len(excitation) > self.predictors.samples:
            raise InputError(
                f"these predictors serve {self.predictors.samples} samples, {self.time + len(excitation)} are needed."
            )
        wave, made = np.empty(len(excitation), dtype=np.float32), 0
        while made < len(excitation):
            number, begin = divmod(self.time, self.predictors.stretch)
            count = min(self.predictors.stretch - begin, len(excitation) - made)
            self._excitation[begin : begin + count] = excitation[made : made + count]
            stretch = self._stretch(number)
            wave[made : made + count] = stretch[begin : begin + count]
            made, self.time = made + count, self.time + count
            if begin + count == len(stretch):
                self._past = np.concatenate([self._past, stretch])[-len(self._past) :]
        return wave

    def _stretch(self, number: int) -> Array:
        """The wave of the current stretch, right as far as its excitation goes: no sample depends on a later one."""
        driven = self._excitation * self.predictors.gain[number]
        order = len(self._past)
        before = np.convolve(self._past, self.predictors.coefficients[number])[order - 1 :]
        reached = min(order, len(driven))
        driven[:reached] += before[:reached]
        return np.convolve(driven, self._responses[number])[: len(driven)]


def _pulse_responses(predictors: Predictors) -> Array:
    """What each filter makes of a single 1, [stretches, stretch]."""
    a, stretch = predictors.coefficients, predictors.stretch
    order = a.shape[1]
    response = np.zeros((len(a), order + stretch))
    response[:, order] = 1
    for time in range(order + 1, order + stretch):
        response[:, time] = np.einsum("sk,sk->s", response[:, time - order : time], a[:, ::-1])
    return response[:, order:]


def _in_between(frames: npt.NDArray[np.floating], stretches: int) -> Array:
    """Frames [F, bands] -> those in the middle of each stretch, [F * stretches, bands]; the last frame repeats."""
    share = ((np.arange(stretches) + 0.5) / stretches)[:, None]
    left = np.asarray(frames, dtype=np.float64)
    right = np.concatenate([left[1:], left[-1:]])
    return (left[:, None] * (1 - share) + right[:, None] * share).reshape(-1, frames.shape[1])


def _autocorrelation(frames: Array, mel: MelSettings, settings: LpcSettings) -> Array:
    """[rows, bands] -> [rows, order + 1], that at lag 0 is about the mean square of a sample."""
    bins = interpolation(band_centres(mel), np.linspace(0, mel.sample_rate / 2, settings.bins))
    correlation = np.empty((len(frames), settings.order + 1))
    for first in range(0, len(frames), _ROWS):
        logs = np.log(magnitudes(frames[first : first + _ROWS], mel)) @ bins
        power = np.exp(2 * logs) / (mel.window * 3 / 8)  # 3/8 is the mean square of a Hann window
        correlation[first : first + _ROWS] = np.fft.irfft(power)[:, : settings.order + 1]
    lags = 2 * np.pi * settings.lag_hertz / mel.sample_rate * np.arange(settings.order + 1)
    window = np.exp(-0.5 * lags**2)
    window[0] = settings.floor
    return np.asarray(correlation * window)


def interpolation(known: Array, wanted: Array) -> Array:
    """[known, wanted]: the matrix that interpolates values at increasing positions, constant beyond the edges."""
    return np.stack([np.interp(wanted, known, row) for row in np.eye(len(known))])
