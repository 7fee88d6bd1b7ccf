"""ksw0306/ClariNet's teacher: a WaveNet on the waveform with one Gaussian, and a rectifier behind its first layer."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import WaveNetConfig
from ..errors import CheckpointError
from ..sound.features import Array
from ..upsampling import UpsampleStage
from .folding import Layer, fold_head, fold_layers
from .hyperparameters import Hyperparameters
from .mapping import Imported, Network, Trial
from .notes import Notes
from .source import Source
from .weights import Weights

NAME = "clarinet"
PROJECT = "ksw0306/ClariNet"
RESIDUAL_SCALE = math.sqrt(0.5)  # of every layer's output
SLOPE = 0.4  # of the leaky rectifier behind each upsampling, which no option changes
_NEEDED = ("front_conv.0.conv", "res_blocks.0.filter_conv.conv", "res_blocks.0.gate_conv_c", "final_conv.3.conv")
_LEAVES = ("weight", "weight_v", "parametrizations.weight.original1")


@dataclasses.dataclass(frozen=True)
class _Network(Network):
    """Weight normalisation is folded."""

    dilations: tuple[int, ...]
    scales: tuple[int, ...]


def matches(source: Source) -> float | None:
    """By the names of its layers. Its students are recognised too, and refused with the reason."""
    if any(name.startswith("iafs.0.res_blocks.0.") for name in source.tensors):
        return 1.0
    return 1.0 if all(any(f"{name}.{leaf}" in source.tensors for leaf in _LEAVES) for name in _NEEDED) else None


def convert(source: Source, weights: Weights, hyper: Hyperparameters, notes: Notes) -> Imported:
    """The checkpoint as ours."""
    if weights.indices("iafs.{}.front_conv.0.conv.bias"):
        raise CheckpointError(
            "this is a student of ClariNet, flows from noise to sound that see no sample before: no WaveNet that draws "
            "sample by sample. Import its teacher."
        )
    network = _take(weights, hyper)
    t = network.tensors
    residual, _, front_taps = t["front_conv.0.conv"].shape
    gate, _, taps = t["res_blocks.0.filter_conv.conv"].shape
    aux = t["res_blocks.0.filter_conv_c"].shape[1]
    stages = tuple(
        UpsampleStage(stride=scale, taps=2 * scale, trim=scale // 2, weights="shared", bands=3, bias=True, slope=SLOPE)
        for scale in network.scales
    )
    config = WaveNetConfig(
        residual_channels=residual,
        gate_channels=gate,
        skip_channels=t["final_conv.1.conv"].shape[0],
        kernel_size=taps,
        front_kernel=front_taps,
        front_bias=True,
        front_activation="relu",
        dilations=network.dilations,
        codec="pcm",
        classes=0,
        output="gaussian",
        sample_rate=hyper.sample_rate("sample_rate"),
        condition_channels=aux,
        features=Array(aux),
        hop=math.prod(network.scales),
        upsampling="stages",
        upsample_stages=stages,
    )
    layers = len(network.dilations)
    notes.recognised(f"a teacher of {layers} layers, dilations {', '.join(map(str, network.dilations[:4]))}, ...")
    notes.folded("the residual scale sqrt(1/2) of every layer into the weights")
    notes.folded("the biases of filter_conv_c and gate_conv_c into those of filter_conv and gate_conv")
    notes.assume("log deviations are not clamped at -7 in sampling, as its code of 2018 did")
    notes.condition(
        f"{aux} mel bands a frame of {config.hop} samples, as its preprocessing.py makes them: 20 log10 of magnitudes "
        "over 0.0001, less 20 dB, with -100..0 dB as 0..1"
    )
    return Imported(config, _fold(network), lambda trial: _forward(network, trial))


def _take(weights: Weights, hyper: Hyperparameters) -> _Network:
    """Every weight and bias, checked against each other."""
    residual, _, front_taps = _shape(weights, "front_conv.0.conv", 3)
    gate, _, taps = _shape(weights, "res_blocks.0.filter_conv.conv", 3)
    skip = _shape(weights, "final_conv.1.conv", 3)[0]
    aux = _shape(weights, "res_blocks.0.filter_conv_c", 3)[1]
    for key, actual, name in (
        ("residual_channels", residual, "front_conv.0.conv"),
        ("gate_channels", gate, "res_blocks.0.filter_conv.conv"),
        ("kernel_size", taps, "res_blocks.0.filter_conv.conv"),
        ("skip_channels", skip, "final_conv.1.conv"),
        ("cin_channels", aux, "res_blocks.0.filter_conv_c"),
    ):
        hyper.expect(key, actual, name)
    dilations = _dilations(weights, hyper, taps)
    shapes: dict[str, tuple[int, ...]] = {"front_conv.0.conv": (residual, 1, front_taps)}
    for layer in range(len(dilations)):
        prefix = f"res_blocks.{layer}"
        for half in ("filter", "gate"):
            shapes[f"{prefix}.{half}_conv.conv"] = (gate, residual, taps)
            shapes[f"{prefix}.{half}_conv_c"] = (gate, aux, 1)
        shapes[f"{prefix}.res_conv"] = (residual, gate, 1)
        shapes[f"{prefix}.skip_conv"] = (skip, gate, 1)
    shapes |= {"final_conv.1.conv": (skip, skip, 1), "final_conv.3.conv": (2, skip, 1)}
    tensors = {name: weights.take_normed(name, shape) for name, shape in shapes.items()}
    tensors |= {f"{name}.bias": weights.take(f"{name}.bias", shape[:1]) for name, shape in shapes.items()}
    last = f"res_blocks.{len(dilations) - 1}.res_conv"
    for leaf in ("weight", "weight_g", "weight_v", "bias"):
        if weights.has(f"{last}.{leaf}"):
            weights.drop(f"{last}.{leaf}", "nothing reads the residual of the last layer")
    scales: list[int] = []
    while weights.has(f"upsample_conv.{2 * len(scales)}.bias"):  # odd numbers are the rectifiers between them
        name = f"upsample_conv.{2 * len(scales)}"
        width = _shape(weights, name, 4)[3]
        if width % 4:
            raise CheckpointError(
                f"{name} has {width} taps: only twice an even scale keeps the number of samples in ClariNet's code."
            )
        tensors[name] = weights.take_normed(name, (1, 1, 3, width))
        tensors[f"{name}.bias"] = weights.take(f"{name}.bias", (1,))
        scales.append(width // 2)
    hyper.expect("upsample_scales", scales, "upsample_conv")
    return _Network(tensors, dilations, tuple(scales))


def _dilations(weights: Weights, hyper: Hyperparameters, taps: int) -> tuple[int, ...]:
    """1, K, K^2, ... once in every block. How many blocks there are is not in the shapes."""
    layers = weights.indices("res_blocks.{}.skip_conv.bias")
    blocks = hyper.integer("num_blocks", 1, layers)
    if layers % blocks:
        raise CheckpointError(f"num_blocks = {blocks} does not divide the {layers} layers of res_blocks.")
    hyper.expect("num_layers", layers // blocks, "res_blocks, divided by num_blocks,")
    return tuple(taps**number for number in range(layers // blocks)) * blocks


def _shape(weights: Weights, name: str, dimensions: int) -> tuple[int, ...]:
    """Of a convolution, whose weight may be kept as magnitude and direction."""
    leaf = next((leaf for leaf in _LEAVES if weights.has(f"{name}.{leaf}")), "weight")
    return weights.shape(f"{name}.{leaf}", dimensions)


def _fold(network: _Network) -> dict[str, Tensor]:
    t = network.tensors
    layers = []
    for number in range(len(network.dilations)):
        prefix = f"res_blocks.{number}"
        dilated = [f"{prefix}.{half}_conv.conv" for half in ("filter", "gate")]
        aux = [f"{prefix}.{half}_conv_c" for half in ("filter", "gate")]
        layers.append(
            Layer(
                dilated=torch.cat([t[name] for name in dilated]),
                dilated_bias=torch.cat([t[f"{a}.bias"] + t[f"{b}.bias"] for a, b in zip(dilated, aux, strict=True)]),
                residual=t[f"{prefix}.res_conv"],
                residual_bias=t[f"{prefix}.res_conv.bias"],
                skip=t[f"{prefix}.skip_conv"],
                skip_bias=t[f"{prefix}.skip_conv.bias"],
                condition=torch.cat([t[name] for name in aux]),
            )
        )
    parameters = fold_layers(layers, RESIDUAL_SCALE)
    parameters |= fold_head(*(t[f"final_conv.{number}.conv{leaf}"] for number in (1, 3) for leaf in ("", ".bias")))
    parameters |= {"front.weight": t["front_conv.0.conv"].permute(2, 1, 0), "front.bias": t["front_conv.0.conv.bias"]}
    for number in range(len(network.scales)):
        name = f"upsample_conv.{2 * number}"
        parameters[f"upsample.{number}.weight"] = t[name][0, 0].T.flip(1)  # a transposed one counts bands backwards
        parameters[f"upsample.{number}.bias"] = t[f"{name}.bias"]
    return parameters


def _forward(network: _Network, trial: Trial) -> Tensor:
    """The network as it is written: [T, 2]"""
    t, steps = network.tensors, len(trial.tokens)
    assert trial.frames is not None
    c = trial.frames.T[None, None]
    for number, scale in enumerate(network.scales):
        name = f"upsample_conv.{2 * number}"
        c = F.conv_transpose2d(c, t[name], t[f"{name}.bias"], stride=(1, scale), padding=(1, scale // 2))
        c = F.leaky_relu(c, SLOPE)
    c = c[:, 0, :, :steps]
    x = torch.relu(network.convolve("front_conv.0.conv", trial.tokens[None, None]))
    skips = torch.zeros(())
    for number, dilation in enumerate(network.dilations):
        prefix = f"res_blocks.{number}"
        filtered, gate = (
            network.convolve(f"{prefix}.{half}_conv.conv", x, dilation) + network.convolve(f"{prefix}.{half}_conv_c", c)
            for half in ("filter", "gate")
        )
        z = torch.tanh(filtered) * torch.sigmoid(gate)
        skips = skips + network.convolve(f"{prefix}.skip_conv", z)
        x = (x + network.convolve(f"{prefix}.res_conv", z)) * RESIDUAL_SCALE
    hidden = torch.relu(network.convolve("final_conv.1.conv", torch.relu(skips)))
    return network.convolve("final_conv.3.conv", hidden)[0].T
