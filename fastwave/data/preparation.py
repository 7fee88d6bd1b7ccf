"""Preparation: how files become tokens and features."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import codec as codecs
from ..errors import InputError
from ..parameters import Parameters
from ..sound import features as kinds
from ..sound import loudness

# Fields that data of an early fastwave lack, with the values that they had before there was a field
_LATER: dict[str, Any] = {"codec_parameters": Parameters(), "feature_parameters": Parameters(), "normalize": "off"}


@dataclasses.dataclass(frozen=True)
class Preparation:
    """How files become tokens and features: every setting that prepared data depend on."""

    codec: str = "mu-law"
    classes: int = 256
    sample_rate: int = 16_000
    channel: str = "mix"  # the mean of all channels, or the number of one, from 0
    trim: float | None = None  # dB of full scale below which the start and the end of a file are cut off
    features: str | None = None  # a kind computed from sound, such as "mel", or a folder with a NAME.npy for each file
    feature_channels: int = 0  # width of a frame
    hop: int = 1  # samples a frame
    speakers: str | None = None  # "folders", or a CSV file of name,speaker
    held_out: float = 0.05  # share of the files that validation keeps for itself
    codec_parameters: Mapping[str, Any] = Parameters()  # as in WaveNetConfig
    feature_parameters: Mapping[str, Any] = Parameters()  # of the kind of features, beside its width
    normalize: loudness.Normalize = "off"  # the level that each file is brought to: see sound/loudness.py

    def __post_init__(self) -> None:
        for name in ("codec_parameters", "feature_parameters"):
            object.__setattr__(self, name, Parameters(getattr(self, name)))
        is_audio = self.codec_object.is_audio
        if not 0 <= self.held_out < 1:
            raise InputError(f"held_out is a share of the files, 0 up to 1, got {self.held_out}.")
        loudness.check(self.normalize)
        if not is_audio and (self.trim is not None or self.features is not None or self.normalize != "off"):
            raise InputError("trim, features and normalize are for sound, and this codec is for text.")
        if self.trim is not None and self.features is not None and not kinds.is_heard(self.features):
            raise InputError("trim would shift the sound against features that you bring: trim the files first.")
        if self.trim is not None and not -150 < self.trim < 0:
            raise InputError(f"trim is in dB of full scale, such as -50, got {self.trim}.")
        if self.features is not None and self.feature_channels < 1:
            raise InputError("features need feature_channels, the width of a frame.")
        if self.features is None and self.feature_parameters:
            raise InputError("feature_parameters have no meaning without features.")
        if self.channel != "mix" and not self.channel.isdecimal():
            raise InputError(f"channel is mix or a number counted from 0, got {self.channel!r}.")
        if isinstance(codec := self.codec_object, codecs.MuLaw):
            object.__setattr__(self, "codec_parameters", Parameters(codec.parameters()))
        if (kind := self.feature_kind) is not None:
            kind.check(self.sample_rate, self.hop)
            object.__setattr__(self, "feature_parameters", Parameters(kind.changed()))

    @property
    def codec_object(self) -> codecs.Codec:
        """The codec of the tokens."""
        return codecs.by_name(self.codec, self.classes, self.codec_parameters)

    @property
    def feature_kind(self) -> kinds.Features | None:
        """The features with their parameters, as a model's config holds them."""
        if self.features is None:
            return None
        kind = self.features if kinds.is_heard(self.features) else "array"
        return kinds.of_width(kind, self.feature_channels, self.feature_parameters)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the tokens in a shard. The pcm codec has no classes: its samples are stored in 16 bits."""
        if self.classes == 0:
            return np.dtype(np.int16)
        return np.dtype(np.uint8 if self.classes <= 256 else np.uint16)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values. Fields that data of an early fastwave lack are left out where they mean the same."""
        fields = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        values = {name: value for name, value in fields if name not in _LATER or value != _LATER[name]}
        return {name: dict(value) if isinstance(value, Parameters) else value for name, value in values.items()}
