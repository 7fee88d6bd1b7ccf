"""How r9y9/wavenet_vocoder brings frames to sample rate: stretched and convolved, or by transposed convolutions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CheckpointError
from ..upsampling import UpsampleStage
from .hyperparameters import Hyperparameters
from .weights import Weights


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step: our stage, and the tensors as they are."""

    config: UpsampleStage
    kind: str  # frames: a convolution over frames; stretch: frames repeated, then convolved; or another of _FOLDS
    weight: Tensor
    bias: Tensor | None = None


def take(weights: Weights, hyper: Hyperparameters, local: int, master: bool) -> tuple[tuple[Stage, ...], int]:
    """(its stages, samples a frame); without stages it repeats frames, and only the hyper-parameters say how often."""
    if not local:
        return (), 1
    stages = _stretches(weights, hyper, local) if master else _transposed(weights, hyper, local)
    scales = [stage.config.stride for stage in stages if stage.kind != "frames"]
    if stages:
        key = "upsample_params.upsample_scales" if master else "upsample_scales"
        hyper.expect(key, scales, "the upsampling network")
        hop = math.prod(scales)
        if hyper.get("hop_size") is not None:
            hyper.expect("hop_size", hop, "the upsampling network")
        return tuple(stages), hop
    if "upsample_conditional_features" in hyper and hyper.flag("upsample_conditional_features"):
        raise CheckpointError(
            "upsample_conditional_features is true, but the checkpoint has no upsampling network: these are the "
            "hyper-parameters of another model."
        )
    return (), hyper.integer("hop_size")


