"""The result of generation: tokens, the sound or text that they stand for, and how it is saved."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..codec import Codec, remembers
from ..errors import InputError
from ..files import replacing
from ..sound import audio
from ..sound.picture import Png
from .display import html_of, plot_of


@dataclasses.dataclass(frozen=True)
class Result:
    """What was generated. tokens [B, T]; a stream that is shorter than the others is filled up with silence."""

    tokens: Tensor
    lengths: tuple[int, ...]  # samples of each stream
    codec: Codec
    sample_rate: int  # samples a second; 0 for text
    past: Tensor | None = None  # what the decoder remembers of the samples before: see codec.MuLaw.decode_part

    @functools.cached_property
    def samples(self) -> Tensor:
        """The waveform, float32 [B, T] in [-1, 1]. Those of parts that follow each other are the whole, bit for bit."""
        if not self.codec.is_audio:
            raise InputError(f"codec {self.codec.name!r} makes text: use .text.")
        decoded: Tensor = self._decoded[0]
        return decoded

    @property
    def memory(self) -> Tensor | None:
        """What the decoder remembers behind the last sample: the `past` of the part that follows."""
        return self._decoded[1] if remembers(self.codec) else None

    @functools.cached_property
    def _decoded(self) -> tuple[Any, Tensor | None]:
        if remembers(self.codec):
            return self.codec.decode_part(self.tokens, self.past)
        return self.codec.decode(self.tokens), None

    @functools.cached_property
    def text(self) -> list[str]:
        """One string a stream, for the bytes codec."""
        if self.codec.is_audio:
            raise InputError(f"codec {self.codec.name!r} makes sound: use .samples.")
        rows = zip(self.tokens, self.lengths, strict=True)
        return [self.codec.decode(row[:length]) for row, length in rows]

    def save(self, path: str | os.PathLike[str]) -> list[Path]:
        """Write wav, flac, ogg or mp3 by suffix, or text; each file whole or not at all.

        One stream goes to `path`; several go to name-0.wav, name-1.wav, ... The paths are returned.
        """
        target = Path(path)
        batch = len(self.lengths)
        paths = [target] if batch == 1 else [target.with_stem(f"{target.stem}-{row}") for row in range(batch)]
        for row, (name, length) in enumerate(zip(paths, self.lengths, strict=True)):
            if self.codec.is_audio:
                audio.save(name, self.samples[row, :length], self.sample_rate)
            else:
                _save_text(name, self.text[row])
        return paths

    def plot(self, path: str | os.PathLike[str] | None = None) -> Png:
        """Waveform over spectrogram as a PNG, the streams below each other; also saved where there is a path.

        Both scales are absolute: the waveform has -1 to 1, and the brightest colour is a sine at full scale (0 dB).
        """
        if not self.codec.is_audio:
            raise InputError(f"codec {self.codec.name!r} makes text, which has no spectrogram: use .text.")
        plot = plot_of(self)
        if path is not None:
            _save_bytes(Path(path), plot)
        return plot

    def _repr_html_(self) -> str:
        return html_of(self)


def joined(parts: Sequence[Result]) -> Result:
    """Parts that follow each other in time, at least one, as one result."""
    first = parts[0]
    tokens = torch.cat([part.tokens for part in parts], dim=1)
    lengths = tuple(sum(column) for column in zip(*(part.lengths for part in parts), strict=True))
    return Result(tokens, lengths, first.codec, first.sample_rate, first.past)


def _save_text(path: Path, text: str) -> None:
    _save_bytes(path, text.encode("utf-8"))


def _save_bytes(path: Path, content: bytes) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error
