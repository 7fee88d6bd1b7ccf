"""Preparation: how files become tokens and features."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .. import codec
from ..errors import InputError
from ..sound.features import MelSettings


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What becomes of a file: all that decides the bytes of a shard."""

    codec: str = "mu-law"
    classes: int = 256
    sample_rate: int = 16_000
    channel: str = "mix"  # or the number of one
    trim: float | None = None  # dB of full scale below which the start and the end of a file are cut off
    features: str | None = None  # "mel", or a folder with an array [frames, channels] for every file
    feature_channels: int = 0
    hop: int = 1
    speakers: str | None = None  # "folders", or a CSV file of name,speaker
    held_out: float = 0.05  # share of the files that validation keeps for itself

    def __post_init__(self) -> None:
        kind = codec.by_name(self.codec, self.classes)
        if not 0 <= self.held_out < 1:
            raise InputError(f"held_out is a share of the files, 0 up to 1, got {self.held_out}.")
        if not kind.is_audio and (self.trim is not None or self.features is not None):
            raise InputError("trim and features are for sound, and this codec is for text.")
        if self.trim is not None and self.features not in (None, "mel"):
            raise InputError("trim would shift the sound against features that you bring: trim the files first.")
        if self.trim is not None and not -150 < self.trim < 0:
            raise InputError(f"trim is in dB of full scale, such as -50, got {self.trim}.")
        if self.features is not None and self.feature_channels < 1:
            raise InputError("features need feature_channels, the width of a frame.")
        if self.channel != "mix" and not self.channel.isdecimal():
            raise InputError(f"channel is mix or a number counted from 0, got {self.channel!r}.")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the tokens in a shard; pcm has the 16 bits of its loss."""
        if self.classes == 0:
            return np.dtype(np.int16)
        return np.dtype(np.uint8 if self.classes <= 256 else np.uint16)

    @property
    def mel(self) -> MelSettings | None:
        """The spectrogram that is to be computed."""
        if self.features != "mel":
            return None
        return MelSettings(sample_rate=self.sample_rate, hop=self.hop, bands=self.feature_channels)
