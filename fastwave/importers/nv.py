"""NVIDIA/nv-wavenet: checkpoints of its PyTorch module, as train.py saves them, and state dicts.

Its network embeds classes and has two taps; the dilations are 1, 2, 4, ... up to `max_dilation`, again and again. The
head has no biases. Mel frames are stretched by one transposed convolution, and one layer projects them for all residual
layers together. What `export_weights` writes for the CUDA kernels lacks that conditioning, and is refused.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import WaveNetConfig
from ..errors import CheckpointError
from ..sound.features import Array
from ..upsampling import UpsampleStage
from .folding import Layer, fold_head, fold_layers
from .hyperparameters import Hyperparameters
from .mapping import Imported, Trial
from .notes import Notes
from .source import Source
from .weights import Weights

NAME = "nv"
PROJECT = "NVIDIA/nv-wavenet"

NESTED = "wavenet_config"  # of the project's config.json
EXPORTED = ("embedding_curr", "embedding_prev", "conv_out_weight", "conv_end_weight")


def matches(source: Source) -> float | None:
    """By the names of its layers, or of the tensors that it exports."""
    needed = ("embed.weight", "conv_out.conv.weight", "conv_end.conv.weight", "cond_layers.conv.weight")
    more = ("dilate_layers.0.conv.weight", "skip_layers.0.conv.weight", "upsample.weight")
    if all(name in source.tensors for name in needed + more) or all(name in source.tensors for name in EXPORTED):
        return 1.0
    return None


def convert(source: Source, weights: Weights, hyper: Hyperparameters, notes: Notes) -> Imported:
    """The checkpoint as ours."""
    if weights.has(EXPORTED[0]):
        raise CheckpointError(
            f"{source.name} is what export_weights of nv-wavenet makes: it lacks the conditioning layers. Import the "
            "checkpoint that it was exported from."
        )
    dilations = _dilations(weights, hyper)
    classes, residual = weights.shape("embed.weight", 2)
    skip, features = weights.shape("skip_layers.0.conv.weight", 3)[0], weights.shape("upsample.weight", 3)[0]
    window, head = weights.shape("upsample.weight", 3)[2], weights.shape("conv_out.conv.weight", 3)[0]
    for key, actual, tensor in (
        ("n_in_channels", classes, "embed.weight"),
        ("n_residual_channels", residual, "embed.weight"),
        ("n_skip_channels", skip, "skip_layers.0.conv.weight"),
        ("n_out_channels", head, "conv_out.conv.weight"),
        ("n_cond_channels", features, "upsample.weight"),
        ("upsamp_window", window, "upsample.weight"),
        ("n_layers", len(dilations), "dilate_layers"),
    ):
        for place in (key, f"{NESTED}.{key}"):
            hyper.expect(place, actual, tensor)
    if head != classes:
        raise CheckpointError(f"{source.name} has {classes} classes going in and {head} coming out: they must agree.")
    hop = _integer(hyper, "upsamp_stride", window)
    config = WaveNetConfig(
        residual_channels=residual,
        skip_channels=skip,
        head_channels=head,
        dilations=dilations,
        classes=classes,
        sample_rate=hyper.sample_rate("sampling_rate", "data_config.sampling_rate", "sample_rate"),
        condition_channels=features,
        hop=hop,
        upsampling="stages",
        upsample_stages=(UpsampleStage(stride=hop, taps=window, bias=True),),
        features=Array(features),
    )
    notes.recognised(f"{len(dilations)} layers, {residual} residual and {skip} skip channels, {classes} classes")
    notes.folded("the bias of cond_layers into those of dilate_layers, and the biases of skip_layers into one")
    notes.condition(f"log-mel frames as its mel2samp_onehot.py makes them, {features} a frame of {hop} samples")
    notes.assume(
        "a sample is predicted with the frame of the sample before it, as in training; the project's CUDA kernels take "
        "that of the sample itself"
    )
    tensors = _take(weights, len(dilations), (residual, classes, skip, features, window))
    return Imported(config, _fold(tensors, len(dilations)), lambda trial: _forward(tensors, dilations, hop, trial))


def _integer(hyper: Hyperparameters, key: str, high: int) -> int:
    """A hyper-parameter, which may stand in the checkpoint, in the project's config.json, or in both."""
    nested = f"{NESTED}.{key}"
    if nested not in hyper:
        return hyper.integer(key, 1, high)
    value = hyper.integer(nested, 1, high)
    if key in hyper and hyper.integer(key, 1, high) != value:
        raise CheckpointError(
            f"{key} is {value} in {NESTED}, but {hyper.get(key)} in the checkpoint itself or in --set: these are the "
            "hyper-parameters of another model."
        )
    return value


