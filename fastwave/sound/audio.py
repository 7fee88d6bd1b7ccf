"""Sound files <-> float waveforms.

A sound file is not trusted. What its header says can get it refused, but never decides how much memory is allocated;
whatever the decoding library raises becomes an AudioError; and only ordinary files are opened, no pipes or devices.
soundfile and soxr are imported where they are used: `import fastwave` needs neither.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import AudioError, InputError
from ..files import replacing
from .libsndfile import Witness, audio_errors, forward_only, imported

HIGHEST_RATE = 1_536_000  # Hz, twice the fastest converters sold
MOST_RESAMPLING = 256  # times faster or slower; 8 kHz <-> 1.536 MHz is 192
_UNKNOWN = 2**63 - 1  # frames of a FLAC that was written as a stream: its header does not say how many
_BLOCK = 1 << 16  # samples decoded or encoded at a time

Array = npt.NDArray[np.float32]


class AudioInfo(NamedTuple):
    """What a file's header claims; only decoding proves it."""

    frames: int
    channels: int
    sample_rate: int

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


@dataclass(frozen=True)
class _Format:
    """A kind of file that can be written, and what its encoder accepts without crashing."""

    container: str
    subtype: str
    sixteen_bits: bool
    channels: int  # at most
    rates: tuple[range, ...]
    rates_in_words: str


_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_FORMATS = {
    ".wav": _Format("WAV", "PCM_16", True, 1024, (range(1, HIGHEST_RATE + 1),), f"1..{HIGHEST_RATE}"),
    ".flac": _Format(
        "FLAC", "PCM_16", True, 8, (range(1, 65_536), range(65_540, 655_351, 10)), "1..65535, then tens up to 655350"
    ),
    # libvorbis crashes the process above 200 kHz
    ".ogg": _Format("OGG", "VORBIS", False, 255, (range(1, 200_001),), "1..200000"),
    ".mp3": _Format(
        "MP3",
        "MPEG_LAYER_III",
        False,
        2,
        tuple(range(rate, rate + 1) for rate in _MP3_RATES),
        ", ".join(map(str, _MP3_RATES)),
    ),
}
_WAV_BYTES = (1 << 32) - (1 << 16)  # a WAV states its length in 32 bits


def info(path: str | os.PathLike[str]) -> AudioInfo:
    """Frames, channels and sample rate as the header claims them, without decoding."""
    with _reading(path) as sound:
        if sound.frames == _UNKNOWN:
            raise AudioError(f"{path}: the header does not say how long it is: only load() can tell")
        return AudioInfo(sound.frames, sound.channels, sound.samplerate)


def load(
    path: str | os.PathLike[str], sample_rate: int | None = None, channel: int | str = "mix", max_samples: int = 2**28
) -> tuple[Tensor, int]:
    """Read a wav, flac, ogg or mp3 file as one channel -> (float32 [time], its sample rate).

    `channel` is "mix" for the mean of all, or an index. `sample_rate` resamples. `max_samples` bounds frames
    times channels, before and after decoding, and the resampled length: the default is 4.6 hours of mono at
    16 kHz, 1 GiB. Values beyond [-1, 1], which float files may hold, are kept.
    """
    _check_load_arguments(sample_rate, channel, max_samples)
    with _reading(path) as sound:
        rate = sample_rate or sound.samplerate
        return torch.from_numpy(_joined(_mono_blocks(sound, path, rate, channel, max_samples), path, max_samples)), rate


def blocks(
    path: str | os.PathLike[str], sample_rate: int, channel: int | str = "mix", max_samples: int = 2**34
) -> Iterator[Array]:
    """The samples of `load` in blocks, float32 [time], as they are decoded: a day of sound needs no more memory than a
    second.

    `max_samples` is 12 days of mono at 16 kHz by default.
    """
    _check_load_arguments(sample_rate, channel, max_samples)
    with _reading(path) as sound:
        for block in _mono_blocks(sound, path, sample_rate, channel, max_samples):
            _check_finite(block, path)
            yield block


