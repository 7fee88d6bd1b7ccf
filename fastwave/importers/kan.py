"""kan-bayashi/PytorchWaveNetVocoder, and the copy of it in ESPnet: mu-law classes, one transposed convolution."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec import DIALECTS
from ..config import WaveNetConfig, dilation_cycle
from ..errors import CheckpointError
from ..sound.features import Array
from ..upsampling import UpsampleStage
from .folding import Layer, fold_classes, fold_head, fold_layers
from .hyperparameters import Hyperparameters
from .mapping import Imported, Trial
from .notes import Notes
from .source import Source
from .weights import Weights

NAME = "kan"
PROJECT = "kan-bayashi/PytorchWaveNetVocoder"
_NEEDED = ("causal.conv", "dil_sigmoid.0.conv", "dil_tanh.0.conv", "aux_1x1_tanh.0", "skip_1x1.0", "conv_post_2")


@dataclasses.dataclass(frozen=True)
class _Network:
    """Its tensors as they are: weights and biases by name."""

    tensors: dict[str, Tensor]
    dilations: tuple[int, ...]
    hop: int

    def convolve(self, name: str, x: Tensor, dilation: int = 1) -> Tensor:
        """A causal convolution [1, in, T] -> [1, out, T], with zeros before the start."""
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        return F.conv1d(F.pad(x, ((weight.shape[2] - 1) * dilation, 0)), weight, bias, dilation=dilation)


def matches(source: Source) -> float | None:
    """By the names of its layers."""
    return 1.0 if all(f"{name}.weight" in source.tensors for name in _NEEDED) else None


def convert(source: Source, weights: Weights, hyper: Hyperparameters, notes: Notes) -> Imported:
    """The checkpoint as ours."""
    residual, classes, taps = weights.shape("causal.conv.weight")
    skip, aux = weights.shape("skip_1x1.0.weight")[0], weights.shape("aux_1x1_tanh.0.weight")[1]
    for key, actual, tensor in (
        ("n_quantize", classes, "causal.conv.weight"),
        ("n_resch", residual, "causal.conv.weight"),
        ("kernel_size", taps, "causal.conv.weight"),
        ("n_skipch", skip, "skip_1x1.0.weight"),
        ("n_aux", aux, "aux_1x1_tanh.0.weight"),
    ):
        hyper.expect(key, actual, tensor)
    dilations = _dilations(weights, hyper)
    stage, hop = _upsampling(weights, hyper)
    network = _take(weights, dilations, hop, (residual, classes, taps, skip, aux), stage is not None)
    config = WaveNetConfig(
        residual_channels=residual,
        skip_channels=skip,
        kernel_size=taps,
        front_kernel=taps,
        dilations=dilations,
        classes=classes,
        codec_parameters=DIALECTS["kan-bayashi"],
        sample_rate=hyper.sample_rate("fs", "sample_rate"),
        condition_channels=aux,
        hop=hop,
        upsampling="repeat" if stage is None else "stages",
        upsample_stages=() if stage is None else (stage,),
        features=Array(aux),
    )
    notes.recognised(
        f"{len(dilations)} layers, kernel size {taps}, {residual} residual and {skip} skip channels, {classes} classes"
    )
    notes.folded("causal.conv.bias into the embeddings of the newest tap")
    notes.folded("the biases of aux_1x1_* into those of dil_*, and the biases of skip_1x1 into one")
    kind = hyper.get("feature_type", "its")
    notes.condition(
        f"{kind} features, {aux} a frame of {hop} samples, standardised with the mean and scale of the training's "
        "stats.h5"
    )
    notes.assume(
        "no noise shaping: where the recipe trained on shaped noise, filter the sound as its noise_shaping does"
    )
    return Imported(config, _fold(network, stage is not None), lambda trial: _forward(network, trial))


def _dilations(weights: Weights, hyper: Hyperparameters) -> tuple[int, ...]:
    """1, 2, 4, ... once in every repetition. How many repetitions there are is not in the shapes."""
    layers = weights.indices("dil_tanh.{}.conv.weight")
    if "dilation_depth" in hyper:
        depth = hyper.integer("dilation_depth", 1, 24)
        repeat = hyper.integer("dilation_repeat") if "dilation_repeat" in hyper else layers // depth
    else:
        repeat = hyper.integer("dilation_repeat", 1, layers)
        depth = layers // repeat
    if depth * repeat != layers or depth > 24:
        raise CheckpointError(
            f"dilation_depth = {depth} and dilation_repeat = {repeat} make {depth * repeat} layers, but there are "
            f"{layers} of dil_tanh: give the two as the model was made with them."
        )
    return dilation_cycle(depth, repeat)


def _upsampling(weights: Weights, hyper: Hyperparameters) -> tuple[UpsampleStage | None, int]:
    """(its layer, samples a frame). Without a layer it repeats frames, and only its options say how often."""
    if not weights.has("upsampling.conv.weight"):
        if "use_upsampling_layer" in hyper and hyper.flag("use_upsampling_layer"):
            raise CheckpointError(
                "use_upsampling_layer is true, but the checkpoint lacks upsampling.conv.weight: these are the "
                "hyper-parameters of another model."
            )
        return None, hyper.integer("upsampling_factor")
    hop = weights.shape("upsampling.conv.weight")[-1]
    hyper.expect("upsampling_factor", hop, "upsampling.conv.weight")
    bias = weights.has("upsampling.conv.bias")
    return UpsampleStage(stride=hop, taps=hop, weights="shared", bias=bias), hop


def _take(weights: Weights, dilations: tuple[int, ...], hop: int, sizes: tuple[int, ...], upsampled: bool) -> _Network:
    residual, classes, taps, skip, aux = sizes
    shapes = {"causal.conv": (residual, classes, taps)}
    for layer in range(len(dilations)):
        for half in ("sigmoid", "tanh"):
            shapes[f"dil_{half}.{layer}.conv"] = (residual, residual, taps)
            shapes[f"aux_1x1_{half}.{layer}"] = (residual, aux, 1)
        shapes[f"skip_1x1.{layer}"] = (skip, residual, 1)
        shapes[f"res_1x1.{layer}"] = (residual, residual, 1)
    shapes |= {"conv_post_1": (skip, skip, 1), "conv_post_2": (classes, skip, 1)}
    tensors = {}
    for name, shape in shapes.items():
        tensors[f"{name}.weight"] = weights.take(f"{name}.weight", shape)
        tensors[f"{name}.bias"] = weights.take(f"{name}.bias", shape[:1])
    if upsampled:
        tensors["upsampling.conv.weight"] = weights.take("upsampling.conv.weight", (1, 1, 1, hop))
        bias = weights.take_optional("upsampling.conv.bias", (1,))
        tensors |= {} if bias is None else {"upsampling.conv.bias": bias}
    last = f"res_1x1.{len(dilations) - 1}"
    for leaf in ("weight", "bias"):
        weights.drop(f"{last}.{leaf}", "nothing reads the residual of the last layer")
    return _Network(tensors, dilations, hop)


def _fold(network: _Network, upsampled: bool) -> dict[str, Tensor]:
    t = network.tensors
    layers = []
    for number in range(len(network.dilations)):
        dilated = [f"dil_{half}.{number}.conv" for half in ("tanh", "sigmoid")]
        aux = [f"aux_1x1_{half}.{number}" for half in ("tanh", "sigmoid")]
        layers.append(
            Layer(
                dilated=torch.cat([t[f"{name}.weight"] for name in dilated]),
                dilated_bias=torch.cat([t[f"{a}.bias"] + t[f"{b}.bias"] for a, b in zip(dilated, aux, strict=True)]),
                residual=t[f"res_1x1.{number}.weight"],
                residual_bias=t[f"res_1x1.{number}.bias"],
                skip=t[f"skip_1x1.{number}.weight"],
                skip_bias=t[f"skip_1x1.{number}.bias"],
                condition=torch.cat([t[f"{name}.weight"] for name in aux]),
            )
        )
    post = [t[f"conv_post_{number}.{leaf}"] for number in (1, 2) for leaf in ("weight", "bias")]
    parameters = {**fold_classes(t["causal.conv.weight"], t["causal.conv.bias"]), **fold_layers(layers)}
    parameters |= fold_head(*post)
    if upsampled:
        parameters["upsample.0.weight"] = t["upsampling.conv.weight"][0, 0].T  # [hop, 1]
        if "upsampling.conv.bias" in t:
            parameters["upsample.0.bias"] = t["upsampling.conv.bias"]
    return parameters


def _forward(network: _Network, trial: Trial) -> Tensor:
    """The network as it is written: [T, classes]"""
    t = network.tensors
    assert trial.frames is not None
    h = trial.frames.T[None]  # [1, aux, F]
    if "upsampling.conv.weight" in t:
        weight, bias = t["upsampling.conv.weight"], t.get("upsampling.conv.bias")
        h = F.conv_transpose2d(h[:, None], weight, bias, stride=(1, network.hop))[:, 0]
    else:
        h = h.repeat_interleave(network.hop, dim=2)
    h = h[:, :, : len(trial.tokens)]
    one_hot = F.one_hot(trial.tokens, t["causal.conv.weight"].shape[1]).to(torch.float64).T[None]
    x = network.convolve("causal.conv", one_hot)
    skips = torch.zeros(())
    for number, dilation in enumerate(network.dilations):
        gate = network.convolve(f"dil_sigmoid.{number}.conv", x, dilation)
        filtered = network.convolve(f"dil_tanh.{number}.conv", x, dilation)
        gate = torch.sigmoid(gate + network.convolve(f"aux_1x1_sigmoid.{number}", h))
        z = gate * torch.tanh(filtered + network.convolve(f"aux_1x1_tanh.{number}", h))
        skips = skips + network.convolve(f"skip_1x1.{number}", z)
        x = network.convolve(f"res_1x1.{number}", z) + x
    hidden = torch.relu(network.convolve("conv_post_1", torch.relu(skips)))
    return network.convolve("conv_post_2", hidden)[0].T
