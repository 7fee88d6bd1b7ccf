"""The three networks: units -> durations; units and durations -> log F0 and voicing; all of these -> log-mel.

Each reads the units of a whole sentence by convolutions, in which a phone hears some 30 neighbours on either side; the
last two spread the result over the frames and go on there. Small enough that a sentence takes milliseconds on a core.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad

from ...errors import ConfigError
from ..phones import SYMBOLS
from .places import FRAME_FEATURES, UNIT_FEATURES

UNIT_TAPS, FRAME_TAPS = 5, 3
WIDEST, MOST_LAYERS = 1024, 32
PITCH_OUTPUTS = 2  # log F0, voicing


@dataclasses.dataclass(frozen=True)
class Shape:
    """How large the networks are: 0.87 M parameters in all at the defaults."""

    duration_width: int = 80
    pitch_width: int = 88
    pitch_frame_width: int = 72
    mel_width: int = 112
    mel_frame_width: int = 112
    bands: int = 40
    unit_dilations: tuple[int, ...] = (1, 2, 4)
    pitch_dilations: tuple[int, ...] = (1, 2, 4, 8)
    mel_dilations: tuple[int, ...] = (1, 2, 4, 1)

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            values = value if isinstance(value, (tuple, list)) else [value]
            whole = all(isinstance(each, int) and not isinstance(each, bool) for each in values)
            one = isinstance(getattr(Shape, name), tuple) != isinstance(value, tuple)
            if (
                one
                or not whole
                or not 1 <= len(values) <= MOST_LAYERS
                or not all(1 <= each <= WIDEST for each in values)
            ):
                raise ConfigError(
                    f"{name} of an acoustic model is a whole number of 1..{WIDEST}, or for dilations up to "
                    f"{MOST_LAYERS} of them, got {str(value)[:60]!r}."
                )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Shape:
        """From JSON values; unknown ones are refused."""
        if not isinstance(values, Mapping):
            raise ConfigError(f"the shape of an acoustic model is an object, got {str(values)[:60]!r}.")
        unknown = sorted(values.keys() - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ConfigError(f"unknown shape of an acoustic model {unknown}: it may come from a newer fastwave.")
        tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **tuples})


class Convolution(nn.Module):
    """A centred convolution over [B, channels, time]. Its weight is [taps, inputs, outputs], matrices for Muon."""

    def __init__(self, inputs: int, outputs: int, taps: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.dilation = dilation
        bound = (taps * inputs) ** -0.5
        self.weight = nn.Parameter(torch.empty(taps, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, time] -> [B, outputs, time], as if zeros were around x."""
        padding = self.dilation * (self.weight.shape[0] // 2)
        if torch.is_grad_enabled():
            return conv1d(x, self.weight.permute(2, 1, 0), self.bias, padding=padding, dilation=self.dilation)
        # conv1d would keep a compiled kernel for every length that it has seen: 60 MB after 200 sentences
        rows, count = pad(x, (padding, padding)).transpose(1, 2), x.shape[2]
        result = self.bias.expand(len(x), count, -1)
        for tap, weight in enumerate(self.weight):
            first = tap * self.dilation
            result = torch.baddbmm(result, rows[:, first : first + count], weight.expand(len(x), -1, -1))
        return result.transpose(1, 2)


class Residual(nn.Module):
    """x + pointwise(relu(convolution(x))) over [B, width, time]; at first the identity."""

    def __init__(self, width: int, taps: int, dilation: int) -> None:
        super().__init__()
        self.wide = Convolution(width, width, taps, dilation)
        self.narrow = Convolution(width, width)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`mask` [B, 1, time] is 0 behind the end of a row, where x is 0 and stays 0."""
        result: Tensor = x + mask * self.narrow(torch.relu(self.wide(x)))
        return result


class Units(nn.Module):
    """Symbols and places -> what a unit means in its sentence, [B, width, U]."""

    def __init__(self, width: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        # given a weight, it calls no normal_, which on the meta device would import torch._dynamo: 2 s
        self.symbol = nn.Embedding(len(SYMBOLS), width, _weight=torch.randn(len(SYMBOLS), width))
        self.place = Convolution(UNIT_FEATURES, width)
        self.blocks = nn.ModuleList(Residual(width, UNIT_TAPS, dilation) for dilation in dilations)

    def forward(self, symbols: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        """[B, U], [B, U, UNIT_FEATURES], [B, 1, U]"""
        x: Tensor = mask * (self.symbol(symbols).mT + self.place(features.mT))
        for block in self.blocks:
            x = block(x, mask)
        return x


class Durations(nn.Module):
    """Units -> ln of their frames, [B, U]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.units = Units(shape.duration_width, shape.unit_dilations)
        self.out = Convolution(shape.duration_width, 1)

    def forward(self, symbols: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        """[B, U], [B, U, UNIT_FEATURES], [B, 1, U]"""
        result: Tensor = self.out(torch.relu(self.units(symbols, features, mask)))[:, 0]
        return result + 1.5


class Frames(nn.Module):
    """Units, spread over the frames, and other values of the frames -> outputs, [B, outputs, F]."""

    def __init__(
        self, shape: Shape, width: int, frame_width: int, dilations: tuple[int, ...], others: int, outputs: int
    ) -> None:
        super().__init__()
        self.units = Units(width, shape.unit_dilations)
        self.spread = Convolution(width, frame_width)
        self.place = Convolution(FRAME_FEATURES + others, frame_width, FRAME_TAPS)
        self.blocks = nn.ModuleList(Residual(frame_width, FRAME_TAPS, dilation) for dilation in dilations)
        self.out = Convolution(frame_width, outputs)

    def forward(self, symbols: Tensor, features: Tensor, mask: Tensor, index: Tensor, frames: Tensor) -> Tensor:
        """`index` [B, F] is the unit of each frame, -1 behind the end; `frames` [B, F, FRAME_FEATURES + others]."""
        units = self.spread(torch.relu(self.units(symbols, features, mask)))
        inside = (index >= 0).to(units)[:, None]
        spread = units.gather(2, index.clamp(min=0)[:, None].expand(-1, units.shape[1], -1))
        x = inside * (spread + self.place(frames.mT))
        for block in self.blocks:
            x = block(x, inside)
        result: Tensor = self.out(torch.relu(x))
        return result


def pitch_network(shape: Shape) -> Frames:
    """-> [B, 2, F]: log F0, normalised, and the logit of voicing."""
    return Frames(shape, shape.pitch_width, shape.pitch_frame_width, shape.pitch_dilations, 0, PITCH_OUTPUTS)


def mel_network(shape: Shape) -> Frames:
    """-> [B, bands, F], given log F0, normalised, and voicing of every frame."""
    return Frames(shape, shape.mel_width, shape.mel_frame_width, shape.mel_dilations, PITCH_OUTPUTS, shape.bands)
