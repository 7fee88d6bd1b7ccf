"""The kinds of local features that a model can be conditioned on, as a registry.

A kind is a frozen dataclass whose fields are its parameters. It is part of a model's config and of its checkpoint, so
that a model can make its own conditions from a file: `fastwave generate VOCODER --condition recording.wav`. The sample
rate and the hop are the config's and come as arguments. The core knows `mel` and `array`; a wing adds its own with
`@register`, for example phones from a text or notes from a MIDI file.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import AudioError, ConfigError, InputError
from . import loudness
from .mel import MelSettings, mel_blocks

MAX_WIDTH = 65_536
_ARRAY_MARK = b"\x93NUMPY"


@dataclasses.dataclass(frozen=True)
class Features:
    """What every kind offers. Fields of a subclass are parameters: JSON values, validated on creation."""

    kind: ClassVar[str]
    reads: ClassVar[str]  # the files that `from_file` takes, in words
    width_parameter: ClassVar[str]  # the name of the parameter that is the width of a frame
    hears_sound: ClassVar[bool] = False  # frames come from a recording, by `from_sound`

    @property
    def width(self) -> int:
        """Values a frame."""
        width: int = getattr(self, self.width_parameter)
        return width

    def check(self, sample_rate: int, hop: int) -> None:
        """Raise ConfigError where the parameters do not fit the sample rate or the hop of a model."""

    def from_sound(self, waves: Iterable[npt.NDArray[np.float32]], sample_rate: int, hop: int) -> Iterator[Tensor]:
        """A recording at the model's rate in float32 chunks [time] -> float32 frames [n, width], as they come."""
        raise NotImplementedError

    def from_file(self, path: str, sample_rate: int, hop: int) -> Tensor:
        """The frames of one file, float32 [frames, width]."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """The kind and every parameter, as JSON values."""
        return {"kind": self.kind, **dataclasses.asdict(self)}

    def changed(self) -> dict[str, Any]:
        """The parameters that differ from their defaults, the width aside."""
        usual = of_width(self.kind, self.width, {}).to_dict()
        return {name: value for name, value in self.to_dict().items() if value != usual[name]}


_KINDS: dict[str, type[Features]] = {}
_Kind = TypeVar("_Kind", bound=type[Features])


def register(kind: _Kind) -> _Kind:
    """Make a kind known by its name; a decorator for its class."""
    if _KINDS.setdefault(kind.kind, kind) is not kind:
        raise ConfigError(f"the feature kind {kind.kind!r} is registered already, as {_KINDS[kind.kind].__name__}.")
    return kind


def kinds() -> list[str]:
    """The names of all kinds that are registered now."""
    return sorted(_KINDS)


def is_heard(kind: str) -> bool:
    """Whether this is the name of a kind that is computed from a recording."""
    return kind in _KINDS and _KINDS[kind].hears_sound


def from_dict(values: object) -> Features:
    """The inverse of `Features.to_dict`. Parameters that are absent take their defaults; unknown ones are refused."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"features are an object with a kind and its parameters, got {type(values).__name__}.")
    kind = values.get("kind")
    if not isinstance(kind, str):
        raise ConfigError(f"features need a kind, one of {', '.join(kinds())}; got {str(kind)[:80]!r}.")
    if kind not in _KINDS:
        raise ConfigError(
            f"feature kind {kind[:80]!r} is not known; known are {', '.join(kinds())}. It may belong to a newer "
            "fastwave, or to a part of it that was not imported."
        )
    known = [field.name for field in dataclasses.fields(_KINDS[kind])]
    parameters = {str(name): value for name, value in values.items() if name != "kind"}
    unknown = sorted(parameters.keys() - set(known))
    if unknown:
        raise ConfigError(
            f"features of kind {kind!r} have no parameter {', '.join(map(repr, unknown))[:200]}; known are "
            f"{', '.join(known)}."
        )
    return _KINDS[kind](**parameters)


def of_width(kind: str, width: int, parameters: Mapping[str, Any]) -> Features:
    """A registered kind whose frames have so many values, with its other parameters."""
    return from_dict({"kind": kind, **parameters, _KINDS[kind].width_parameter: width})


