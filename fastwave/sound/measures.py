"""Measures of one sound: level, clipping, silence, noise, clicks, pitch, and whether it is stuck; numpy only.

`Measures` lists them with one line of meaning each; docs/judging.md says what values are good. Levels are in dB of full
scale, an amplitude of 1; digital silence is -120 dB.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import pitch
from .loudness import measure

Array = NDArray[np.float64]

SILENT_DB = -60.0  # a frame below this level is silent
FULL_SCALE = 0.999  # samples from here on are at full scale: the largest of 16 bits is 0.99997
CLIPPED_SAMPLES = 3  # so many in a row are a clipped run: one alone is the peak of a normalised file
HISS_HERTZ = 4000.0  # hiss is what lies above
_FRAME_SECONDS = 0.020
_QUIET_SHARE = 0.1  # of the frames: their loudest is the noise floor, and hiss is measured in them
_CLICK_RATIO = 10.0  # a click's jump over the root mean square of the jumps around it; white noise stays below 6
_CLICK_JUMP = 0.01  # smaller jumps are not heard as clicks
_CLICK_SECONDS = 0.020  # around a jump, on each side
_CLICK_PART = 1 << 20  # samples looked at together
_MOST_FRAMES = 3000  # of 20 ms, whose spectra are averaged
_VOICED_DB = -40.0  # frames this far below the loud ones have no pitch
_LOUD_PERCENTILE = 95.0  # of the frames' levels: the loud frames
_PART_SECONDS = 4.0  # repetition is looked for in parts this long
_SHORTEST_REPEAT, _LONGEST_REPEAT = 0.020, 1.0  # seconds
_BANDS = 24  # of the spectra that tell whether a sound changes
_BAND_FRAME_SECONDS, _BAND_FRAMES = 0.050, 10  # each spectrum is the mean over half a second
_BAND_RANGE_DB = 60.0  # what is further below the loudest band of all is not heard beside it
_SAME_DB = 3.0  # spectra that differ by less, as a root mean square over the bands, are the same sound


@dataclasses.dataclass(frozen=True)
class Measures:
    """One sound. A measure that does not exist for it, such as the pitch of noise, is None."""

    seconds: float  # duration
    sample_rate: int  # Hz
    peak_db: float  # the largest sample
    rms_db: float  # root mean square of all samples
    loudness_lufs: float  # as loud as it is heard, by ITU-R BS.1770
    loud_db: float  # the level that one frame in twenty exceeds
    silent_share: float  # share of 20 ms frames below -60 dB
    noise_floor_db: float  # the level that the quietest tenth of the frames stays below
    hiss_db: float | None  # level above 4 kHz in those frames; None up to a rate of 8 kHz
    clipped_share: float  # share of samples at full scale
    clipped_runs: int  # times that three samples or more in a row are at full scale
    clicks: int  # jumps of one sample, out of line with its neighbours ten times as far as those around
    voiced_share: float  # share of 50 ms frames that have a pitch, 50 to 1250 Hz
    pitch_hz: float | None  # median pitch of these frames
    pitch_low_hz: float | None  # one frame in ten is below
    pitch_high_hz: float | None  # one frame in ten is above
    flatness: float  # of the average spectrum: 1 for white noise, near 0 for tones
    held_seconds: float  # the longest that one sample value, other than silence, is held
    repetition: float  # how well the sound repeats itself after 20 ms to 1 s: 1 for a loop
    steady_share: float  # share of the sound that the longest stretch without a change of spectrum takes

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, every field."""
        return dataclasses.asdict(self)