def save(path: str | os.PathLike[str], samples: Any, sample_rate: int) -> None:
    """Write float samples, tensor or array, [time] or [time, channels], in the format that the suffix names.

    wav and flac hold 16 bits, rounded to the nearest, so what was loaded from such a file is saved unchanged; ogg is
    Vorbis, mp3 is layer III. Samples are clipped to [-1, 1]. The file appears whole or not at all.
    """
    wave = _frames_by_channels(samples)
    target = Path(_checked_path(path))
    kind = format_of(target, sample_rate)
    _check_fits(target, kind, wave)
    with audio_errors(f"{target}: cannot write"), replacing(target) as temporary, open(temporary, "wb") as file:
        _encode(file, kind, [wave], wave.shape[1], sample_rate)


def save_blocks(path: str | os.PathLike[str], blocks: Iterable[Any], sample_rate: int, channels: int = 1) -> None:
    """`save` for blocks [time] or [time, channels] that follow each other, none of them empty, written as they are
    made: an hour of sound needs no more memory than a block."""
    target = Path(_checked_path(path))
    kind = format_of(target, sample_rate)

    def waves() -> Iterator[Tensor]:
        time = 0
        for block in blocks:
            wave = _frames_by_channels(block)
            if wave.shape[1] != channels:
                raise InputError(f"{target}: a block has {wave.shape[1]} channels, the file {channels}")
            _check_fits(target, kind, wave)
            time += len(wave)
            _check_length(target, kind, time * channels)
            yield wave

    with audio_errors(f"{target}: cannot write"), replacing(target) as temporary, open(temporary, "wb") as file:
        _encode(file, kind, waves(), channels, sample_rate)


def sixteen_bits(wave: Array) -> npt.NDArray[np.int16]:
    """Samples in [-1, 1] as 16-bit ones, little-endian, rounded to the nearest: those of a .wav."""
    return np.clip(np.rint(wave.astype(np.float64) * 32768), -32768, 32767).astype("<i2")


def format_of(target: Path, sample_rate: int) -> _Format:
    """The format that the suffix of a file names; refused where there is none, or where it cannot hold this rate."""
    kind = _FORMATS.get(target.suffix.lower())
    if kind is None:
        raise AudioError(
            f"{target}: cannot tell the format from the suffix {target.suffix!r}: use {', '.join(_FORMATS)}"
        )
    _check_rate("sample_rate", sample_rate)
    if not any(sample_rate in rates for rates in kind.rates):
        raise InputError(
            f"{target}: {kind.container} cannot hold {sample_rate} Hz: use one of {kind.rates_in_words}, or save a .wav"
        )
    return kind


# Reading


@contextlib.contextmanager
def _reading(path: str | os.PathLike[str]) -> Iterator[Any]:
    """An open soundfile.SoundFile whose header is plausible. Every error of the `with` block becomes an AudioError."""
    path = _checked_path(path)
    with audio_errors(f"{path}: cannot read"), open(_ordinary(path), "rb") as file:
        if not _looks_like_sound(file):
            raise AudioError(f"{path}: this is not a wav, flac, ogg or mp3 file: convert it to one")
        file.seek(0)
        with Witness(file) as source, forward_only()(source, "r") as sound:
            if not 1 <= sound.samplerate <= HIGHEST_RATE:
                raise AudioError(
                    f"{path}: the header claims a sample rate of {sound.samplerate} Hz, outside 1..{HIGHEST_RATE}"
                )
            if sound.frames < 0 or sound.channels < 1:
                raise AudioError(
                    f"{path}: the header claims {sound.frames} frames of {sound.channels} channels: it is damaged"
                )
            yield sound


def _mono_blocks(
    sound: Any, path: str | os.PathLike[str], sample_rate: int, channel: int | str, max_samples: int
) -> Iterator[Array]:
    """Blocks [time] of one channel, at the rate asked for."""
    rate, channels = sound.samplerate, sound.channels
    frames = 0 if sound.frames == _UNKNOWN else sound.frames
    if isinstance(channel, int) and not 0 <= channel < channels:
        raise AudioError(f"{path}: there is no channel {channel}: the file has {channels}, counted from 0")
    if frames * channels > max_samples:
        raise AudioError(
            f"{path}: the header claims {frames} frames of {channels} channels, "
            f"over the limit of {max_samples} samples: cut the file, or raise max_samples"
        )
    mono = (_one_channel(block, channel) for block in _decoded_blocks(sound, path, max_samples))
    if sample_rate == rate:
        return mono
    _check_resampling(path, frames, rate, sample_rate, max_samples)
    return resampled(mono, rate, sample_rate)