@register
@dataclasses.dataclass(frozen=True)
class Mel(Features):
    """The log-mel spectrogram of `mel.py`, computed from a recording."""

    kind: ClassVar[str] = "mel"
    reads: ClassVar[str] = "a recording (.wav, .flac, .ogg, .mp3)"
    width_parameter: ClassVar[str] = "bands"
    hears_sound: ClassVar[bool] = True

    bands: int = 80  # values a frame
    window: int = 1024  # samples that one frame hears
    low: float = 0.0  # Hz, where the lowest band begins
    high: float | None = None  # Hz, where the highest band ends; None: half the sample rate
    floor: float = 1e-5  # values below it count as silence

    def settings(self, sample_rate: int, hop: int) -> MelSettings:
        """The spectrogram at a sample rate and a hop; a ConfigError where there is none with these parameters."""
        return MelSettings(sample_rate=sample_rate, hop=hop, **dataclasses.asdict(self))

    def check(self, sample_rate: int, hop: int) -> None:
        """Raise ConfigError where the parameters do not fit the sample rate or the hop of a model."""
        self.settings(sample_rate, hop)

    def from_sound(self, waves: Iterable[npt.NDArray[np.float32]], sample_rate: int, hop: int) -> Iterator[Tensor]:
        """A recording at the model's rate in float32 chunks [time] -> float32 frames [n, bands], as they come."""
        return mel_blocks(waves, self.settings(sample_rate, hop))

    def from_file(self, path: str, sample_rate: int, hop: int) -> Tensor:
        """The frames of a recording at any sample rate, which is resampled to the model's; channels are averaged."""
        return from_recording(self, path, sample_rate, hop)


@register
@dataclasses.dataclass(frozen=True)
class Array(Features):
    """Frames that the user computes and brings as an array, [frames, width]."""

    kind: ClassVar[str] = "array"
    reads: ClassVar[str] = "a .npy array [frames, width]"
    width_parameter: ClassVar[str] = "channels"

    channels: int = 1  # values a frame

    def check(self, sample_rate: int, hop: int) -> None:
        """Any rate and any hop will do."""
        if isinstance(self.channels, bool) or not isinstance(self.channels, int) or not 1 <= self.channels <= MAX_WIDTH:
            raise ConfigError(f"channels must be a whole number 1..{MAX_WIDTH}, got {str(self.channels)[:80]!r}.")

    def from_file(self, path: str, sample_rate: int, hop: int) -> Tensor:
        """Refused: `read` has taken every array before it asks for this."""
        raise InputError(
            f"{path}: this model was trained on features that its user brought as arrays, and fastwave does not know "
            f"how they were made: give a .npy array of floats [frames, {self.channels}]."
        )


def from_recording(
    features: Features, path: str, sample_rate: int, hop: int, normalize: loudness.Normalize = "off"
) -> Tensor:
    """The frames of a recording that is resampled, made one channel and brought to a level."""
    frames = list(features.from_sound(loudness.blocks(path, sample_rate, normalize), sample_rate, hop))
    if not frames:
        raise AudioError(f"{path}: there is no sound in this file")
    return torch.cat(frames)


def read(
    path: str | os.PathLike[str],
    features: Features | None,
    width: int,
    sample_rate: int,
    hop: int,
    normalize: loudness.Normalize = "off",
) -> Tensor:
    """The frames for a model from a file: any .npy array of floats, or what the model's kind of features reads.

    `features` is None for a model whose checkpoint does not say how its features were made. A recording is brought to
    the level that `normalize` names.
    """
    name = os.fspath(path)
    if _is_array(name):
        return _read_array(name)
    if not width:
        raise InputError(f"{name}: this model takes no local features: leave the condition out.")
    if features is None:
        raise InputError(
            f"{name}: this checkpoint does not say how the features of its training data were made, so they cannot be "
            f"computed from a file: give a .npy array of floats [frames, {width}]. If they were fastwave's mel frames, "
            f'write "features": {{"kind": "mel", "bands": {width}}} into its config.json, or resume its training.'
        )
    if features.hears_sound:
        return from_recording(features, name, sample_rate, hop, normalize)
    return features.from_file(name, sample_rate, hop)


def _is_array(path: str) -> bool:
    """By the suffix, or by the first bytes of an ordinary file."""
    if Path(path).suffix.lower() == ".npy":
        return True
    try:
        with open(path if os.path.isfile(path) else os.devnull, "rb") as file:  # opening a pipe would wait for ever
            return file.read(len(_ARRAY_MARK)) == _ARRAY_MARK
    except OSError:
        return False  # who reads it says why it cannot be read


def _read_array(path: str) -> Tensor:
    try:
        with open(path, "rb") as file:
            if file.read(len(_ARRAY_MARK)) != _ARRAY_MARK:  # np.load would take it for pickled data
                raise ValueError("its first bytes are not those of one")
        values = np.load(path, mmap_mode="r", allow_pickle=False)  # no pickled code, no size that the file lacks
    except (OSError, ValueError, EOFError) as error:
        reason = "it holds Python objects, not numbers" if "pickle" in str(error) else str(error).rstrip(".")
        raise InputError(f"cannot read {path} as a .npy array: {reason}.") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        raise InputError(f"{path} must hold one array of floats.")
    # torch has neither long doubles nor foreign byte orders
    dtype = np.dtype(np.float64) if values.dtype.itemsize > 8 else values.dtype.newbyteorder("=")
    return torch.from_numpy(np.array(values, dtype=dtype))  # a copy: the mapping is read-only and follows the file