def of(wave: NDArray[np.floating], sample_rate: int) -> Measures:
    """wave [time], full scale 1"""
    wave = checked(wave)
    levels = decibels(np.sqrt((_frames(wave, round(_FRAME_SECONDS * sample_rate)) ** 2).mean(axis=1)))
    voice = follow(wave, sample_rate)
    low, middle, high = percentiles(voice.pitch[voice.voiced])
    runs = runs_of(np.abs(wave) >= FULL_SCALE)
    return Measures(
        seconds=len(wave) / sample_rate,
        sample_rate=sample_rate,
        peak_db=float(decibels(np.abs(wave).max())),
        rms_db=float(decibels(np.sqrt((wave**2).mean()))),
        loudness_lufs=loudness(wave, sample_rate),
        loud_db=float(np.percentile(levels, _LOUD_PERCENTILE)),
        silent_share=float((levels < SILENT_DB).mean()),
        noise_floor_db=float(np.percentile(levels, 100 * _QUIET_SHARE)),
        hiss_db=_hiss(wave, levels, sample_rate),
        clipped_share=float(runs.sum() / len(wave)),
        clipped_runs=int((runs >= CLIPPED_SAMPLES).sum()),
        clicks=_clicks(wave, sample_rate),
        voiced_share=float(voice.voiced.mean()) if len(voice.pitch) else 0.0,
        pitch_hz=middle,
        pitch_low_hz=low,
        pitch_high_hz=high,
        flatness=_flatness(wave, levels, sample_rate),
        held_seconds=_held(wave) / sample_rate,
        repetition=_repetition(wave, sample_rate),
        steady_share=_steady_share(wave, sample_rate),
    )


def checked(wave: Any) -> Array:
    """wave as float64 [time]; anything else, no samples, or NaN is an InputError."""
    array = np.asarray(wave)
    if array.ndim != 1 or array.dtype.kind != "f" or not len(array):
        raise InputError(
            f"a sound to measure is one array of floats [time] with at least one sample, got {array.dtype} of shape "
            f"{list(array.shape)}: take one channel, scaled to [-1, 1]."
        )
    if not np.isfinite(array).all():
        raise InputError("the sound to measure holds NaN or infinity: it cannot be measured.")
    return array.astype(np.float64)


def loudness(wave: Array, sample_rate: int) -> float:
    """Integrated, in LUFS; -70 for silence."""
    return measure([wave.astype(np.float32)], sample_rate).loudness


def decibels(amplitude: Any) -> Array:
    """20 dB for every factor of 10, at least -120 dB."""
    return np.asarray(20 * np.log10(np.maximum(amplitude, 1e-6)))


def follow(wave: Array, sample_rate: int) -> pitch.Track:
    """The pitch of whatever is less than 40 dB below the loud frames, however loud these are."""
    length = round(pitch.FRAME_SECONDS * sample_rate)
    loud = np.percentile(np.sqrt((_frames(wave, length) ** 2).mean(axis=1)), _LOUD_PERCENTILE)
    return pitch.track(wave, sample_rate, silence=max(1e-5, float(loud) * 10 ** (_VOICED_DB / 20)))


def percentiles(values: Array) -> tuple[float | None, float | None, float | None]:
    """The 10th, the 50th and the 90th percentile; None of nothing."""
    if not len(values):
        return None, None, None
    low, middle, high = np.percentile(values, [10, 50, 90])
    return float(low), float(middle), float(high)


