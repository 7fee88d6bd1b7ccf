"""Waveform or text <-> classes: what a model's tokens mean.

A codec is part of a model's config and of its checkpoint. Published systems use eight mutually incompatible
dialects of "mu-law" (mu = 256 instead of classes - 1, bins by floor, by truncation or by rounding, a decode
shifted by half a bin, ...), and audio decoded with the wrong one only sounds slightly bad, so nothing here
guesses: the formulas below are the one dialect fastwave trains and generates with, and importers of other
projects' checkpoints translate to it or name another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from .errors import ConfigError, InputError

NAMES = ("mu-law", "linear", "bytes", "pcm")
MOST_CLASSES = 65536  # 16 bits; also the most for which the exact round trip of every class is proved
_BLOCK = 1 << 20  # samples converted at a time: an hour of audio never has whole float64 copies of itself


class Codec(Protocol):
    """What every codec offers; code that takes any codec is written against this."""

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> int: ...  # categories a token can take; 0 where tokens are scalars
    @property
    def is_audio(self) -> bool: ...
    @property
    def scalar(self) -> bool: ...  # True: tokens are float samples, not classes
    @property
    def silence(self) -> int | float: ...  # what stands before the first sample

    def encode(self, source: Any, /) -> Tensor: ...
    def decode(self, tokens: Any, /) -> Any: ...


def by_name(name: str, classes: int) -> Codec:
    """The codec a config or a checkpoint names; anything unknown is refused."""
    if name == "mu-law":
        return MuLaw(classes)
    if name == "linear":
        return Linear(classes)
    if name not in ("bytes", "pcm"):
        raise ConfigError(f"unknown codec {name!r}: choose one of {', '.join(NAMES)}")
    codec = Bytes() if name == "bytes" else Pcm()
    if isinstance(classes, bool) or not isinstance(classes, int) or classes != codec.classes:
        reason = "one class a byte" if name == "bytes" else "samples are numbers, not classes"
        raise ConfigError(f"codec {name!r} has exactly {codec.classes} classes ({reason}), got {classes!r}")
    return codec


@dataclass(frozen=True)
class MuLaw:
    """Logarithmic bins: fine near silence, coarse at full scale. mu = classes - 1.

    encode(x) = floor((sign(x) * log1p(mu * min(|x|, 1)) / log1p(mu) + 1) / 2 * mu + 0.5)
    decode(q) = sign(y) * expm1(|y| * log1p(mu)) / mu   with   y = 2q / mu - 1
    """

    classes: int = 256
    name: ClassVar[str] = "mu-law"
    is_audio: ClassVar[bool] = True
    scalar: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_audio_classes(self.name, self.classes)

    @property
    def silence(self) -> int:
        return self.classes // 2

    def encode(self, wave: Any) -> Tensor:
        """[...] floats (tensor, array or nested list), clipped to [-1, 1] -> [...] int64 classes."""
        mu = self.classes - 1

        def compress(block: Tensor) -> Tensor:  # float64, changed in place
            magnitude = block.abs().clamp_(max=1).mul_(mu).log1p_().div_(math.log1p(mu))
            return magnitude.mul_(block.sign_()).add_(1).div_(2).mul_(mu).add_(0.5).floor_()

        return _in_blocks(_waveform(wave), torch.int64, compress)

    def decode(self, classes: Any) -> Tensor:
        """[...] integer classes -> [...] float32 samples in [-1, 1]."""
        mu = self.classes - 1

        def expand(block: Tensor) -> Tensor:
            level = block.mul_(2).div_(mu).sub_(1)
            magnitude = level.abs().mul_(math.log1p(mu)).expm1_().div_(mu)
            return magnitude.mul_(level.sign_()).clamp_(-1, 1)

        return _in_blocks(_class_tensor(classes, self.classes), torch.float32, expand)


@dataclass(frozen=True)
class Linear:
    """Uniform bins: encode(x) = floor((clip(x) + 1) / 2 * (classes - 1) + 0.5), decode(q) = 2q / (classes - 1) - 1."""

    classes: int = 256
    name: ClassVar[str] = "linear"
    is_audio: ClassVar[bool] = True
    scalar: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_audio_classes(self.name, self.classes)

    @property
    def silence(self) -> int:
        return self.classes // 2

    def encode(self, wave: Any) -> Tensor:
        """[...] floats (tensor, array or nested list), clipped to [-1, 1] -> [...] int64 classes."""
        steps = self.classes - 1

        def quantise(block: Tensor) -> Tensor:
            return block.clamp_(-1, 1).add_(1).div_(2).mul_(steps).add_(0.5).floor_()

        return _in_blocks(_waveform(wave), torch.int64, quantise)

    def decode(self, classes: Any) -> Tensor:
        """[...] integer classes -> [...] float32 samples in [-1, 1]."""
        steps = self.classes - 1
        return _in_blocks(
            _class_tensor(classes, self.classes), torch.float32, lambda block: block.mul_(2).div_(steps).sub_(1)
        )


@dataclass(frozen=True)
class Bytes:
    """UTF-8 text, one class a byte, so that the same model generates text."""

    name: ClassVar[str] = "bytes"
    classes: ClassVar[int] = 256
    is_audio: ClassVar[bool] = False
    scalar: ClassVar[bool] = False
    silence: ClassVar[int] = ord("\n")  # a text starts at the start of a line

    def encode(self, text: str | bytes) -> Tensor:
        """Text, or bytes that are already encoded -> [time] int64."""
        if isinstance(text, str):
            try:
                text = text.encode("utf-8")
            except UnicodeEncodeError as error:
                raise InputError(f"the text is not valid Unicode and has no UTF-8 form: {error}") from error
        if not isinstance(text, bytes):
            raise InputError(f"the bytes codec encodes str or bytes, got {type(text).__name__}")
        return torch.from_numpy(np.frombuffer(text, dtype=np.uint8).astype(np.int64))

    def decode(self, classes: Any) -> str:
        """[time] integer classes -> text. Bytes that are not UTF-8 (a model may emit any) become U+FFFD."""
        tokens = _class_tensor(classes, self.classes)
        if tokens.ndim != 1:
            raise InputError(f"the bytes codec decodes one text, [time], at a time; got shape {list(tokens.shape)}")
        return tokens.to("cpu", torch.uint8).numpy().tobytes().decode("utf-8", errors="replace")


@dataclass(frozen=True)
class Pcm:
    """No classes: the scalar waveform in [-1, 1] is both the input and the target."""

    name: ClassVar[str] = "pcm"
    classes: ClassVar[int] = 0
    is_audio: ClassVar[bool] = True
    scalar: ClassVar[bool] = True
    silence: ClassVar[float] = 0.0

    def encode(self, wave: Any) -> Tensor:
        """[...] floats (tensor, array or nested list) -> [...] float32, clamped to [-1, 1]."""
        return _in_blocks(_waveform(wave), torch.float32, lambda block: block.clamp_(-1, 1))

    def decode(self, samples: Any) -> Tensor:
        """[...] floats -> the same as float32."""
        return _waveform(samples).to(torch.float32)


def _check_audio_classes(name: str, classes: Any) -> None:
    if isinstance(classes, bool) or not isinstance(classes, int) or not 2 <= classes <= MOST_CLASSES:
        raise ConfigError(f"codec {name!r} needs a whole number of classes from 2 to {MOST_CLASSES}, got {classes!r}")


def _waveform(wave: Any) -> Tensor:
    """A float tensor [...] without gradient, wherever it lives."""
    tensor = _tensor(wave, "a waveform")
    if not tensor.is_floating_point():
        raise InputError(
            f"a waveform is made of floats in [-1, 1], got {tensor.dtype}: "
            "divide integer samples by their full scale first (32768 for 16 bits)"
        )
    return tensor


def _class_tensor(classes: Any, count: int) -> Tensor:
    """An int64 tensor [...] whose every element is in [0, count)."""
    tensor = _tensor(classes, "classes")
    if not tensor.numel():  # an empty list has no type, and decodes to nothing
        return tensor.to(torch.int64)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise InputError(f"classes are integers, got {tensor.dtype}")
    tensor = tensor.to(torch.int64)
    low, high = (int(bound) for bound in torch.aminmax(tensor))
    if low < 0 or high >= count:
        raise InputError(f"classes must lie in 0..{count - 1}, got {low}..{high}: were they made by another codec?")
    return tensor


def _tensor(values: Any, what: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiu":
            raise TypeError(f"it holds {array.dtype}")
        if array.dtype.kind == "f" and array.dtype.itemsize > 8:
            array = array.astype(np.float64)  # torch has no long double
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        return torch.from_numpy(np.require(native, requirements=["C", "W"]))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{what} must be a tensor, an array or a nested list of numbers: {error}") from error


def _in_blocks(source: Tensor, dtype: torch.dtype, convert: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply `convert` (float64 block in, may be overwritten) to a block at a time -> `dtype`, same shape and device."""
    flat = source.reshape(-1)
    result = torch.empty(flat.shape, dtype=dtype, device=flat.device)
    # Apple's GPUs have no float64, in which all backends agree on the class of a sample near a bin's edge
    work = torch.device("cpu") if flat.device.type == "mps" else flat.device
    for first in range(0, flat.numel(), _BLOCK):
        block = torch.empty_like(flat[first : first + _BLOCK], dtype=torch.float64, device=work)
        block.copy_(flat[first : first + _BLOCK])
        if not bool(torch.isfinite(block).all()):
            at = first + int(torch.isfinite(block).logical_not_().nonzero()[0])
            raise InputError(f"the waveform holds NaN or infinity, first at element {at}")
        result[first : first + _BLOCK] = convert(block)
    return result.reshape(source.shape)
