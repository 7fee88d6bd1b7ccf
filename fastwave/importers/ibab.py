"""ibab/tensorflow-wavenet: TensorFlow bundles of its `WaveNetModel`.

Biases stand under `Variable`, `Variable_1`, ... in the order in which they were made, because their names were passed
as another argument; those of a repaired copy have names. With `scalar_input` the first layer reads the waveform and the
output is a class all the same: what it reads of a sample that has a class is an embedding, since that layer is linear.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import codec
from ..config import WaveNetConfig
from ..errors import CheckpointError
from .hyperparameters import Hyperparameters
from .mapping import Imported, Trial
from .notes import Notes
from .source import Source
from .weights import Weights

NAME = "ibab"
PROJECT = "ibab/tensorflow-wavenet"
_FRONT = "causal_layer/filter"
_LAYER_BIASES = ("filter_bias", "gate_bias", "dense_bias", "slip_bias")  # slip: as its source spells skip
_HEAD_BIASES = ("postprocess1_bias", "postprocess2_bias")


def matches(source: Source) -> float | None:
    """By the names of its scopes."""
    prefix = _prefix(source)
    needed = ("dilated_stack/layer0/filter", "dilated_stack/layer0/gate", "postprocessing/postprocess1")
    return 1.0 if prefix is not None and all(prefix + name in source.tensors for name in needed) else None


def _prefix(source: Source) -> str | None:
    """What stands before every name: "wavenet/", with a number where a network was made twice."""
    names = [name for name in source.tensors if name == _FRONT or name.endswith(f"/{_FRONT}")]
    return names[0].removesuffix(_FRONT) if len(names) == 1 else None


def convert(source: Source, weights: Weights, hyper: Hyperparameters, notes: Notes) -> Imported:
    """The checkpoint as ours."""
    prefix = _prefix(source)
    assert prefix is not None  # `matches` has said so
    stack = prefix + "dilated_stack/layer{}/"
    count = weights.indices(stack + "filter")
    dilations = hyper.integers("dilations")
    if len(dilations) != count:
        raise CheckpointError(
            f"dilations has {len(dilations)} entries, and the checkpoint {count} layers ({stack.format(count - 1)}...)"
            ": these are the hyper-parameters of another model."
        )
    own = _take(weights, prefix, count, notes)
    scalar = own["front"].shape[1] == 1
    taps, residual, gate = own["filter.0"].shape
    skip, classes = own["head.1"].shape
    speakers, channels = own["speakers"].shape if "speakers" in own else (0, own["condition.0"].shape[0])
    for key, actual, name in (
        ("filter_width", taps, "dilated_stack/layer0/filter"),
        ("residual_channels", residual, "dilated_stack/layer0/filter"),
        ("dilation_channels", gate, "dilated_stack/layer0/filter"),
        ("skip_channels", skip, "postprocessing/postprocess1"),
        ("quantization_channels", classes, "postprocessing/postprocess2"),
        ("scalar_input", scalar, _FRONT),
        ("use_biases", "bias" in own, "the biases"),
        *([("initial_filter_width", own["front"].shape[0], _FRONT)] if scalar else []),
    ):
        hyper.expect(key, actual, prefix + name)
    config = WaveNetConfig(
        residual_channels=residual,
        gate_channels=gate,
        skip_channels=skip,
        kernel_size=taps,
        front_kernel=own["front"].shape[0],
        dilations=dilations,
        classes=classes,
        sample_rate=hyper.sample_rate("sample_rate"),
        condition_channels=channels,
        speaker_channels=channels,
        speakers=speakers,
    )
    notes.recognised(f"{count} layers, filter width {taps}, {residual} residual and {skip} skip channels")
    if channels:
        notes.condition(f"speaker: a number 0..{speakers - 1}" if speakers else f"speaker: a vector of {channels}")
    if scalar:
        notes.folded(f"the {config.front_kernel} taps of the scalar input into embeddings: each sample has a class")
        notes.assume("scalar_input: samples that it hears are decoded classes; it was trained on the waveform itself")
    return Imported(
        config, _fold(own, count, classes, channels), lambda trial: _forward(own, dilations, classes, trial)
    )


def _take(weights: Weights, prefix: str, count: int, notes: Notes) -> dict[str, Tensor]:
    """Every weight [taps, in, out] and bias by a short name. Biases that are left out are zeros."""
    first = f"{prefix}dilated_stack/layer0/"
    taps, residual, gate = weights.shape(f"{first}filter", 3)
    skip = weights.shape(f"{first}skip", 3)[-1]
    classes = weights.shape(f"{prefix}postprocessing/postprocess2", 3)[-1]
    front = weights.shape(prefix + _FRONT)
    own = {"front": weights.take(prefix + _FRONT, (None if front[1:2] == (1,) else taps, None, residual))}
    if own["front"].shape[1] not in (1, classes):
        raise CheckpointError(f"{prefix}{_FRONT} reads {own['front'].shape[1]} classes, and the output has {classes}.")
    channels = weights.shape(f"{first}gc_filter", 3)[1] if weights.has(f"{first}gc_filter") else 0
    for layer in range(count):
        scope = f"{prefix}dilated_stack/layer{layer}/"
        own[f"filter.{layer}"] = weights.take(f"{scope}filter", (taps, residual, gate))
        own[f"gate.{layer}"] = weights.take(f"{scope}gate", (taps, residual, gate))
        own[f"dense.{layer}"] = weights.take(f"{scope}dense", (1, gate, residual))[0]
        own[f"skip.{layer}"] = weights.take(f"{scope}skip", (1, gate, skip))[0]
        halves = [torch.zeros(0, gate, dtype=torch.float64)] * 2
        if channels:
            halves = [weights.take(f"{scope}gc_{half}", (1, channels, gate))[0] for half in ("filter", "gate")]
        own[f"condition.{layer}"] = torch.cat(halves, dim=1)
        own |= _biases(weights, scope, _LAYER_BIASES, (gate, gate, residual, skip), f".{layer}")
    notes.drop(
        f"{prefix}dilated_stack/layer{count - 1}/dense and its bias: nothing reads the residual of the last layer"
    )
    for head, sizes in enumerate(((skip, skip), (skip, classes))):
        own[f"head.{head}"] = weights.take(f"{prefix}postprocessing/postprocess{head + 1}", (1, *sizes))[0]
    own |= _biases(weights, f"{prefix}postprocessing/", _HEAD_BIASES, (skip, classes), "")
    table = f"{prefix}embeddings/gc_embedding"
    if weights.has(table):
        own["speakers"] = weights.take(table, (None, channels))
    return own


def _biases(
    weights: Weights, scope: str, names: tuple[str, ...], sizes: tuple[int, ...], index: str
) -> dict[str, Tensor]:
    """Biases by name or, as the project saves them, by the order in which they were made."""
    own: dict[str, Tensor] = {}
    for number, (name, size) in enumerate(zip(names, sizes, strict=True)):
        numbered = f"{scope}Variable" + (f"_{number}" if number else "")
        stored = next((each for each in (scope + name, numbered) if weights.has(each)), None)
        own[name + index] = weights.take(stored, (size,)) if stored else torch.zeros(size, dtype=torch.float64)
        if stored:
            own["bias"] = own[name + index]  # says that there are some
    return own


def _fold(own: dict[str, Tensor], count: int, classes: int, channels: int) -> dict[str, Tensor]:
    """Under our names."""
    front = own["front"]
    if front.shape[1] == 1:
        samples = codec.MuLaw(classes).decode(torch.arange(classes)).to(torch.float64)
        front = samples[None, :, None] * front
    every = range(count)
    filters = [torch.cat([own[f"filter.{layer}"], own[f"gate.{layer}"]], dim=2) for layer in every]
    biases = [torch.cat([own[f"filter_bias.{layer}"], own[f"gate_bias.{layer}"]]) for layer in every]
    gate, residual = own["dense.0"].shape
    dense = [own[f"dense.{layer}"] for layer in range(count - 1)]
    dense_biases = [own[f"dense_bias.{layer}"] for layer in range(count - 1)]
    tensors = {
        "front.weight": front,
        "dilated.weight": torch.stack(filters),
        "dilated.bias": torch.stack(biases),
        "residual.weight": torch.stack(dense) if dense else torch.empty(0, gate, residual),
        "residual.bias": torch.stack(dense_biases) if dense else torch.empty(0, residual),
        "skip.weight": torch.stack([own[f"skip.{layer}"] for layer in every]),
        "skip.bias": sum((own[f"slip_bias.{layer}"] for layer in every), torch.zeros(())),
        "head.0.weight": own["head.0"],
        "head.0.bias": own["postprocess1_bias"],
        "head.1.weight": own["head.1"],
        "head.1.bias": own["postprocess2_bias"],
    }
    if channels:
        tensors["condition.weight"] = torch.stack([own[f"condition.{layer}"] for layer in every])
    if "speakers" in own:
        tensors["speaker.weight"] = own["speakers"]
    return tensors


def _forward(own: dict[str, Tensor], dilations: tuple[int, ...], classes: int, trial: Trial) -> Tensor:
    """The network as its generator runs it, from queues of zeros: [T, classes]"""
    if own["front"].shape[1] == 1:
        level = 2 * trial.tokens.to(torch.float64) / (classes - 1) - 1
        x = (level.sign() * (float(classes) ** level.abs() - 1) / (classes - 1))[:, None]
    else:
        x = F.one_hot(trial.tokens, classes).to(torch.float64)
    x = _causal(x, own["front"], 1)
    skips = torch.zeros(())
    speaker = trial.speaker
    if isinstance(speaker, int):
        speaker = own["speakers"][speaker]
    for layer, dilation in enumerate(dilations):
        filtered = _causal(x, own[f"filter.{layer}"], dilation) + own[f"filter_bias.{layer}"]
        gated = _causal(x, own[f"gate.{layer}"], dilation) + own[f"gate_bias.{layer}"]
        if speaker is not None:
            for_filter, for_gate = (speaker @ own[f"condition.{layer}"]).chunk(2)
            filtered, gated = filtered + for_filter, gated + for_gate
        z = torch.tanh(filtered) * torch.sigmoid(gated)
        skips = skips + z @ own[f"skip.{layer}"] + own[f"slip_bias.{layer}"]
        x = x + z @ own[f"dense.{layer}"] + own[f"dense_bias.{layer}"]
    hidden = torch.relu(torch.relu(skips) @ own["head.0"] + own["postprocess1_bias"])
    return hidden @ own["head.1"] + own["postprocess2_bias"]


def _causal(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """x [T, in], weight [taps, in, out] -> [T, out]; what comes before x is zero"""
    padded = F.pad(x.T[None], ((weight.shape[0] - 1) * dilation, 0))
    return F.conv1d(padded, weight.permute(2, 1, 0), dilation=dilation)[0].T