def _stretches(weights: Weights, hyper: Hyperparameters, local: int) -> list[Stage]:
    """Master: a convolution over frames, then for every scale a stretch and a convolution over bands and time."""
    stages = []
    prefix = "upsample_net.up_layers"
    if weights.has("upsample_net.conv_in.weight"):
        prefix = "upsample_net.upsample.up_layers"
        taps = weights.shape("upsample_net.conv_in.weight")[-1]
        weight = weights.take("upsample_net.conv_in.weight", (local, local, taps))
        hyper.expect("cin_pad", taps // 2, "upsample_net.conv_in.weight")
        # its caller repeats the edge frames, as many as the convolution reaches beyond
        config = UpsampleStage(stride=1, taps=taps, trim=taps // 2, edges="repeat")
        stages.append(Stage(config, "frames", weight))
    indices = sorted(_numbers(weights, prefix))
    if not indices:
        if stages:
            raise CheckpointError(
                "the checkpoint has upsample_net.conv_in, but no up_layers behind it: it is incomplete."
            )
        return []
    if prefix == "upsample_net.up_layers" and hyper.integer("cin_pad", low=0) > 0:
        raise CheckpointError(
            "an UpsampleNetwork without conv_in and with cin_pad above 0 is not known: only ConvInUpsampleNetwork, or "
            "cin_pad = 0."
        )
    slope = _slope(hyper)
    step = 2 if slope is None else 3
    if indices != [1 + step * number for number in range(len(indices))]:
        raise CheckpointError(
            f"{prefix} has convolutions at {indices}, which does not fit upsample_activation = "
            f"{hyper.get('upsample_params.upsample_activation', 'none')}."
        )
    for index in indices:
        _, _, bands, taps = _shape(weights, f"{prefix}.{index}")
        if bands % 2 == 0 or taps % 2 == 0 or taps < 3:
            raise CheckpointError(f"{prefix}.{index} has {bands} bands and {taps} taps: both must be odd.")
        hyper.expect("upsample_params.freq_axis_kernel_size", bands, f"{prefix}.{index}")
        scale = (taps - 1) // 2
        weight = weights.take_normed(f"{prefix}.{index}", (1, 1, bands, taps))
        config = UpsampleStage(
            stride=scale,
            taps=3 * scale,
            trim=scale,
            weights="shared",
            bands=bands,
            slope=1.0 if slope is None else slope,
        )
        stages.append(Stage(config, "stretch", weight))
    return stages


def _slope(hyper: Hyperparameters) -> float | None:
    """Of the activation behind each convolution; None: there is none."""
    key = "upsample_params.upsample_activation"
    usual = "the default of its upsample.py"
    name = hyper.text(key, ("none", "ReLU", "LeakyReLU"), assumed="none", why=usual)
    parameters: Any = hyper.get("upsample_params.upsample_activation_params") or {}
    mode = hyper.get("upsample_params.mode", "nearest")
    if mode != "nearest":
        raise CheckpointError(f"upsample_params.mode is {str(mode)[:40]!r}, and only nearest is known.")
    if name == "none":
        return None
    if name == "ReLU":
        return 0.0
    slope = parameters.get("negative_slope", 0.01) if isinstance(parameters, dict) else None
    if isinstance(slope, bool) or not isinstance(slope, (int, float)) or not 0 <= slope <= 1:
        raise CheckpointError(f"negative_slope of upsample_activation_params must be 0..1, got {str(slope)[:40]!r}.")
    return float(slope)


def _transposed(weights: Weights, hyper: Hyperparameters, local: int) -> list[Stage]:
    """Up to 0.1.1: transposed convolutions, of bands and time, or of all channels in the first days of 2018."""
    indices = sorted(_numbers(weights, "upsample_conv"))
    if not indices:
        return []
    slope = 0.0 if _is_rectified(weights, hyper, indices) else 1.0
    stages = []
    for index in indices:
        name = f"upsample_conv.{index}"
        shape = _shape(weights, name, (3, 4))
        dense, scale = len(shape) == 3, shape[-1]
        if dense:
            weight = weights.take_normed(name, (local, local, scale))
        else:
            weight = weights.take_normed(name, (1, 1, shape[2], scale))
            hyper.expect("freq_axis_kernel_size", shape[2], name)
            if shape[2] % 2 == 0:
                raise CheckpointError(
                    f"{name} has {shape[2]} bands, and only an odd number keeps the number of channels."
                )
        bias = weights.take_optional(f"{name}.bias", (local if dense else 1,))
        config = UpsampleStage(
            stride=scale,
            taps=scale,
            weights="dense" if dense else "shared",
            bands=1 if dense else shape[2],
            bias=bias is not None,
            slope=slope,
        )
        stages.append(Stage(config, "dense" if dense else "transposed", weight, bias))
    return stages


def _is_rectified(weights: Weights, hyper: Hyperparameters, indices: list[int]) -> bool:
    """Whether a rectifier, which takes a number of its own, stands behind each convolution. v0.0.1 has none."""
    count = len(indices)
    if indices not in ([2 * number for number in range(count)], list(range(count))):
        raise CheckpointError(f"upsample_conv has convolutions at {indices}, which is no upsampling network of r9y9's.")
    if count > 1:
        return indices[1] == 2
    if not weights.has("upsample_conv.0.weight"):
        return True  # normalised, which v0.0.1 does to all weights but these
    if not weights.has("conv_layers.0.conv.weight"):
        return False
    if "input_type" in hyper:
        return True  # v0.0.1 has classes only, and no such hyper-parameter
    return hyper.text("upsample_activation", ("none", "ReLU")) == "ReLU"


def is_before_the_legacy_flag(stages: tuple[Stage, ...]) -> bool:
    """Whether the upsampling is that of January 2018, five months before `legacy` became a choice."""
    return any(stage.kind == "dense" or (stage.kind == "transposed" and stage.config.slope == 1) for stage in stages)


def _numbers(weights: Weights, prefix: str) -> list[int]:
    """The numbers n of tensors prefix.n.weight, whose weights may be kept as magnitude and direction."""
    leaves = ("weight", "weight_v", "parametrizations.weight.original1")
    return [n for n in range(3 * 24) if any(weights.has(f"{prefix}.{n}.{leaf}") for leaf in leaves)]


def _shape(weights: Weights, name: str, dimensions: tuple[int, ...] = (4,)) -> tuple[int, ...]:
    leaf = next(
        leaf for leaf in ("weight_v", "parametrizations.weight.original1", "weight") if weights.has(f"{name}.{leaf}")
    )
    shape = weights.shape(f"{name}.{leaf}")
    if len(shape) not in dimensions:
        raise CheckpointError(f"{name}.{leaf} has shape {list(shape)}, which is not [1, 1, bands, taps].")
    return shape


def fold(stages: tuple[Stage, ...]) -> dict[str, Tensor]:
    """The parameters of our stages."""
    parameters = {}
    for number, stage in enumerate(stages):
        parameters[f"upsample.{number}.weight"] = _FOLDS[stage.kind](stage)
        if stage.bias is not None:
            parameters[f"upsample.{number}.bias"] = stage.bias
    return parameters


def _fold_frames(stage: Stage) -> Tensor:
    """[out, in, taps] of a correlation -> [taps, in, out] of a transposed convolution, which counts taps backwards."""
    return stage.weight.permute(2, 1, 0).flip(0)


def _fold_stretch(stage: Stage) -> Tensor:
    """[1, 1, bands, 2s+1] -> [3s, bands]: tap k sums the taps that meet one repeated frame."""
    scale = stage.config.stride
    taps = stage.weight[0, 0].T  # [2s+1, bands]
    return torch.stack([taps[max(0, 2 * scale - k) : 3 * scale - k].sum(dim=0) for k in range(3 * scale)])


def _fold_transposed(stage: Stage) -> Tensor:
    """[1, 1, bands, s] -> [s, bands]: a transposed convolution counts the bands backwards, too."""
    return stage.weight[0, 0].T.flip(1)


def _fold_dense(stage: Stage) -> Tensor:
    """[in, out, s] -> [s, in, out]"""
    return stage.weight.permute(2, 0, 1)


def standardised(stages: tuple[Stage, ...], hop: int, factor: Tensor, shift: Tensor) -> tuple[Stage, ...]:
    """The stages behind one that makes factor * c + shift of every frame c; `factor` and `shift` are [C]."""
    first = Stage(UpsampleStage(stride=1, taps=1, bias=True), "standardise", factor, shift)
    repeat = Stage(
        UpsampleStage(stride=hop, taps=hop, weights="shared"), "repeat", torch.ones(hop, 1, dtype=factor.dtype)
    )
    return (first, *(stages or (repeat,)))


_FOLDS: dict[str, Callable[[Stage], Tensor]] = {
    "frames": _fold_frames,
    "stretch": _fold_stretch,
    "transposed": _fold_transposed,
    "dense": _fold_dense,
    "standardise": lambda stage: torch.diag(stage.weight)[None],
    "repeat": lambda stage: stage.weight,
}


def forward(stages: tuple[Stage, ...], hop: int, c: Tensor) -> Tensor:
    """As it is written: c [1, C, F] -> [1, C, F * hop]"""
    if not stages:
        return c.repeat_interleave(hop, dim=2)
    for stage in stages:
        if stage.kind == "frames":
            reach = stage.weight.shape[2] // 2
            c = F.conv1d(F.pad(c, (reach, reach), mode="replicate"), stage.weight)
            continue
        scale = stage.config.stride
        if stage.kind == "standardise":
            assert stage.bias is not None
            c = c * stage.weight[:, None] + stage.bias[:, None]
            continue
        if stage.kind == "repeat":
            c = c.repeat_interleave(scale, dim=2)
            continue
        margin = stage.weight.shape[2] // 2
        if stage.kind == "stretch":
            stretched = c.repeat_interleave(scale, dim=2)[:, None]
            c = F.conv2d(stretched, stage.weight, padding=(margin, scale))[:, 0]
        elif stage.kind == "dense":
            c = F.conv_transpose1d(c, stage.weight, stage.bias, stride=scale)
        else:
            stride = (1, scale)
            c = F.conv_transpose2d(c[:, None], stage.weight, stage.bias, stride=stride, padding=(margin, 0))[:, 0]
        if stage.config.slope != 1:
            c = F.leaky_relu(c, stage.config.slope)
    return c