def runs_of(marked: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The length of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    return edges[1::2] - edges[::2]


def _frames(wave: Array, length: int) -> Array:
    """[n, length], one after another; what is left at the end is dropped, a shorter sound is one frame."""
    length = max(1, min(length, len(wave)))
    count = len(wave) // length
    return wave[: count * length].reshape(count, length)


def _hiss(wave: Array, levels: Array, sample_rate: int) -> float | None:
    """The level above 4 kHz in the quietest frames."""
    frames = _frames(wave, round(_FRAME_SECONDS * sample_rate))
    if sample_rate <= 2 * HISS_HERTZ or frames.shape[1] < 16:
        return None
    quiet = np.argsort(levels)[: max(1, round(_QUIET_SHARE * len(levels)))]
    power, window = _power(frames[_some(quiet)])
    above = np.fft.rfftfreq(frames.shape[1], 1 / sample_rate) >= HISS_HERTZ
    # Parseval: twice, for the negative frequencies
    return float(decibels(math.sqrt(2 * power[:, above].sum(axis=1).mean() / (len(window) * (window**2).sum()))))


def _some(index: NDArray[np.intp]) -> NDArray[np.intp]:
    """Evenly chosen frames: a minute of them has the spectrum of an hour, in the memory of a minute."""
    return index[:: -(-len(index) // _MOST_FRAMES)] if len(index) else index


def _power(frames: Array) -> tuple[Array, Array]:
    """Power spectra [n, bins] of frames [n, length] under a Hann window, and the window."""
    window = np.hanning(frames.shape[1] + 2)[1:-1]
    return np.abs(np.fft.rfft(frames * window)) ** 2, window


def _clicks(wave: Array, sample_rate: int) -> int:
    parts = (wave[first : first + _CLICK_PART] for first in range(0, len(wave), _CLICK_PART))
    return sum(_clicks_in(part, sample_rate) for part in parts)


def _clicks_in(wave: Array, sample_rate: int) -> int:
    """By the second difference: how far a sample lies from the line through its neighbours."""
    jumps = np.abs(np.diff(wave, 2)) / 2
    reach, near = round(_CLICK_SECONDS * sample_rate), 2
    if reach <= 2 * near or len(jumps) < 2 * reach:
        return 0
    energy = np.concatenate([[0.0], np.cumsum(jumps**2)])
    place = np.flatnonzero(jumps > _CLICK_JUMP)
    first, last = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(jumps))
    inner_first, inner_last = np.maximum(place - near, 0), np.minimum(place + near + 1, len(jumps))
    around = energy[last] - energy[first] - (energy[inner_last] - energy[inner_first])
    count = (last - first) - (inner_last - inner_first)
    places = place[jumps[place] > _CLICK_RATIO * np.sqrt(np.maximum(around, 0) / count)]
    return int(len(places) and 1 + (np.diff(places) > reach // 8).sum())


def _flatness(wave: Array, levels: Array, sample_rate: int) -> float:
    """Geometric over arithmetic mean of the average power spectrum of the frames that are not silent."""
    frames, heard = _frames(wave, round(_FRAME_SECONDS * sample_rate)), np.flatnonzero(levels >= SILENT_DB)
    if not len(heard) or frames.shape[1] < 16:
        return 0.0
    spectrum = _power(frames[_some(heard)])[0].mean(axis=0)[1:-1]
    return float(np.exp(np.log(spectrum + 1e-20).mean()) / (spectrum.mean() + 1e-20))


def _held(wave: Array) -> int:
    """Samples in the longest run of one value that is louder than silence."""
    same = (wave[1:] == wave[:-1]) & (np.abs(wave[1:]) >= 10 ** (SILENT_DB / 20))
    return int(runs_of(same).max(initial=-1)) + 1


def _repetition(wave: Array, sample_rate: int) -> float:
    """The best autocorrelation at lags of 20 ms to 1 s, in the median part of 4 s."""
    parts = _frames(wave, round(_PART_SECONDS * sample_rate))
    return float(np.median([_best_repeat(part, sample_rate) for part in parts]))


def _best_repeat(part: Array, sample_rate: int) -> float:
    """The parts that overlap at a lag, compared as vectors: 1 where they are alike."""
    first = max(1, math.ceil(_SHORTEST_REPEAT * sample_rate))
    last = min(math.floor(_LONGEST_REPEAT * sample_rate), len(part) // 2)
    energy = np.concatenate([[0.0], np.cumsum(part**2)])
    if last <= first or energy[-1] < len(part) * 1e-6:  # silent
        return 0.0
    size = 1 << (len(part) + last - 1).bit_length()
    products = np.fft.irfft(np.abs(np.fft.rfft(part, size)) ** 2, size)[first : last + 1]
    lags = np.arange(first, last + 1)
    head, tail = energy[len(part) - lags], energy[-1] - energy[lags]
    return float(np.clip(products / np.maximum(np.sqrt(head * tail), 1e-9), 0, 1).max())


def _steady_share(wave: Array, sample_rate: int) -> float:
    """How much of the sound the longest stretch takes in which every half second has the spectrum of the first one."""
    frames = _frames(wave, round(_BAND_FRAME_SECONDS * sample_rate))
    count = len(frames) // _BAND_FRAMES
    if count < 2 or frames.shape[1] < 4 * _BANDS:
        return 0.0
    halves = frames[: count * _BAND_FRAMES].reshape(count, _BAND_FRAMES, -1)
    power = np.stack([_power(half)[0].mean(axis=0) for half in halves])
    edges = np.unique(np.geomspace(2, power.shape[1], _BANDS + 1).astype(int))
    bands = 10 * np.log10(np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1) + 1e-12)
    bands = np.maximum(bands, bands.max() - _BAND_RANGE_DB)
    longest = start = 0
    for index in range(count):
        if np.sqrt(((bands[index] - bands[start]) ** 2).mean()) > _SAME_DB:
            start = index
        longest = max(longest, index - start + 1 if index > start else 0)
    return longest / count