def _decoded_blocks(sound: Any, path: str | os.PathLike[str], max_samples: int) -> Iterator[Array]:
    """Blocks [frames, channels], each in the buffer that the next one overwrites, until the decoder has no more."""
    buffer = np.empty((max(1, _BLOCK // sound.channels), sound.channels), dtype=np.float32)
    decoded = 0
    while True:
        block = sound.read(out=buffer)
        if not len(block):
            break
        decoded += len(block)
        if decoded * sound.channels > max_samples:
            raise AudioError(f"{path}: holds more than the limit of {max_samples} samples: raise max_samples")
        if not np.isfinite(block).all():
            raise AudioError(f"{path}: holds NaN or infinity before frame {decoded}: repair it or leave it out")
        yield block
    # Only for FLAC: an MP3 header may hold an estimate, and for the others the library counts frames by itself
    if sound.format == "FLAC" and decoded < sound.frames != _UNKNOWN:
        raise AudioError(
            f"{path}: the header claims {sound.frames} frames but {decoded} could be decoded: the file is cut short"
        )


def _one_channel(block: Array, channel: int | str) -> Array:
    """[frames, channels] -> [frames], a copy."""
    if isinstance(channel, int):
        return block[:, channel].copy()
    # float64, so that the sum of large finite values stays finite
    mixed: Array = block.mean(axis=1, dtype=np.float64).astype(np.float32)
    return mixed


def resampled(blocks: Iterable[Array], rate: int, new_rate: int, channels: int = 1) -> Iterator[Array]:
    """[time], or [time, channels] of more than one, at `rate` -> the same at `new_rate`, block by block: the original
    is never held whole. Blocks can be empty.
    """
    soxr = imported("soxr")
    stream = soxr.ResampleStream(rate, new_rate, channels, dtype="float32", quality="VHQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    last = np.zeros(0 if channels == 1 else (0, channels), dtype=np.float32)
    yield stream.resample_chunk(last, last=True)


def _joined(blocks: Iterable[Array], path: str | os.PathLike[str], max_samples: int) -> Array:
    """All the blocks as one array [time]; refuses no samples at all, and too many."""
    held = bytearray()  # grows in place by an eighth at a time; np.concatenate would hold everything twice
    for block in blocks:
        held.extend(block.view(np.uint8).data)
        if len(held) > 4 * max_samples:
            raise AudioError(f"{path}: becomes more than the limit of {max_samples} samples: raise max_samples")
        _check_finite(block, path)
    if not held:
        raise AudioError(f"{path}: there is no sound in this file")
    return np.frombuffer(held, dtype=np.float32)


def _check_finite(block: Array, path: str | os.PathLike[str]) -> None:
    if not np.isfinite(block).all():  # resampling can make finite values of 1e38 overflow
        raise AudioError(f"{path}: its values are too large for float32: scale it to [-1, 1]")


def _looks_like_sound(file: BinaryIO) -> bool:
    """Whether its first bytes are those of a format above. libsndfile would try some 25 rare formats too, and crashed
    in their parsers.
    """
    start = 0
    for _ in range(8):  # skip ID3 tags in front; more than one happens, more than a few is an attack
        file.seek(start)
        head = file.read(12)
        if len(head) < 10 or head[:3] != b"ID3":
            break
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        start += 10 + size
    if head[:4] in (b"RIFF", b"RIFX", b"RF64"):
        return head[8:12] == b"WAVE"
    mp3 = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
    return head[:4] in (b"fLaC", b"OggS") or mp3 or (start > 0 and head[:4] in (b"", bytes(4)))


def _ordinary(path: str) -> str:
    """The path, if it is a file: opening a pipe would wait for ever, a device would never end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise AudioError(f"{path}: cannot read: it is a folder or a device, not an ordinary file")
    return path


# Writing


def _encode(file: BinaryIO, kind: _Format, waves: Iterable[Tensor], channels: int, sample_rate: int) -> None:
    """Write all of `waves`, each [time, channels], and make sure that it was written."""
    form = {"format": kind.container, "subtype": kind.subtype, "samplerate": sample_rate, "channels": channels}
    with Witness(file) as sink, forward_only()(sink, "w", **form) as sound:
        # In blocks because libvorbis puts a whole call's samples on the stack: 20 s of stereo overflowed it
        frames = max(1, _BLOCK // channels)
        for block in (wave[first : first + frames] for wave in waves for first in range(0, len(wave), frames)):
            block = block.detach().to("cpu", torch.float64)
            if not bool(torch.isfinite(block).all()):
                raise InputError("the samples hold NaN or infinity: nothing was written")
            if kind.sixteen_bits:  # rounded here: libsndfile would round towards minus infinity
                block = block.mul(32768).round_().clamp_(-32768, 32767).to(torch.int16)
            else:
                block = block.clamp(-1, 1).to(torch.float32)
            sound.write(block.contiguous().numpy())
            sink.complain()  # a full disk is reported now, not after an hour was encoded


def _frames_by_channels(samples: Any) -> Tensor:
    """[time] or [time, channels] floats -> [time, channels], not copied."""
    try:
        wave = (
            samples if isinstance(samples, Tensor) else torch.from_numpy(np.require(samples, requirements=["C", "W"]))
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"samples must be a tensor or an array of floats: {error}") from error
    if not wave.is_floating_point():
        raise InputError(f"samples must be floats in [-1, 1], got {wave.dtype}")
    if wave.ndim not in (1, 2) or not wave.numel():
        raise InputError(
            f"samples must be [time] or [time, channels] and not empty, got shape {list(wave.shape)}: "
            "save the sounds of a batch one by one"
        )
    return wave if wave.ndim == 2 else wave[:, None]


def _check_fits(target: Path, kind: _Format, wave: Tensor) -> None:
    time, channels = wave.shape
    if channels > kind.channels:
        raise InputError(
            f"{target}: {kind.container} holds up to {kind.channels} channels, got {channels}: "
            "is the order [time, channels]?"
        )
    _check_length(target, kind, time * channels)


def _check_length(target: Path, kind: _Format, samples: int) -> None:
    if kind.container == "WAV" and samples * 2 > _WAV_BYTES:
        raise AudioError(f"{target}: a WAV file cannot hold more than 4 GiB: use .flac, or write it in parts")


# Checks of arguments


def _checked_path(path: Any) -> str:
    try:
        name = os.fspath(path)
    except TypeError as error:
        raise InputError(f"a path must be a str or a pathlib.Path, got {type(path).__name__}") from error
    if not isinstance(name, str) or "\0" in name:
        raise InputError(f"a path must be a str or a pathlib.Path without NUL characters, got {path!r}")
    return name


def _check_load_arguments(sample_rate: Any, channel: Any, max_samples: Any) -> None:
    if sample_rate is not None:
        _check_rate("sample_rate", sample_rate)
    if channel != "mix" and (isinstance(channel, bool) or not isinstance(channel, int)):
        raise InputError(f'channel must be "mix" or the index of a channel, got {channel!r}')
    if isinstance(max_samples, bool) or not isinstance(max_samples, int) or max_samples < 1:
        raise InputError(f"max_samples must be a whole number above 0, got {max_samples!r}")


def _check_rate(name: str, rate: Any) -> None:
    if isinstance(rate, bool) or not isinstance(rate, int) or not 1 <= rate <= HIGHEST_RATE:
        raise InputError(f"{name} must be a whole number of Hz from 1 to {HIGHEST_RATE}, got {rate!r}")


def _check_resampling(path: Any, frames: int, rate: int, new_rate: int, max_samples: int) -> None:
    if max(rate, new_rate) > MOST_RESAMPLING * min(rate, new_rate):
        raise AudioError(f"{path}: resampling {rate} Hz to {new_rate} Hz is beyond {MOST_RESAMPLING} times: check both")
    if math.ceil(frames * new_rate / rate) > max_samples:
        raise AudioError(
            f"{path}: {frames} frames at {rate} Hz would become more than the limit of {max_samples} samples "
            f"at {new_rate} Hz: cut the file, or raise max_samples"
        )
