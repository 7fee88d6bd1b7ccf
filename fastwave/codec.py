"""Waveform or text <-> classes: what a model's tokens mean.

A codec is part of a model's config and of its checkpoint, with its parameters. Published systems use eight mutually
incompatible dialects of "mu-law" (mu = 256 instead of classes - 1, bins by floor instead of rounding, a decode that is
shifted by half a bin, ...), and audio decoded with the wrong one only sounds slightly bad, so nothing here guesses: a
dialect is a set of parameters of `MuLaw`, and `DIALECTS` names those of known projects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any, ClassVar, Protocol, TypeGuard

import numpy as np
import torch
from torch import Tensor

from .blocks import along_time, class_tensor, in_blocks, waveform
from .errors import ConfigError, InputError

NAMES = ("mu-law", "linear", "bytes", "pcm")
ROUNDINGS = ("round", "floor")
MOST_CLASSES = 65536  # 16 bits; also the most for which the exact round trip of every class is proved
MOST_EMPHASIS = 0.99  # the decoder then amplifies the lowest frequencies, and any constant error, by 100


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


def by_name(name: str, classes: int, parameters: Mapping[str, Any] | None = None) -> Codec:
    """The codec that a config or a checkpoint names, with its parameters; anything unknown is refused."""
    if not isinstance(name, str) or name not in NAMES:
        raise ConfigError(f"unknown codec {name!r}: choose one of {', '.join(NAMES)}")
    known = PARAMETERS.get(name, ())
    unknown = sorted(str(key) for key in parameters or {} if key not in known)
    if known and unknown:
        raise ConfigError(
            f"codec {name!r} has no parameter {', '.join(map(repr, unknown))[:200]}; known are {', '.join(known)}"
        )
    if name == "mu-law":
        return MuLaw(classes, **(parameters or {}))
    if parameters and not known:
        raise ConfigError(f"codec {name!r} takes no parameters, got {', '.join(map(repr, parameters))[:200]}")
    if name == "linear":
        return Linear(classes)
    codec = Bytes() if name == "bytes" else Pcm(**(parameters or {}))
    if isinstance(classes, bool) or not isinstance(classes, int) or classes != codec.classes:
        reason = "one class a byte" if name == "bytes" else "samples are numbers, not classes"
        raise ConfigError(f"codec {name!r} has exactly {codec.classes} classes ({reason}), got {classes!r}")
    return codec


@dataclass(frozen=True)
class MuLaw:
    """Logarithmic bins: fine near silence, coarse at full scale. A parameter that is None follows from the classes.

    encode(x) = rounded((sign(x) * log1p(mu * min(|x|, 1)) / log1p(mu) + 1) / 2 * encode_bins), at most classes - 1
    decode(q) = sign(y) * expm1(|y| * log1p(mu)) / mu   with   y = 2 * (q + decode_shift) / decode_bins - 1,
                clipped to [-1, 1]; zero_class, where there is one, decodes to exactly 0

    rounded(v) is floor(v + 0.5), or floor(v) with rounding "floor" (v is never negative: truncation is the same).
    Every class comes back exactly from encode(decode(q)) with the defaults. A dialect that decodes to the lower edge of
    a bin, or with other bins than it encodes with, may give back the class below: `DIALECTS` says which.

    With `pre_emphasis` p and `gain` g, encode(x) encodes g * (x[t] - p * x[t-1]), and decode gives x[t] = y[t] / g +
    p * x[t-1], clipped to [-1, 1] after the recursion, where y is decoded as above: quantisation noise loses its
    treble, which is the hiss. A gain below 1 keeps emphasised sound inside [-1, 1].
    Both filter along the last dimension. What stands before it is an argument: 0 at the start of a sound, else the
    sample before for `encode`, and what `decode_part` returned for `decode_part`.
    """

    classes: int = 256
    mu: float | None = None  # None: classes - 1
    encode_bins: int | None = None  # steps from -1 to 1 in the encoder; None: classes - 1
    rounding: str = "round"
    decode_bins: int | None = None  # steps from -1 to 1 in the decoder; None: classes - 1
    decode_shift: float = 0.0  # in classes, added before decoding
    silence_class: int | None = None  # what stands before the first sample; None: the class of 0.0
    zero_class: int | None = None  # decodes to exactly 0, whatever the formula says; None: no such class
    pre_emphasis: float = 0.0  # p: how much of the sample before is taken away before companding
    gain: float = 1.0  # g: of what is left, before companding
    name: ClassVar[str] = "mu-law"
    is_audio: ClassVar[bool] = True
    scalar: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_audio_classes(self.name, self.classes)
        if self.rounding not in ROUNDINGS:
            raise ConfigError(f"mu-law rounding {self.rounding!r} is not known: choose one of {', '.join(ROUNDINGS)}")
        if self.mu is not None:
            _check_number("mu", self.mu, 1e-3, MOST_CLASSES)
        _check_number("decode_shift", self.decode_shift, -1, 1)
        _check_filter(self)
        for parameter in ("encode_bins", "decode_bins"):
            if getattr(self, parameter) is not None:
                _check_integer(parameter, getattr(self, parameter), 1, 2 * MOST_CLASSES)
        for parameter in ("silence_class", "zero_class"):
            if getattr(self, parameter) is not None:
                _check_integer(parameter, getattr(self, parameter), 0, self.classes - 1)

    def parameters(self) -> dict[str, Any]:
        """The parameters that differ from their defaults: what a config holds."""
        usual = MuLaw(self.classes)
        alike = {"mu": self.classes - 1, "encode_bins": self.classes - 1, "decode_bins": self.classes - 1}
        values = {parameter: getattr(self, parameter) for parameter in MU_LAW_PARAMETERS}
        return {
            parameter: value
            for parameter, value in values.items()
            if value not in (getattr(usual, parameter), alike.get(parameter))
        }

    @property
    def silence(self) -> int:
        """The class that stands before the first sample."""
        if self.silence_class is not None:
            return self.silence_class
        return min(int(self._or_steps(self.encode_bins) / 2 + self._offset), self.classes - 1)

    def encode(self, wave: Any, past: Any = None) -> Tensor:
        """[..., T] floats (tensor, array or nested list), clipped to [-1, 1] -> [..., T] int64 classes.

        With pre-emphasis, `past` [...] is the sample before the first; None: 0.
        """
        return _emphasised(self, waveform(wave), torch.int64, past, self._compress)

    def decode(self, classes: Any) -> Tensor:
        """[...] integer classes -> [...] float32 samples in [-1, 1]; with pre-emphasis, those of a whole sound."""
        return self.decode_part(classes)[0]

    def decode_part(self, classes: Any, past: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Classes [..., T] -> (their samples, the memory that the part after them needs as `past`: [...] float64).

        Parts that are decoded so are the whole, bit for bit. Without pre-emphasis there is no memory: None.
        """
        return _deemphasised(self, class_tensor(classes, self.classes), past, self._expand)

    def _compress(self, block: Tensor) -> Tensor:
        """float64 samples, changed in place -> classes."""
        mu, bins = self._or_steps(self.mu), self._or_steps(self.encode_bins)
        magnitude = block.abs().clamp_(max=1).mul_(mu).log1p_().div_(math.log1p(mu))
        level = magnitude.mul_(block.sign_()).add_(1).div_(2).mul_(bins)
        return level.add_(self._offset).floor_().clamp_(max=self.classes - 1)

    def _expand(self, block: Tensor) -> Tensor:
        """float64 classes, changed in place -> samples."""
        mu, bins = self._or_steps(self.mu), self._or_steps(self.decode_bins)
        zero = block == self.zero_class if self.zero_class is not None else None
        level = block.add_(self.decode_shift).mul_(2).div_(bins).sub_(1)
        magnitude = level.abs().mul_(math.log1p(mu)).expm1_().div_(mu)
        samples = magnitude.mul_(level.sign_()).clamp_(-1, 1)
        return samples if zero is None else samples.masked_fill_(zero, 0)

    @property
    def _offset(self) -> float:
        """What is added before the encoder takes the floor."""
        return 0.5 if self.rounding == "round" else 0.0

    def _or_steps(self, parameter: float | None) -> float:
        return self.classes - 1 if parameter is None else parameter


