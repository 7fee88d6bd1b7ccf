"""Rayhane-mamah/Tacotron-2's WaveNet of TensorFlow 1: classes, logistics or one Gaussian, mel, speakers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec import DIALECTS
from ..config import WaveNetConfig, dilation_cycle
from ..errors import CheckpointError
from ..sound.features import Array
from . import rayhane_upsampling as upsampling
from .folding import Layer, fold_front, fold_head, fold_layers
from .hyperparameters import Hyperparameters
from .mapping import Imported, Network, Trial, inputs_of
from .notes import Notes
from .source import Source
from .weights import Weights

NAME = "rayhane"
PROJECT = "Rayhane-mamah/Tacotron-2"
MU = 255  # of its mu-law, whatever quantize_channels says
_NEEDED = ("input_convolution/kernel", "residual_block_causal_conv_ResidualConv1DGLU_0/kernel")


@dataclasses.dataclass(frozen=True)
class _Network(Network):
    """With the factors that two flags of its hyper-parameters bring."""

    dilations: tuple[int, ...]
    residual_scale: float
    skip_scales: tuple[float, ...]
    stages: tuple[upsampling.Stage, ...]
    hop: int


def matches(source: Source) -> float | None:
    """By the names of its layers, under whatever scopes."""
    return 1.0 if {_short(name) for name in source.tensors}.issuperset(_NEEDED) else None


def _short(name: str) -> str:
    """The layer and what it is of that: kernel, bias or g. The scopes around it depend on the version of TensorFlow."""
    parts = name.split("/")
    return parts[-1] if parts[-1] == "gc_embedding" else "/".join(parts[-2:])


def convert(source: Source, weights: Weights, hyper: Hyperparameters, notes: Notes) -> Imported:
    """The checkpoint as ours."""
    weights.rename(_short)
    if weights.has("input_convolution/g") or weights.has("residual_block_causal_conv_ResidualConv1DGLU_0/g"):
        raise CheckpointError(
            "a model with wavenet_weight_normalization cannot be imported exactly: its code assigns the magnitudes g "
            "anew while it computes, so that its outputs do not follow from the checkpoint."
        )
    tensors = _take(weights, hyper)
    layers = weights.indices("residual_block_causal_conv_ResidualConv1DGLU_{}/kernel")
    stacks = hyper.stacks(layers)
    local, speaker = (inputs_of(tensors, f"residual_block_{kind}_conv_ResidualConv1DGLU_0") for kind in ("cin", "gin"))
    stages, hop = upsampling.take(weights, hyper, local)
    skips = (1.0,) * layers
    if hyper.flag("legacy"):  # the running sum is scaled after every layer but the first
        skips = tuple(math.sqrt(0.5) ** (layers - max(layer, 1)) for layer in range(layers))
    scale = math.sqrt(0.5) if hyper.flag("residual_legacy") else 1.0
    network = _Network(tensors, dilation_cycle(layers // stacks, stacks), scale, skips, stages, hop)
    first, gated = tensors["input_convolution"], tensors["residual_block_causal_conv_ResidualConv1DGLU_0"]
    config = WaveNetConfig(
        residual_channels=first.shape[0],
        gate_channels=gated.shape[0] // 2,
        skip_channels=tensors["final_convolution_1"].shape[0],
        kernel_size=gated.shape[2],
        dilations=network.dilations,
        sample_rate=hyper.sample_rate("sample_rate"),
        condition_channels=local + speaker,
        speaker_channels=speaker,
        speakers=tensors["gc_embedding"].shape[0] if "gc_embedding" in tensors else 0,
        features=Array(local) if local else None,
        hop=hop,
        upsampling="stages" if stages else "repeat",
        upsample_stages=tuple(stage.config for stage in stages),
        **_tokens(tensors, hyper),
    )
    notes.recognised(f"{layers} layers in {stacks} stacks, kernel size {config.kernel_size}")
    notes.recognised("the last weights, which its saver writes under the names of averages")
    notes.folded("the scales of residuals and skips into the weights")
    _say_conditions(config, notes)
    return Imported(config, _fold(network), lambda trial: _forward(network, trial))


def _take(weights: Weights, hyper: Hyperparameters) -> dict[str, Tensor]:
    """Every kernel and bias but those of the upsampling, checked against each other."""
    _, inputs, residual = weights.shape("input_convolution/kernel", 3)
    taps, _, twice = weights.shape("residual_block_causal_conv_ResidualConv1DGLU_0/kernel", 3)
    _, gate, skip = weights.shape("residual_block_skip_conv_ResidualConv1DGLU_0/kernel", 3)
    outputs = weights.shape("final_convolution_2/kernel", 3)[2]
    layers = weights.indices("residual_block_causal_conv_ResidualConv1DGLU_{}/kernel")
    for key, actual, name in (
        ("layers", layers, "residual_block_causal_conv"),
        ("residual_channels", residual, "input_convolution/kernel"),
        ("gate_channels", twice, "residual_block_causal_conv_ResidualConv1DGLU_0/kernel"),
        ("kernel_size", taps, "residual_block_causal_conv_ResidualConv1DGLU_0/kernel"),
        ("skip_out_channels", skip, "residual_block_skip_conv_ResidualConv1DGLU_0/kernel"),
        ("out_channels", outputs, "final_convolution_2/kernel"),
    ):
        hyper.expect(key, actual, name)
    shapes = {"input_convolution": (1, inputs, residual)}
    for layer in range(layers):
        shapes[f"residual_block_causal_conv_ResidualConv1DGLU_{layer}"] = (taps, residual, 2 * gate)
        shapes[f"residual_block_out_conv_ResidualConv1DGLU_{layer}"] = (1, gate, residual)
        shapes[f"residual_block_skip_conv_ResidualConv1DGLU_{layer}"] = (1, gate, skip)
        for kind, key in (("cin", "cin_channels"), ("gin", "gin_channels")):
            first = f"residual_block_{kind}_conv_ResidualConv1DGLU_0/kernel"
            if weights.has(first):
                channels = weights.shape(first, 3)[1]
                hyper.expect(key, channels, first)
                shapes[f"residual_block_{kind}_conv_ResidualConv1DGLU_{layer}"] = (1, channels, 2 * gate)
            elif key in hyper and hyper.integer(key, low=-1) > 0:
                raise CheckpointError(
                    f"{key} is {hyper.get(key)}, but the checkpoint lacks residual_block_{kind}_conv: these are the "
                    "hyper-parameters of another model."
                )
    shapes |= {"final_convolution_1": (1, skip, skip), "final_convolution_2": (1, skip, outputs)}
    tensors: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        tensors[name] = weights.take(f"{name}/kernel", shape).permute(2, 1, 0)
        bias = weights.take_optional(f"{name}/bias", shape[2:])  # without use_bias there is none in a layer
        tensors[f"{name}.bias"] = torch.zeros(shape[2], dtype=torch.float64) if bias is None else bias
    if weights.has("gc_embedding"):
        channels = inputs_of(tensors, "residual_block_gin_conv_ResidualConv1DGLU_0")
        tensors["gc_embedding"] = weights.take("gc_embedding", (None, channels))
        hyper.expect("n_speakers", tensors["gc_embedding"].shape[0], "gc_embedding")
    for leaf in ("kernel", "bias"):
        name = f"residual_block_out_conv_ResidualConv1DGLU_{layers - 1}/{leaf}"
        if weights.has(name):
            weights.drop(name, "nothing reads the residual of the last layer")
    return tensors


def _tokens(tensors: dict[str, Tensor], hyper: Hyperparameters) -> dict[str, Any]:
    """Codec and output: classes or numbers shapes tell, what the numbers mean they do not."""
    inputs, outputs = tensors["input_convolution"].shape[1], tensors["final_convolution_2"].shape[0]
    if inputs > 1:
        if not inputs == outputs == MU + 1:
            raise CheckpointError(
                f"input_convolution takes {inputs} classes and final_convolution_2 gives {outputs}: its mu-law has "
                f"{MU + 1} in all models."
            )
        hyper.expect("input_type", "mulaw-quantize", "input_convolution/kernel")
        hyper.expect("quantize_channels", inputs, "input_convolution/kernel")
        return {"classes": inputs, "codec_parameters": DIALECTS["r9y9"]}
    companded = hyper.text("input_type", ("raw", "mulaw")) == "mulaw"
    common = {"codec": "pcm", "classes": 0, "front_bias": True, "codec_parameters": {"mu": MU} if companded else {}}
    if outputs == 2:
        return {**common, "output": "gaussian"}
    if outputs % 3:
        raise CheckpointError(f"final_convolution_2 gives {outputs} outputs, which is no mixture of logistics.")
    return {**common, "output": "mixture-of-logistics", "mixtures": outputs // 3}


def _say_conditions(config: WaveNetConfig, notes: Notes) -> None:
    notes.speaker(config.speakers, config.speaker_channels)
    if config.local_channels:
        notes.condition(
            f"{config.local_channels} bands of its audio.melspectrogram a frame of {config.hop} samples, brought to "
            "0..1 where normalize_for_wavenet is true"
        )


def _fold(network: _Network) -> dict[str, Tensor]:
    t = network.tensors
    layers = []
    for number in range(len(network.dilations)):
        causal, out, skip = (
            f"residual_block_{kind}_conv_ResidualConv1DGLU_{number}" for kind in ("causal", "out", "skip")
        )
        conditions = [f"residual_block_{kind}_conv_ResidualConv1DGLU_{number}" for kind in ("cin", "gin")]
        conditions = [name for name in conditions if name in t]
        bias = t[f"{causal}.bias"]
        for name in conditions:
            bias = bias + t[f"{name}.bias"]
        layers.append(
            Layer(
                dilated=t[causal],
                dilated_bias=bias,
                residual=t[out],
                residual_bias=t[f"{out}.bias"],
                skip=t[skip],
                skip_bias=t[f"{skip}.bias"],
                condition=torch.cat([t[name] for name in conditions], dim=1) if conditions else None,
            )
        )
    parameters = fold_layers(layers, network.residual_scale, network.skip_scales)
    parameters |= fold_head(*(t[f"final_convolution_{number}{leaf}"] for number in (1, 2) for leaf in ("", ".bias")))
    parameters |= fold_front(t["input_convolution"], t["input_convolution.bias"])
    if "gc_embedding" in t:
        parameters["speaker.weight"] = t["gc_embedding"]
    return parameters | upsampling.fold(network.stages)


def _forward(network: _Network, trial: Trial) -> Tensor:
    """The network as it is written: [T, O]"""
    t, steps = network.tensors, len(trial.tokens)
    inputs = t["input_convolution"].shape[1]
    x = trial.tokens[None] if inputs == 1 else F.one_hot(trial.tokens, inputs).to(torch.float64).T
    conditions = {}
    if trial.frames is not None:
        c = upsampling.forward(network.stages, network.hop, trial.frames.T[None])
        conditions["cin"] = c[:, :, :steps]
    if trial.speaker is not None:
        vector = t["gc_embedding"][trial.speaker] if isinstance(trial.speaker, int) else trial.speaker
        conditions["gin"] = vector[None, :, None].expand(-1, -1, steps)
    x = network.convolve("input_convolution", x[None])
    skips = torch.zeros(())
    for number, dilation in enumerate(network.dilations):
        a = network.convolve(f"residual_block_causal_conv_ResidualConv1DGLU_{number}", x, dilation)
        for kind, condition in conditions.items():
            a = a + network.convolve(f"residual_block_{kind}_conv_ResidualConv1DGLU_{number}", condition)
        filtered, gate = a.chunk(2, dim=1)
        z = torch.tanh(filtered) * torch.sigmoid(gate)
        skip = network.convolve(f"residual_block_skip_conv_ResidualConv1DGLU_{number}", z)
        skips = skips + network.skip_scales[number] * skip
        x = (x + network.convolve(f"residual_block_out_conv_ResidualConv1DGLU_{number}", z)) * network.residual_scale
    hidden = torch.relu(network.convolve("final_convolution_1", torch.relu(skips)))
    return network.convolve("final_convolution_2", hidden)[0].T
