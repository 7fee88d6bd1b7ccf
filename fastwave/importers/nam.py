"""Neural Amp Modeler's WaveNets of the first architecture (A1): files `.nam`, from a waveform to a waveform.

They draw nothing: each sample is a function of the input up to it. So this is no WaveNetConfig, but a network of plain
convolutions, which remembers as much input as it looks back on. Before the first sample it has heard silence.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ..engine.reference import quiet_torch
from ..errors import CheckpointError
from ..locate import parse_object
from .reading import read_file

BLOCK = 4096  # samples computed together, always as many: rounding may depend on the number
USUAL_RATE = 48_000  # of a file that does not say
_MOST_CHANNELS, _MOST_LAYERS, _MOST_FIELD, _MOST_BYTES = 4096, 1024, 1 << 22, 1 << 28
_ACTIVATIONS = {
    "Tanh": torch.tanh, "ReLU": torch.relu, "Sigmoid": torch.sigmoid, "SiLU": F.silu, "Hardtanh": F.hardtanh,
    "LeakyReLU": F.leaky_relu, "Hardswish": F.hardswish,
}  # fmt: skip
# what a layer array of the first architecture may say, and what it says of the second when it uses nothing of that
_FIRST = {"input_size", "condition_size", "head_size", "head_bias", "head", "channels", "kernel_size", "kernel_sizes",
          "dilations", "activation", "gated", "gating_mode", "secondary_activation"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Layer:
    """One dilated convolution with what follows it. Weights as torch has them: [out, in, taps]."""

    weight: Tensor
    bias: Tensor
    mixer: Tensor
    residual: Tensor
    residual_bias: Tensor
    dilation: int
    activation: str
    gated: bool


@dataclasses.dataclass(frozen=True)
class Array:
    """Layers of one width, and the convolutions into and out of them."""

    entry: Tensor
    layers: tuple[Layer, ...]
    head: Tensor
    head_bias: Tensor | None


@dataclasses.dataclass(frozen=True)
class Amplifier:
    """A model of one device."""

    arrays: tuple[Array, ...]
    scale: float
    sample_rate: int

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Of all arrays, in their order."""
        return tuple(layer for array in self.arrays for layer in array.layers)

    @property
    def receptive_field(self) -> int:
        """Samples that an output hears."""
        return 1 + sum((layer.weight.shape[2] - 1) * layer.dilation for layer in self.layers)

    def to(self, dtype: torch.dtype) -> Amplifier:
        """The same in other numbers."""

        def converted(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.to(dtype)
            if isinstance(value, tuple):
                return tuple(map(converted, value))
            if isinstance(value, (Array, Layer)):
                fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
                return type(value)(**{name: converted(each) for name, each in fields.items()})
            return value

        return dataclasses.replace(self, arrays=converted(self.arrays))

    def process(self, blocks: Iterable[npt.NDArray[np.float32]]) -> Iterator[npt.NDArray[Any]]:
        """A waveform in blocks [time] of any sizes -> the sound of the device, as much of it, in blocks.

        The same bits for every division into blocks. An output block comes when its input is there.
        """
        dtype = self.arrays[0].entry.dtype
        memory = [
            torch.zeros(1, layer.weight.shape[1], (layer.weight.shape[2] - 1) * layer.dilation, dtype=dtype)
            for layer in self.layers
        ]
        silence = torch.zeros(BLOCK, dtype=dtype)
        for _ in range(-(-self.receptive_field // BLOCK)):
            self._step(silence, memory)
        held = np.zeros(0, dtype=np.float32)
        for block in blocks:
            held = np.concatenate([held, block])
            while len(held) >= BLOCK:
                yield self._step(torch.from_numpy(held[:BLOCK].copy()).to(dtype), memory)
                held = held[BLOCK:]
        if len(held):
            padded = np.pad(held, (0, BLOCK - len(held)))
            yield self._step(torch.from_numpy(padded).to(dtype), memory)[: len(held)]

    def _step(self, wave: Tensor, memory: list[Tensor]) -> npt.NDArray[Any]:
        """The outputs for BLOCK samples; `memory` holds the past inputs of every layer, and is advanced."""
        with quiet_torch():
            condition = x = wave[None, None]
            heads: Tensor | None = None
            number = 0
            for array in self.arrays:
                x = F.conv1d(x, array.entry)
                for layer in array.layers:
                    known = torch.cat([memory[number], x], dim=2)
                    memory[number] = known[:, :, BLOCK:]
                    a = F.conv1d(known, layer.weight, layer.bias, dilation=layer.dilation)
                    a = a + F.conv1d(condition, layer.mixer)
                    z = _activated(a, layer)
                    heads = z if heads is None else heads + z
                    x = x + F.conv1d(z, layer.residual, layer.residual_bias)
                    number += 1
                assert heads is not None
                heads = F.conv1d(heads, array.head, array.head_bias)
            assert heads is not None
            result: npt.NDArray[Any] = (self.scale * heads[0, 0]).numpy()
        return result


def _activated(a: Tensor, layer: Layer) -> Tensor:
    act = _ACTIVATIONS[layer.activation]
    if not layer.gated:
        return act(a)
    filtered, gate = a.chunk(2, dim=1)
    return act(filtered) * torch.sigmoid(gate)


def load(path: Path) -> Amplifier:
    """The model in a file `.nam`. Nothing in it is run; what is not of the first architecture is refused by name."""
    if path.is_file() and path.stat().st_size > _MOST_BYTES:
        raise CheckpointError(f"{path} is over {_MOST_BYTES >> 20} MB: no model of Neural Amp Modeler is that large.")
    values = parse_object(bytes(read_file(path)), path, "model of Neural Amp Modeler")
    architecture, config = values.get("architecture"), values.get("config")
    if architecture != "WaveNet" or not isinstance(config, dict):
        raise CheckpointError(
            f"{path} has the architecture {str(architecture)[:40]!r}: only WaveNets are processed here, and of those "
            "the first architecture (A1)."
        )
    for key in ("head", "condition_dsp"):
        if config.get(key) is not None:
            raise CheckpointError(
                f"{path} has {key!r}, which belongs to NAM's second architecture (A2): not supported."
            )
    configs = config.get("layers")
    if not isinstance(configs, list) or not configs or not all(isinstance(each, dict) for each in configs):
        raise CheckpointError(f"{path} has no layers: it is incomplete.")
    rate = values.get("sample_rate") or USUAL_RATE
    if (
        isinstance(rate, bool)
        or not isinstance(rate, (int, float))
        or not (float(rate).is_integer() and 0 < rate < 1e6)
    ):
        raise CheckpointError(f"{path}: the sample rate {str(rate)[:40]!r} is no whole number of Hz.")
    weights = _Weights(values.get("weights"), path)
    arrays = tuple(_array(each, number, weights, path) for number, each in enumerate(configs))
    for first, second in itertools.pairwise(arrays):
        if first.head.shape[0] != second.head.shape[1] or first.entry.shape[0] != second.entry.shape[1]:
            raise CheckpointError(f"{path}: the layer arrays do not fit each other: it is damaged.")
    if arrays[-1].head.shape[0] != 1 or arrays[0].entry.shape[1] != 1:
        raise CheckpointError(f"{path} is not from one channel to one channel.")
    scale = float(weights.take(1)[0])  # the same as config's head_scale, and the one that counts
    weights.finish()
    amplifier = Amplifier(arrays, scale, int(rate))
    if len(amplifier.layers) > _MOST_LAYERS or amplifier.receptive_field > _MOST_FIELD:
        raise CheckpointError(f"{path} looks back {amplifier.receptive_field} samples: it is damaged.")
    return amplifier


class _Weights:
    """The row of all weights, which are taken in their order."""

    def __init__(self, values: Any, path: Path) -> None:
        plain = isinstance(values, list) and all(type(each) in (float, int) and abs(each) < 1e38 for each in values)
        self._row = torch.tensor(values if plain else [], dtype=torch.float64).float()
        self._path, self._used = path, 0
        if not len(self._row):
            raise CheckpointError(f"{path}: its weights are not a list of finite numbers.")

    def take(self, *shape: int) -> Tensor:
        """The next ones."""
        count = math.prod(shape)
        part = self._row[self._used : self._used + count]
        if len(part) < count:
            raise CheckpointError(
                f"{self._path} has {len(self._row)} weights, and its config asks for more: it is damaged."
            )
        self._used += count
        return part.reshape(shape).clone()

    def finish(self) -> None:
        """Refuse weights that nothing has taken."""
        if self._used != len(self._row):
            raise CheckpointError(
                f"{self._path} has {len(self._row)} weights, and its config asks for {self._used}: it is damaged."
            )


def _array(config: Mapping[str, Any], number: int, weights: _Weights, path: Path) -> Array:
    place = f"{path}: layers[{number}]"
    for key, value in config.items():
        if key not in _FIRST and not _is_unused(key, value, config):
            raise CheckpointError(
                f"{place} has {key!r}, which belongs to NAM's second architecture (A2): not supported."
            )
    dilations = config.get("dilations")
    if not isinstance(dilations, list) or not 1 <= len(dilations) <= _MOST_LAYERS:
        raise CheckpointError(f"{place} has no dilations.")
    sizes = config.get("kernel_sizes", config.get("kernel_size"))
    taps = _each(sizes, len(dilations), f"{place}: kernel_size")
    head = config.get("head", {"out_channels": config.get("head_size"), "bias": config.get("head_bias", False)})
    if not isinstance(head, dict) or head.get("kernel_size", 1) != 1:
        raise CheckpointError(f"{place}: a head of several taps belongs to NAM's second architecture (A2).")
    channels, inputs, out = (
        _size(value, f"{place}: {name}", _MOST_CHANNELS)
        for name, value in (
            ("channels", config.get("channels")),
            ("input_size", config.get("input_size")),
            ("the head's size", head.get("out_channels")),
        )
    )
    if config.get("condition_size") != 1:
        raise CheckpointError(f"{place}: condition_size must be 1, got {str(config.get('condition_size'))[:40]}.")
    gates = _gates(config, len(dilations), place)
    names = [
        _activation(value, place) for value in _each(config.get("activation"), len(dilations), f"{place}: activation")
    ]
    entry = weights.take(channels, inputs, 1)
    layers = []
    for index, dilation in enumerate(dilations):
        width = 2 * channels if gates[index] else channels
        k = _size(taps[index], f"{place}: kernel_size", 1024)
        layers.append(
            Layer(
                weight=weights.take(width, channels, k),
                bias=weights.take(width),
                mixer=weights.take(width, 1, 1),
                residual=weights.take(channels, channels, 1),
                residual_bias=weights.take(channels),
                dilation=_size(dilation, f"{place}: a dilation", _MOST_FIELD),
                activation=names[index],
                gated=gates[index],
            )
        )
        if (k - 1) * layers[-1].dilation > _MOST_FIELD:
            raise CheckpointError(f"{place} looks back over {_MOST_FIELD} samples: it is damaged.")
    return Array(entry, tuple(layers), weights.take(out, channels, 1), weights.take(out) if head.get("bias") else None)


def _is_unused(key: str, value: Any, config: Mapping[str, Any]) -> bool:
    """Whether a field of the second architecture says that nothing of it is used."""
    if key == "bottleneck":
        return bool(value == config.get("channels"))
    if key in ("groups_input", "groups_input_mixin"):
        return bool(value == 1)
    if key in ("layer1x1", "layer_1x1_config"):
        return isinstance(value, dict) and value.get("active", True) is True and value.get("groups", 1) == 1
    return value is None or value == {} or (isinstance(value, dict) and value.get("active") is False)


def _gates(config: Mapping[str, Any], count: int, place: str) -> list[bool]:
    modes = _each(config.get("gating_mode", "gated" if config.get("gated") else "none"), count, f"{place}: gating_mode")
    second = _each(config.get("secondary_activation"), count, f"{place}: secondary_activation")
    for mode, activation in zip(modes, second, strict=True):
        plain = activation is None or _activation(activation, place) == "Sigmoid"
        if mode not in ("none", "gated") or (mode == "gated" and not plain):
            raise CheckpointError(f"{place}: the gating {str(mode)[:40]!r} belongs to NAM's second architecture (A2).")
    return [mode == "gated" for mode in modes]


def _activation(value: Any, place: str) -> str:
    """The name of an activation, which may be an object with its type alone."""
    name = value.get("type") if isinstance(value, dict) and len(value) == 1 else value
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise CheckpointError(
            f"{place}: the activation {str(value)[:60]!r} is not known here: {', '.join(_ACTIVATIONS)} are."
        )
    return name


def _each(value: Any, count: int, name: str) -> list[Any]:
    """One for every layer, of a list or of a single one."""
    if not isinstance(value, list):
        return [value] * count
    if len(value) != count:
        raise CheckpointError(f"{name} has {len(value)} entries for {count} layers.")
    return value


def _size(value: Any, name: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise CheckpointError(f"{name} must be a whole number 1..{most}, got {str(value)[:40]!r}.")
    return value
