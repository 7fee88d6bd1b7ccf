"""vincentherrmann/pytorch-wavenet: state dicts of `WaveNetModel`, and the whole pickled modules that it saves.

Its network takes one-hot classes: `start_conv` is an embedding. Every layer adds its residual to the input of the
layer, and a skip to the sum that the head sees. The dilations of a block are 1, 2, 4, ..., which `layers` and `blocks`
say. Generation starts from queues of zeros and class 128.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec import DIALECTS
from ..config import WaveNetConfig
from ..errors import CheckpointError
from .hyperparameters import Hyperparameters
from .mapping import Imported, Trial
from .notes import Notes
from .source import Source
from .weights import Weights

NAME = "vh"
PROJECT = "vincentherrmann/pytorch-wavenet"


def matches(source: Source) -> float | None:
    """By the names of the ten kinds of convolution."""
    needed = ("start_conv.weight", "end_conv_1.weight", "end_conv_2.weight", "filter_convs.0.weight")
    more = ("gate_convs.0.weight", "residual_convs.0.weight", "skip_convs.0.weight")
    return 1.0 if all(name in source.tensors for name in needed + more) else None


def convert(source: Source, weights: Weights, hyper: Hyperparameters, notes: Notes) -> Imported:
    """The checkpoint as ours."""
    dilations = _dilations(weights, hyper, notes)
    layers = _take(weights, len(dilations))
    classes, residual = layers["start"].shape[1], layers["start"].shape[0]
    gate, skip = layers["filter.0"].shape[0], layers["skip.0"].shape[0]
    head, taps = layers["end.0"].shape[0], layers["filter.0"].shape[2]
    for key, actual, tensor in (
        ("classes", classes, "start_conv.weight"),
        ("residual_channels", residual, "start_conv.weight"),
        ("dilation_channels", gate, "filter_convs.0.weight"),
        ("skip_channels", skip, "skip_convs.0.weight"),
        ("end_channels", head, "end_conv_1.weight"),
        ("kernel_size", taps, "filter_convs.0.weight"),
    ):
        hyper.expect(key, actual, tensor)
    config = WaveNetConfig(
        residual_channels=residual,
        gate_channels=gate,
        skip_channels=skip,
        head_channels=head,
        kernel_size=taps,
        dilations=dilations,
        classes=classes,
        codec_parameters=_codec(classes),
        sample_rate=hyper.sample_rate("sampling_rate", "sample_rate"),
    )
    notes.recognised(f"{len(dilations)} layers, kernel size {taps}, {residual} residual and {skip} skip channels")
    return Imported(config, _fold(layers, len(dilations), notes), lambda trial: _forward(layers, dilations, trial))


def _dilations(weights: Weights, hyper: Hyperparameters, notes: Notes) -> tuple[int, ...]:
    """1, 2, 4, ... in every block. How many blocks there are is not in the shapes."""
    count = weights.indices("filter_convs.{}.weight")
    if "layers" in hyper:
        depth = hyper.integer("layers", 1, 24)
        blocks = hyper.integer("blocks") if "blocks" in hyper else count // depth
    else:
        blocks = hyper.integer("blocks", 1, count)
        depth = count // blocks
    if depth * blocks != count or depth > 24:
        raise CheckpointError(
            f"layers = {depth} in each of blocks = {blocks} make {depth * blocks}, but there are {count} filter_convs: "
            "give the two as the model was made with them, --set layers=... --set blocks=..."
        )
    dilations = tuple(2**layer for layer in range(depth)) * blocks
    saved = hyper.get("dilations")  # of a whole module: pairs, this layer's and that of the layer before
    if isinstance(saved, list) and all(isinstance(pair, list) and pair for pair in saved):
        hyper.expect("dilations", [[new, *pair[1:]] for new, pair in zip(dilations, saved, strict=False)], "the layers")
    notes.recognised(f"{blocks} blocks of {depth} layers")
    return dilations


def _codec(classes: int) -> dict[str, Any]:
    """Its mu is the number of classes, and its bins differ there and back; it starts from class classes // 2."""
    return {**DIALECTS["vincentherrmann"], "mu": classes, "decode_bins": classes, "silence_class": classes // 2}


def _take(weights: Weights, count: int) -> dict[str, Tensor]:
    """Every weight and bias by a short name: [out, in, taps] and [out]; a bias that is left out is zero."""
    residual, classes, _ = weights.shape("start_conv.weight", 3)
    gate, _, taps = weights.shape("filter_convs.0.weight", 3)
    skip, head = weights.shape("skip_convs.0.weight", 3)[0], weights.shape("end_conv_1.weight", 3)[0]
    shapes = {"start": ("start_conv", (residual, classes, 1))}
    for layer in range(count):
        shapes[f"filter.{layer}"] = (f"filter_convs.{layer}", (gate, residual, taps))
        shapes[f"gate.{layer}"] = (f"gate_convs.{layer}", (gate, residual, taps))
        if layer < count - 1:
            shapes[f"residual.{layer}"] = (f"residual_convs.{layer}", (residual, gate, 1))
        shapes[f"skip.{layer}"] = (f"skip_convs.{layer}", (skip, gate, 1))
    shapes |= {"end.0": ("end_conv_1", (head, skip, 1)), "end.1": ("end_conv_2", (classes, head, 1))}
    layers: dict[str, Tensor] = {}
    for short, (name, shape) in shapes.items():
        layers[short] = weights.take(f"{name}.weight", shape)
        bias = weights.take_optional(f"{name}.bias", shape[:1])
        layers[f"{short}.bias"] = torch.zeros(shape[0], dtype=torch.float64) if bias is None else bias
    for leaf in ("weight", "bias"):
        name = f"residual_convs.{count - 1}.{leaf}"
        if weights.has(name):
            weights.drop(name, "nothing reads the residual of the last layer")
    return layers


def _fold(layers: dict[str, Tensor], count: int, notes: Notes) -> dict[str, Tensor]:
    """Under our names. Every input is one-hot, so that the bias of the first layer is a part of each embedding."""
    if layers["start.bias"].any():
        notes.folded("start_conv.bias into the embedding of every class")
    if any(layers[f"skip.{layer}.bias"].any() for layer in range(count)):
        notes.folded(f"the {count} biases of skip_convs into one")
    every = range(count)

    def stacked(name: str, to: int) -> Tensor:
        """[layers, taps, in, out]"""
        return torch.stack([layers[f"{name}.{layer}"].permute(2, 1, 0) for layer in range(to)])

    gated = [torch.cat([layers[f"filter.{layer}.bias"], layers[f"gate.{layer}.bias"]]) for layer in every]
    residual, gate = layers["start"].shape[0], layers["filter.0"].shape[0]
    residuals = [layers[f"residual.{layer}"][:, :, 0].T for layer in range(count - 1)]
    residual_biases = [layers[f"residual.{layer}.bias"] for layer in range(count - 1)]
    return {
        "front.weight": (layers["start"][:, :, 0].T + layers["start.bias"])[None],
        "dilated.weight": torch.cat([stacked("filter", count), stacked("gate", count)], dim=3),
        "dilated.bias": torch.stack(gated),
        "residual.weight": torch.stack(residuals) if residuals else torch.empty(0, gate, residual),
        "residual.bias": torch.stack(residual_biases) if residuals else torch.empty(0, residual),
        "skip.weight": stacked("skip", count)[:, 0],
        "skip.bias": sum((layers[f"skip.{layer}.bias"] for layer in every), torch.zeros(())),
        "head.0.weight": layers["end.0"][:, :, 0].T,
        "head.0.bias": layers["end.0.bias"],
        "head.1.weight": layers["end.1"][:, :, 0].T,
        "head.1.bias": layers["end.1.bias"],
    }


def _forward(layers: dict[str, Tensor], dilations: tuple[int, ...], trial: Trial) -> Tensor:
    """The network as its queues run it, from zeros: [T, classes]"""
    one_hot = F.one_hot(trial.tokens, layers["start"].shape[1]).to(torch.float64).T[None]
    x = _convolve(layers, "start", one_hot)
    skips = torch.zeros(())
    for layer, dilation in enumerate(dilations):
        past = F.pad(x, ((layers[f"filter.{layer}"].shape[2] - 1) * dilation, 0))
        filtered = torch.tanh(_convolve(layers, f"filter.{layer}", past, dilation))
        gated = filtered * torch.sigmoid(_convolve(layers, f"gate.{layer}", past, dilation))
        skips = skips + _convolve(layers, f"skip.{layer}", gated)
        if layer < len(dilations) - 1:
            x = x + _convolve(layers, f"residual.{layer}", gated)
    hidden = torch.relu(_convolve(layers, "end.0", torch.relu(skips)))
    return _convolve(layers, "end.1", hidden)[0].T


def _convolve(layers: dict[str, Tensor], name: str, x: Tensor, dilation: int = 1) -> Tensor:
    """x [1, in, T] -> [1, out, T less what the taps reach back]"""
    return F.conv1d(x, layers[name], layers[f"{name}.bias"], dilation=dilation)
