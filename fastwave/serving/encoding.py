"""Blocks of samples as the bytes of a .wav, of bare samples, or of a compressed file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..sound import audio
from ..sound.streaming import wav_header

Array = npt.NDArray[Any]


class Encoding:
    """What a listener receives, at first, for each block, and at the end."""

    media_type = "text/plain; charset=utf-8"
    sample_rate = 0  # of what is received; 0 for text
    length: int | None = None  # of everything together, in bytes, where that is known at first

    def begin(self) -> bytes:
        """What stands before the first block."""
        return b""

    def block(self, samples: Array) -> bytes:
        """The bytes of a block: letters of a text, as they are."""
        return samples.tobytes()

    def end(self) -> bytes:
        """What stands behind the last one. This may take a while."""
        return b""


class Wav(Encoding):
    """A .wav of 16 bits, block by block. Its header says how long it is where `samples` is given."""

    media_type = "audio/wav"

    def __init__(self, sample_rate: int, samples: int | None = None) -> None:
        self._header, self.sample_rate = wav_header(sample_rate, samples=samples), sample_rate
        self.length = None if samples is None else len(self._header) + 2 * samples

    def begin(self) -> bytes:
        return self._header

    def block(self, samples: Array) -> bytes:
        return audio.sixteen_bits(samples).tobytes()


class Bare(Encoding):
    """16-bit samples, little-endian, without a header, resampled where another rate is wanted."""

    media_type = "audio/pcm"

    def __init__(self, sample_rate: int, wanted_rate: int | None = None) -> None:
        self.sample_rate = wanted_rate or sample_rate
        self._resampler: Any = None
        if wanted_rate not in (None, sample_rate):
            import soxr

            self._resampler = soxr.ResampleStream(sample_rate, wanted_rate, 1, dtype="float32")

    def block(self, samples: Array, last: bool = False) -> bytes:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(np.asarray(samples, np.float32), last=last)
        return audio.sixteen_bits(samples).tobytes()

    def end(self) -> bytes:
        return b"" if self._resampler is None else self.block(np.zeros(0, np.float32), last=True)


class Compressed(Encoding):
    """A .flac or .mp3, which is written when everything has been made."""

    def __init__(self, name: str, sample_rate: int) -> None:
        self._suffix, self.sample_rate = f".{name}", sample_rate
        self.media_type = {"flac": "audio/flac", "mp3": "audio/mpeg"}[name]
        self._blocks: list[npt.NDArray[np.int16]] = []

    def block(self, samples: Array) -> bytes:
        self._blocks.append(audio.sixteen_bits(samples))
        return b""

    def end(self) -> bytes:
        whole = np.concatenate([np.zeros(0, np.int16), *self._blocks]).astype(np.float32) / 32768
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"sound{self._suffix}"
            audio.save(path, whole, self.sample_rate)
            return path.read_bytes()


def encoding_of(name: str, sample_rate: int, samples: int | None = None, bare_rate: int | None = None) -> Encoding:
    """The encoding of sound under its name: wav, pcm, flac or mp3. `bare_rate` is that of pcm."""
    if name == "wav":
        return Wav(sample_rate, samples)
    return Bare(sample_rate, bare_rate) if name == "pcm" else Compressed(name, sample_rate)
