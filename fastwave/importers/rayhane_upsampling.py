"""How Rayhane-mamah/Tacotron-2 brings frames to sample rate: five types of layers, all of them stages of ours."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CheckpointError
from ..upsampling import UpsampleStage
from .hyperparameters import Hyperparameters
from .weights import Weights

_TYPES = {"SubPixelConvolution": "SubPixel", "ResizeConvolution": "Resize", "ConvTranspose2D": "2D",
          "ConvTranspose1D": "1D"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Stage:
    """One layer: our stage, and its kernel and bias as they are."""

    config: UpsampleStage
    kind: str
    kernel: Tensor  # of TensorFlow: [bands or 1, taps, in, out], or of a transposed one [bands or 1, taps, out, in]
    bias: Tensor


def take(weights: Weights, hyper: Hyperparameters, local: int) -> tuple[tuple[Stage, ...], int]:
    """(its layers, samples a frame); NearestNeighbor has no layers, and only the hyper-parameters say how often."""
    if not local:
        return (), 1
    layer = next((layer for layer in _TYPES if weights.has(f"{layer}_layer_0/kernel")), None)
    kind = "NearestNeighbor" if layer is None else _TYPES[layer]
    hyper.expect("upsample_type", kind, "the upsampling layers")
    if layer is None:
        return (), hyper.integer("hop_size")
    slope = _slope(hyper)
    stages = []
    for number in range(weights.indices(f"{layer}_layer_{{}}/kernel")):
        name = f"{layer}_layer_{number}"
        if weights.has(f"{name}/g"):
            raise CheckpointError(f"{name}/g is of a model with wavenet_weight_normalization, which is not imported.")
        stages.append(_stage(weights, hyper, name, kind, local, slope))
    scales = [stage.config.stride for stage in stages]
    hop = math.prod(scales)
    hyper.expect("upsample_scales", scales, "the upsampling layers")
    hyper.expect("hop_size", hop, "the upsampling layers")
    return tuple(stages), hop


def _stage(weights: Weights, hyper: Hyperparameters, name: str, kind: str, local: int, slope: float) -> Stage:
    bands, taps, _, out = weights.shape(f"{name}/kernel", 4)
    common: dict[str, Any] = {"bias": True, "slope": slope}
    if kind == "1D":
        kernel = weights.take(f"{name}/kernel", (1, taps, local, local))
        config = UpsampleStage(taps, taps, **common)
        return Stage(config, kind, kernel, weights.take(f"{name}/bias", (local,)))
    hyper.expect("freq_axis_kernel_size", bands, f"{name}/kernel")
    if bands % 2 == 0:
        raise CheckpointError(f"{name}/kernel spans {bands} bands, and only an odd number is symmetric.")
    common |= {"weights": "shared", "bands": bands}
    kernel = weights.take(
        f"{name}/kernel", (bands, 3 if kind == "SubPixel" else taps, 1, out if kind == "SubPixel" else 1)
    )
    bias = weights.take(f"{name}/bias", (out if kind == "SubPixel" else 1,))
    if kind == "2D":
        config = UpsampleStage(taps, taps, **common)
    elif kind == "Resize":
        # the padding of TensorFlow's `same` is (taps-1)//2 on the left
        config = UpsampleStage(taps, 2 * taps - 1, trim=taps - 1 - (taps - 1) // 2, **common)
    else:
        if not hyper.flag("NN_init"):
            kernel = kernel[..., :1].expand(-1, -1, -1, out)  # its build() puts the first filter in place of the others
        config = UpsampleStage(out, 3 * out, trim=out, phase_bias=True, **common)
    return Stage(config, kind, kernel, bias)


def _slope(hyper: Hyperparameters) -> float:
    """Of the activation behind each layer."""
    if "upsample_activation" in hyper and hyper.get("upsample_activation") is None:
        return 1.0
    name = hyper.text("upsample_activation", ("Relu", "LeakyRelu", "None"))
    if name == "LeakyRelu":
        slope = hyper.number("leaky_alpha")
        if not 0 <= slope <= 1:
            raise CheckpointError(f"leaky_alpha must be 0..1, got {slope:g}.")
        return slope
    return 0.0 if name == "Relu" else 1.0


def fold(stages: tuple[Stage, ...]) -> dict[str, Tensor]:
    """The parameters of our stages."""
    parameters = {}
    for number, stage in enumerate(stages):
        parameters[f"upsample.{number}.weight"] = _FOLDS[stage.kind](stage)
        parameters[f"upsample.{number}.bias"] = stage.bias
    return parameters


def _fold_one(stage: Stage) -> Tensor:
    """[1, s, out, in] -> [s, in, out]"""
    return stage.kernel[0].transpose(1, 2)


def _fold_two(stage: Stage) -> Tensor:
    """[bands, s, 1, 1] -> [s, bands]: a transposed convolution counts the bands backwards."""
    return stage.kernel[:, :, 0, 0].T.flip(1)


def _fold_resize(stage: Stage) -> Tensor:
    """[bands, s, 1, 1] -> [2s-1, bands]: tap k sums the taps that meet one repeated frame."""
    taps, scale = stage.kernel[:, :, 0, 0].T, stage.config.stride
    return torch.stack([taps[max(0, scale - 1 - k) : 2 * scale - 1 - k].sum(dim=0) for k in range(2 * scale - 1)])


def _fold_sub_pixel(stage: Stage) -> Tensor:
    """[bands, 3, 1, s] -> [3s, bands]: filter r makes sample r of a frame, from the frames around it."""
    return stage.kernel[:, :, 0].flip(1).permute(1, 2, 0).flatten(0, 1)


_FOLDS = {"1D": _fold_one, "2D": _fold_two, "Resize": _fold_resize, "SubPixel": _fold_sub_pixel}


def forward(stages: tuple[Stage, ...], hop: int, c: Tensor) -> Tensor:
    """As it is written: c [1, C, F] -> [1, C, F * hop]"""
    if not stages:
        return c.repeat_interleave(hop, dim=2)
    for stage in stages:
        scale, margin = stage.config.stride, stage.kernel.shape[0] // 2
        if stage.kind == "1D":
            c = F.conv_transpose1d(c, stage.kernel[0].permute(2, 1, 0), stage.bias, stride=scale)
        elif stage.kind == "2D":
            kernel, padding = stage.kernel.permute(3, 2, 0, 1), (margin, 0)
            c = F.conv_transpose2d(c[:, None], kernel, stage.bias, stride=(1, scale), padding=padding)[:, 0]
        elif stage.kind == "Resize":
            left = (scale - 1) // 2
            stretched = F.pad(c.repeat_interleave(scale, dim=2), (left, scale - 1 - left, margin, margin))
            c = F.conv2d(stretched[:, None], stage.kernel.permute(3, 2, 0, 1), stage.bias)[:, 0]
        else:
            padded = F.pad(c, (1, 1, margin, margin))[:, None]
            phases = F.conv2d(padded, stage.kernel.permute(3, 2, 0, 1), stage.bias)  # [1, s, C, F]
            c = phases.permute(0, 2, 3, 1).flatten(2)
        if stage.config.slope != 1:
            c = F.leaky_relu(c, stage.config.slope)
    return c