MU_LAW_PARAMETERS = tuple(field.name for field in fields(MuLaw) if field.name != "classes")

# The parameters of `MuLaw(256, ...)` with which other projects encode and decode, and what encode(decode(q)) gives.
DIALECTS: dict[str, dict[str, Any]] = {
    "fastwave": {},  # q
    # r9y9/wavenet_vocoder, master: decodes to the lower edge of a bin. q, or q - 1 where float32 rounds below it.
    "r9y9": {"rounding": "floor"},
    # The same up to 0.1.1, where a sample of exactly 1.0 would be class 256; here it is 255. q or q - 1.
    "r9y9-0.1.1": {"mu": 256, "encode_bins": 256, "rounding": "floor", "decode_bins": 256},
    # vincentherrmann/pytorch-wavenet: other bins there and back. q - 1, and 0 for class 0.
    "vincentherrmann": {"mu": 256, "rounding": "floor", "decode_bins": 256},
    # kan-bayashi/PytorchWaveNetVocoder: decodes to the lower edge of a bin, class 0 to -1. q or q - 1.
    "kan-bayashi": {"decode_shift": -0.5},
    # NSynth, with its classes -128..127 counted from 0: decodes to the middle of a bin. q.
    "nsynth": {
        "encode_bins": 256, "rounding": "floor", "decode_bins": 256, "decode_shift": 0.5, "zero_class": 128,
    },
}  # fmt: skip


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

        return in_blocks(waveform(wave), torch.int64, quantise)

    def decode(self, classes: Any) -> Tensor:
        """[...] integer classes -> [...] float32 samples in [-1, 1]."""
        steps = self.classes - 1
        return in_blocks(
            class_tensor(classes, self.classes), torch.float32, lambda block: block.mul_(2).div_(steps).sub_(1)
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
        tokens = class_tensor(classes, self.classes)
        if tokens.ndim != 1:
            raise InputError(f"the bytes codec decodes one text, [time], at a time; got shape {list(tokens.shape)}")
        return tokens.to("cpu", torch.uint8).numpy().tobytes().decode("utf-8", errors="replace")


@dataclass(frozen=True)
class Pcm:
    """No classes: the scalar waveform in [-1, 1] is both the input and the target.

    `pre_emphasis` and `gain` are those of `MuLaw`. With `mu`, numbers are companded as there, without rounding.
    """

    pre_emphasis: float = 0.0
    gain: float = 1.0
    mu: float | None = None  # None: not companded
    name: ClassVar[str] = "pcm"
    classes: ClassVar[int] = 0
    is_audio: ClassVar[bool] = True
    scalar: ClassVar[bool] = True
    silence: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        _check_filter(self)
        if self.mu is not None:
            _check_number("mu", self.mu, 1e-3, MOST_CLASSES)

    def parameters(self) -> dict[str, Any]:
        """The parameters that differ from their defaults: what a config holds."""
        usual = Pcm()
        names = PARAMETERS[self.name]
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(usual, name)}

    def encode(self, wave: Any, past: Any = None) -> Tensor:
        """[...] floats (tensor, array or nested list) -> [...] float32, clamped to [-1, 1]; `past` is that of MuLaw."""
        return _emphasised(self, waveform(wave), torch.float32, past, self._compress)

    def decode(self, samples: Any) -> Tensor:
        """[...] floats -> [...] float32, the same where the codec has no parameters."""
        return self.decode_part(samples)[0]

    def decode_part(self, samples: Any, past: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """As `MuLaw.decode_part`."""
        if self == Pcm():
            return waveform(samples).to(torch.float32), None
        return _deemphasised(self, waveform(samples), past, self._expand)

    def _compress(self, block: Tensor) -> Tensor:
        """float64 samples, changed in place -> numbers."""
        block.clamp_(-1, 1)
        return block if self.mu is None else block.sign() * (block.abs() * self.mu).log1p() / math.log1p(self.mu)

    def _expand(self, block: Tensor) -> Tensor:
        """float64 numbers -> samples."""
        return block if self.mu is None else block.sign() * (block.abs() * math.log1p(self.mu)).expm1() / self.mu


# The parameters that a config may give each codec
PARAMETERS = {"mu-law": MU_LAW_PARAMETERS, "pcm": tuple(field.name for field in fields(Pcm))}


def parameters_of(codec: Codec) -> dict[str, Any]:
    """The parameters of a codec that differ from their defaults."""
    return codec.parameters() if isinstance(codec, (MuLaw, Pcm)) else {}


def remembers(codec: Codec) -> TypeGuard[MuLaw | Pcm]:
    """Whether a sample depends on more than its own token, so that parts of a sound need `decode_part`."""
    return isinstance(codec, (MuLaw, Pcm)) and codec.pre_emphasis > 0


def _check_filter(codec: MuLaw | Pcm) -> None:
    _check_number("pre_emphasis", codec.pre_emphasis, 0, MOST_EMPHASIS)
    _check_number("gain", codec.gain, 1e-3, 1e3)


def _emphasised(
    codec: MuLaw | Pcm, wave: Tensor, dtype: torch.dtype, past: Any, compress: Callable[[Tensor], Tensor]
) -> Tensor:
    """A waveform [..., T] -> tokens: emphasis and gain, then `compress`, both in float64."""
    if not codec.pre_emphasis:
        if codec.gain == 1:
            return in_blocks(wave, dtype, compress)
        return in_blocks(wave, dtype, lambda block: compress(block.mul_(codec.gain)))

    def emphasise(block: Tensor, last: float) -> tuple[Tensor, float]:
        before = torch.cat([block.new_tensor([last]), block[:-1]])
        newest = float(block[-1])
        emphasised = block - codec.pre_emphasis * before
        return compress(emphasised if codec.gain == 1 else emphasised * codec.gain), newest

    return along_time(wave, dtype, past, emphasise)[0]


def _deemphasised(
    codec: MuLaw | Pcm, tokens: Tensor, past: Tensor | None, expand: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor | None]:
    """Tokens [..., T] -> (samples, what the part after them needs as `past`): the inverse of `_emphasised`."""
    p, gain = codec.pre_emphasis, codec.gain
    if not p:
        if gain == 1:
            return in_blocks(tokens, torch.float32, expand), None
        return in_blocks(tokens, torch.float32, lambda block: expand(block).div_(gain).clamp_(-1, 1)), None

    def undo(block: Tensor, last: float) -> tuple[Tensor, float]:
        expanded = expand(block)
        steps = (expanded if gain == 1 else expanded / gain).tolist()
        wave = np.fromiter(accumulate(steps, lambda before, step: step + p * before, initial=last), np.float64)
        return torch.from_numpy(wave[1:]).clamp(-1, 1), float(wave[-1])

    return along_time(tokens, torch.float32, past, undo)


def _check_audio_classes(name: str, classes: Any) -> None:
    if isinstance(classes, bool) or not isinstance(classes, int) or not 2 <= classes <= MOST_CLASSES:
        raise ConfigError(f"codec {name!r} needs a whole number of classes from 2 to {MOST_CLASSES}, got {classes!r}")


def _check_integer(parameter: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"mu-law {parameter} must be a whole number {low}..{high}, got {str(value)[:80]!r}")


def _check_number(parameter: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ConfigError(f"the codec's {parameter} must be a number {low:g}..{high:g}, got {str(value)[:80]!r}")
