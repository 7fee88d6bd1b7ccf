"""Distances between a generated sound and its reference, at one sample rate."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import InputError
from ..sound import pitch
from ..sound.measures import checked, decibels, follow, loudness
from ..sound.mel import MelSettings, mel

Array = NDArray[np.float64]

MOST_SHIFT_SECONDS = 0.050  # the alignment searches this far on both sides
LEAST_CORRELATION = 0.3  # a weaker match says nothing about time: the sounds stay where they are
RANGE_DB = 70.0  # what is further below the reference's loudest value counts as being there
MOST_GAIN_DB = 40.0  # to make levels equal
SAME_PITCH_CENTS = 50.0
LOWEST_RATE = 4000  # Hz: below it there are too few bands to compare
_ALIGNED_SECONDS = 60.0  # of the beginning are correlated


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A generated sound against its reference, moment by moment. None where there is no such thing, as pitch in noise.

    The two spectral distances are taken after the generated sound was brought to the level of its reference.
    """

    shift_ms: float  # how much later the generated sound was; it was moved by this
    log_mel_distance_db: float  # root mean square over 80 mel bands, mean over frames
    log_spectral_distance_db: float  # the same over the bins of a short-time Fourier transform
    pitch_within_50_cents: float | None  # share of the frames in which both have a pitch
    pitch_rmse_cents: float | None  # over the same frames
    voicing_error: float  # share of frames in which one of them has a pitch and the other has not
    loudness_difference_db: float  # above 0 where the generated sound is louder

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, every field."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Distributions:
    """A generated sound against sounds that say something else: no moment of one belongs to one of the others."""

    pitch_difference_cents: float | None  # between the median pitches
    voiced_difference: float  # between the voiced shares
    loudness_difference_db: float  # above 0 where the generated sound is louder
    average_spectrum_distance_db: float  # between the average log-mel spectra, at equal level

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, every field."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Summary:
    """What `Distributions` compares, of one sound or of several together."""

    pitches: Array  # Hz, of the voiced frames
    frames: int
    loudness: float
    spectrum: Array  # [80] dB, the mean over all frames


def compare(generated: NDArray[np.floating], reference: NDArray[np.floating], sample_rate: int) -> Comparison:
    """Both [time] at this rate, full scale 1; where the lengths differ, the common part is compared."""
    check_rate(sample_rate)
    shift, generated, reference = aligned(generated, reference, sample_rate)
    heard, true = follow(generated, sample_rate), follow(reference, sample_rate)
    both = heard.voiced & true.voiced
    cents = pitch.cents(heard.pitch[both], true.pitch[both])
    louder = loudness(generated, sample_rate) - loudness(reference, sample_rate)
    level = generated * 10 ** (-max(-MOST_GAIN_DB, min(louder, MOST_GAIN_DB)) / 20)
    return Comparison(
        shift_ms=1000 * shift / sample_rate,
        log_mel_distance_db=_distance(log_mel(level, sample_rate), log_mel(reference, sample_rate)),
        log_spectral_distance_db=_distance(_log_spectrum(level, sample_rate), _log_spectrum(reference, sample_rate)),
        pitch_within_50_cents=float((np.abs(cents) <= SAME_PITCH_CENTS).mean()) if len(cents) else None,
        pitch_rmse_cents=float(np.sqrt((cents**2).mean())) if len(cents) else None,
        voicing_error=float((heard.voiced != true.voiced).mean()) if len(both) else 0.0,
        loudness_difference_db=louder,
    )


def summary(waves: Sequence[NDArray[np.floating]], sample_rate: int) -> Summary:
    """Of sounds [time] at one rate, together."""
    check_rate(sample_rate)
    sounds = [checked(wave) for wave in waves]
    tracks = [follow(wave, sample_rate) for wave in sounds]
    return Summary(
        pitches=np.concatenate([track.pitch[track.voiced] for track in tracks]),
        frames=sum(len(track.pitch) for track in tracks),
        loudness=float(np.mean([loudness(wave, sample_rate) for wave in sounds])),
        spectrum=np.concatenate([log_mel(wave, sample_rate) for wave in sounds]).mean(axis=0),
    )


def distributions(generated: Summary, reference: Summary) -> Distributions:
    """Of summaries at one sample rate."""
    pitched = len(generated.pitches) and len(reference.pitches)
    shapes = [each.spectrum - each.spectrum.mean() for each in (generated, reference)]
    medians = [float(np.median(each.pitches)) for each in (generated, reference)] if pitched else []
    return Distributions(
        pitch_difference_cents=float(pitch.cents(*medians)) if pitched else None,
        voiced_difference=_voiced_share(generated) - _voiced_share(reference),
        loudness_difference_db=generated.loudness - reference.loudness,
        average_spectrum_distance_db=_distance(shapes[0][None], shapes[1][None]),
    )


def aligned(
    generated: NDArray[np.floating], reference: NDArray[np.floating], sample_rate: int
) -> tuple[int, Array, Array]:
    """How many samples the generated sound is late, at most 50 ms, and the common part of both after moving it."""
    late, early = checked(generated), checked(reference)
    most, ends = round(MOST_SHIFT_SECONDS * sample_rate), round(_ALIGNED_SECONDS * sample_rate)
    first, second = late[:ends], early[:ends]
    size = 1 << (len(first) + len(second) + most).bit_length()
    products = np.fft.irfft(np.fft.rfft(first, size) * np.conj(np.fft.rfft(second, size)), size)
    shifts = np.arange(-most, most + 1)
    match = products[shifts] / max(1e-9, math.sqrt((first**2).sum() * (second**2).sum()))
    shift = int(shifts[match.argmax()]) if match.max() >= LEAST_CORRELATION else 0
    late, early = late[max(0, shift) :], early[max(0, -shift) :]
    common = min(len(late), len(early))
    if not common:
        raise InputError("the two sounds have no moment in common: compare longer ones, or use --unaligned.")
    return shift, late[:common], early[:common]


def log_mel(wave: Array, sample_rate: int) -> Array:
    """[frames, 80] dB, windows of about 64 ms, a quarter apart."""
    window = 1 << round(math.log2(0.064 * sample_rate))
    settings = MelSettings(sample_rate, hop=window // 4, window=window, floor=1e-6)
    frames = mel(torch.from_numpy(wave), settings).double().numpy()
    return np.asarray((1 - frames) / 2 * 20 * math.log10(settings.floor))


def check_rate(sample_rate: int) -> None:
    """Refuse a rate at which there are too few bands."""
    if sample_rate < LOWEST_RATE:
        raise InputError(
            f"sounds are compared from {LOWEST_RATE} Hz on, got {sample_rate} Hz: measure them one by one."
        )


def _log_spectrum(wave: Array, sample_rate: int) -> Array:
    """[frames, bins] dB, windows of about 32 ms, a quarter apart."""
    window = 1 << round(math.log2(0.032 * sample_rate))
    padded = np.pad(wave, window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[:: window // 4] * np.hanning(window)
    return decibels(np.abs(np.fft.rfft(frames)))


def _distance(generated: Array, reference: Array) -> float:
    """Root mean square over the bands, mean over the frames, of values in dB [frames, bands]."""
    least = reference.max() - RANGE_DB
    return float(np.sqrt(((np.maximum(generated, least) - np.maximum(reference, least)) ** 2).mean(axis=1)).mean())


def _voiced_share(each: Summary) -> float:
    return len(each.pitches) / max(1, each.frames)