def _dilations(weights: Weights, hyper: Hyperparameters) -> tuple[int, ...]:
    """1, 2, 4, ... up to the largest, again and again. How large that is is not in the shapes."""
    count = weights.indices("dilate_layers.{}.conv.weight")
    cycle = _integer(hyper, "max_dilation", 2**24).bit_length()
    return tuple(2 ** (layer % cycle) for layer in range(count))


def _take(weights: Weights, count: int, sizes: tuple[int, ...]) -> dict[str, Tensor]:
    """Every tensor under its own name."""
    residual, classes, skip, features, window = sizes
    shapes: dict[str, tuple[int, ...]] = {
        "embed.weight": (classes, residual),
        "upsample.weight": (features, features, window),
        "upsample.bias": (features,),
        "cond_layers.conv.weight": (2 * residual * count, features, 1),
        "cond_layers.conv.bias": (2 * residual * count,),
        "conv_out.conv.weight": (classes, skip, 1),
        "conv_end.conv.weight": (classes, classes, 1),
    }
    for layer in range(count):
        shapes[f"dilate_layers.{layer}.conv.weight"] = (2 * residual, residual, 2)
        shapes[f"dilate_layers.{layer}.conv.bias"] = (2 * residual,)
        shapes[f"skip_layers.{layer}.conv.weight"] = (skip, residual, 1)
        shapes[f"skip_layers.{layer}.conv.bias"] = (skip,)
        if layer < count - 1:
            shapes[f"res_layers.{layer}.conv.weight"] = (residual, residual, 1)
            shapes[f"res_layers.{layer}.conv.bias"] = (residual,)
    return {name: weights.take(name, shape) for name, shape in shapes.items()}


def _fold(t: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """Under our names."""
    condition, condition_bias = t["cond_layers.conv.weight"].chunk(count), t["cond_layers.conv.bias"].chunk(count)
    residual = t["embed.weight"].shape[1]
    unread = torch.zeros(residual, residual, 1, dtype=torch.float64)  # nothing reads the residual of the last layer
    layers = [
        Layer(
            dilated=t[f"dilate_layers.{layer}.conv.weight"],
            dilated_bias=t[f"dilate_layers.{layer}.conv.bias"] + condition_bias[layer],
            residual=t.get(f"res_layers.{layer}.conv.weight", unread),
            residual_bias=t.get(f"res_layers.{layer}.conv.bias", unread[:, 0, 0]),
            skip=t[f"skip_layers.{layer}.conv.weight"],
            skip_bias=t[f"skip_layers.{layer}.conv.bias"],
            condition=condition[layer],
        )
        for layer in range(count)
    ]
    nothing = torch.zeros(t["conv_out.conv.weight"].shape[0], dtype=torch.float64)
    return {
        "front.weight": t["embed.weight"][None],
        **fold_layers(layers),
        **fold_head(t["conv_out.conv.weight"], nothing, t["conv_end.conv.weight"], nothing),
        "upsample.0.weight": t["upsample.weight"].permute(2, 0, 1),
        "upsample.0.bias": t["upsample.bias"],
    }


def _forward(t: dict[str, Tensor], dilations: tuple[int, ...], hop: int, trial: Trial) -> Tensor:
    """The module over a whole sequence, nothing before it: [T, classes]"""
    assert trial.frames is not None
    frames = F.conv_transpose1d(trial.frames.T[None], t["upsample.weight"], t["upsample.bias"], stride=hop)
    condition = F.conv1d(frames[..., : len(trial.tokens)], t["cond_layers.conv.weight"], t["cond_layers.conv.bias"])
    x: Any = t["embed.weight"][trial.tokens].T[None]
    skips: Any = 0
    for layer, (dilation, part) in enumerate(zip(dilations, condition.chunk(len(dilations), dim=1), strict=True)):
        past = F.pad(x, (dilation, 0))
        a = _convolve(t, f"dilate_layers.{layer}", past, dilation) + part
        filtered, gate = a.chunk(2, dim=1)
        z = torch.tanh(filtered) * torch.sigmoid(gate)
        skips = skips + _convolve(t, f"skip_layers.{layer}", z)
        if layer < len(dilations) - 1:
            x = x + _convolve(t, f"res_layers.{layer}", z)
    hidden = torch.relu(F.conv1d(torch.relu(skips), t["conv_out.conv.weight"]))
    return F.conv1d(hidden, t["conv_end.conv.weight"])[0].T


def _convolve(t: dict[str, Tensor], name: str, x: Tensor, dilation: int = 1) -> Tensor:
    return F.conv1d(x, t[f"{name}.conv.weight"], t[f"{name}.conv.bias"], dilation=dilation)
