"""r9y9/wavenet_vocoder: master, and the layouts of 2018, which their `legacy` flag or conv1x1c.bias gives away."""

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
from ..sound.features import Array, Features, Mel
from . import r9y9_upsampling as upsampling
from .folding import Layer, fold_front, fold_head, fold_layers
from .hyperparameters import Hyperparameters
from .mapping import Imported, Network, Trial, inputs_of
from .notes import Notes
from .source import Source
from .weights import Weights

NAME = "r9y9"
PROJECT = "r9y9/wavenet_vocoder"
RESIDUAL_SCALE = math.sqrt(0.5)  # of every layer's output, in all versions
MEL_FLOOR = 1e-10  # of master's logmelspectrogram
EMPHASIS = 0.85  # the coefficient of its audio.preemphasis, which no hyper-parameter changes
_SINCE_MASTER = ("output_distribution", "cin_pad", "upsample_net", "global_gain_scale", "postprocess")
_NEEDED = ("first_conv", "conv_layers.0.conv", "conv_layers.0.conv1x1_out", "conv_layers.0.conv1x1_skip")


@dataclasses.dataclass(frozen=True)
class _Network(Network):
    """Weight normalisation is folded."""

    dilations: tuple[int, ...]
    skip_scales: tuple[float, ...]
    stages: tuple[upsampling.Stage, ...]
    hop: int


def matches(source: Source) -> float | None:
    """By the names of its layers, with or without weight normalisation."""
    leaves = ("weight", "weight_v", "parametrizations.weight.original1")
    known = [any(f"{name}.{leaf}" in source.tensors for leaf in leaves) for name in (*_NEEDED, "last_conv_layers.3")]
    return 1.0 if all(known) else None


def convert(source: Source, weights: Weights, hyper: Hyperparameters, notes: Notes) -> Imported:
    """The checkpoint as ours."""
    tensors = _take(weights, hyper)
    layers = weights.indices("conv_layers.{}.conv.bias")
    stacks = hyper.stacks(layers)
    dilations = dilation_cycle(layers // stacks, stacks)
    first, gated = tensors["first_conv"], tensors["conv_layers.0.conv"]
    local, speaker = (inputs_of(tensors, f"conv_layers.0.conv1x1{kind}") for kind in "cg")
    master = _is_master(weights, hyper, local, speaker)
    stages, hop = upsampling.take(weights, hyper, local, master)
    features, standard = _features(hyper, local, hop, master, notes)
    network = _Network(tensors, dilations, _skip_scales(hyper, layers, master, stages), stages, hop)
    if standard is not None:
        stages = upsampling.standardised(stages, hop, *standard)
        network = dataclasses.replace(network, stages=stages)
    speakers = tensors["embed_speakers"].shape[0] if "embed_speakers" in tensors else 0
    config = WaveNetConfig(
        residual_channels=first.shape[0],
        gate_channels=gated.shape[0] // 2,
        skip_channels=tensors["last_conv_layers.1"].shape[0],
        kernel_size=gated.shape[2],
        dilations=dilations,
        sample_rate=hyper.sample_rate("sample_rate"),
        condition_channels=local + speaker,
        speaker_channels=speaker,
        speakers=speakers,
        features=features,
        hop=hop,
        upsampling="stages" if stages else "repeat",
        upsample_stages=tuple(stage.config for stage in stages),
        **_tokens(tensors, hyper, master, notes),
    )
    layout = "master" if master else "2018, up to 0.1.1"
    notes.recognised(f"the layout of {layout}, {layers} layers in {stacks} stacks, kernel size {config.kernel_size}")
    notes.folded("the residual scale sqrt(1/2) of every layer, and the scales of the skips, into the weights")
    if standard is None:
        _say_conditions(config, hyper, master, notes)
    parameters = {**_fold(network, local), **upsampling.fold(stages)}
    return Imported(config, parameters, lambda trial: _forward(network, trial))


def _take(weights: Weights, hyper: Hyperparameters) -> dict[str, Tensor]:
    """Every weight and bias but those of the upsampling, checked against each other."""
    residual, width, _ = _shape(weights, "first_conv")
    twice, _, taps = _shape(weights, "conv_layers.0.conv")
    skip, gate, _ = _shape(weights, "conv_layers.0.conv1x1_skip")
    outputs = _shape(weights, "last_conv_layers.3")[0]
    layers = weights.indices("conv_layers.{}.conv.bias")
    for key, actual, name in (
        ("layers", layers, "conv_layers"),
        ("residual_channels", residual, "first_conv"),
        ("gate_channels", twice, "conv_layers.0.conv"),
        ("kernel_size", taps, "conv_layers.0.conv"),
        ("skip_out_channels", skip, "conv_layers.0.conv1x1_skip"),
        ("out_channels", outputs, "last_conv_layers.3"),
    ):
        hyper.expect(key, actual, name)
    shapes = {"first_conv": (residual, width, 1)}
    for layer in range(layers):
        prefix = f"conv_layers.{layer}"
        shapes[f"{prefix}.conv"] = (2 * gate, residual, taps)
        shapes[f"{prefix}.conv1x1_out"] = (residual, gate, 1)
        shapes[f"{prefix}.conv1x1_skip"] = (skip, gate, 1)
        for kind, key in (("c", "cin_channels"), ("g", "gin_channels")):
            if _has(weights, f"conv_layers.0.conv1x1{kind}"):
                channels = _shape(weights, f"conv_layers.0.conv1x1{kind}")[1]
                hyper.expect(key, channels, f"conv_layers.0.conv1x1{kind}")
                shapes[f"{prefix}.conv1x1{kind}"] = (2 * gate, channels, 1)
            elif key in hyper and hyper.integer(key, low=-1) > 0:
                raise CheckpointError(
                    f"{key} is {hyper.get(key)}, but the checkpoint lacks conv1x1{kind}: these are the "
                    "hyper-parameters of another model."
                )
    shapes |= {"last_conv_layers.1": (skip, skip, 1), "last_conv_layers.3": (outputs, skip, 1)}
    tensors: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        tensors[name] = weights.take_normed(name, shape)
        bias = weights.take_optional(f"{name}.bias", shape[:1])
        tensors |= {} if bias is None else {f"{name}.bias": bias}
    if weights.has("embed_speakers.weight"):
        tensors["embed_speakers"] = weights.take(
            "embed_speakers.weight", (None, inputs_of(tensors, "conv_layers.0.conv1x1g"))
        )
        hyper.expect("n_speakers", tensors["embed_speakers"].shape[0], "embed_speakers.weight")
    normed = ("weight_g", "weight_v", "parametrizations.weight.original0", "parametrizations.weight.original1")
    for leaf in ("weight", *normed, "bias"):
        name = f"conv_layers.{layers - 1}.conv1x1_out.{leaf}"
        if weights.has(name):
            weights.drop(name, "nothing reads the residual of the last layer")
    return tensors


def _has(weights: Weights, name: str) -> bool:
    return any(weights.has(f"{name}.{leaf}") for leaf in ("weight", "weight_v", "parametrizations.weight.original1"))


def _shape(weights: Weights, name: str) -> tuple[int, int, int]:
    """Of a convolution, whose weight may be kept as magnitude and direction."""
    leaves = ("weight_v", "parametrizations.weight.original1", "weight")
    leaf = next((leaf for leaf in leaves if weights.has(f"{name}.{leaf}")), "weight")
    shape = weights.shape(f"{name}.{leaf}")
    if len(shape) != 3:
        raise CheckpointError(
            f"{name}.{leaf} has shape {list(shape)}, which is not that of a convolution [out, in, taps]."
        )
    return shape[0], shape[1], shape[2]


def _is_master(weights: Weights, hyper: Hyperparameters, local: int, speaker: int) -> bool:
    """Master's convolutions of conditions have no bias. Without conditions only the hyper-parameters tell the two."""
    if local or speaker:
        return not weights.has(f"conv_layers.0.conv1x1{'c' if local else 'g'}.bias")
    if "legacy" in hyper:
        return False
    if any(key in hyper for key in _SINCE_MASTER):
        return True
    raise CheckpointError(
        "the tensors of a model without conditions are the same in r9y9's master and up to 0.1.1, which scale their "
        "skips differently: give its hparams.json with --hparams; or --set legacy=true or false for a model up to "
        "0.1.1, or --set output_distribution=... for master."
    )


def _skip_scales(
    hyper: Hyperparameters, layers: int, master: bool, stages: tuple[upsampling.Stage, ...]
) -> tuple[float, ...]:
    """The factor of each layer's skip. A `legacy` model scales the running sum after every layer but the first."""
    if master:
        return (math.sqrt(1 / layers),) * layers
    if upsampling.is_before_the_legacy_flag(stages):
        hyper.expect("legacy", True, "upsample_conv, which is of January 2018,")
    elif "legacy" not in hyper:
        raise CheckpointError(
            "the hyper-parameter 'legacy' (true or false) is missing, and the shapes of the tensors do not tell it: "
            "give --set legacy=true for a model of before June 2018, when its code had no such choice, or one that was "
            "trained without naming it; --set legacy=false for one that was trained with legacy=False."
        )
    elif not hyper.flag("legacy"):
        return (1.0,) * layers
    return tuple(math.sqrt(0.5) ** (layers - max(layer, 1)) for layer in range(layers))


def _tokens(tensors: dict[str, Tensor], hyper: Hyperparameters, master: bool, notes: Notes) -> dict[str, Any]:
    """Codec and output: classes or numbers shapes tell, what the numbers mean they do not."""
    inputs, outputs = tensors["first_conv"].shape[1], tensors["last_conv_layers.3"].shape[0]
    if inputs > 1:
        if inputs != outputs:
            raise CheckpointError(
                f"first_conv takes {inputs} classes and last_conv_layers.3 gives {outputs}: not a model."
            )
        hyper.expect("input_type", "mulaw-quantize", "first_conv")
        hyper.expect("quantize_channels", inputs, "first_conv")
        dialect = DIALECTS["r9y9" if master else "r9y9-0.1.1"]
        dialect = dialect if master else {**dialect, "mu": inputs, "encode_bins": inputs, "decode_bins": inputs}
        return {"classes": inputs, "codec_parameters": {**dialect, **_post_filter(hyper, master)}}
    companded: dict[str, Any] = {}
    if hyper.text("input_type", ("raw", "mulaw")) == "mulaw":
        companded = {"mu": float(hyper.integer("quantize_channels") - (1 if master else 0))}
    common = {"codec": "pcm", "classes": 0, "front_bias": True}
    common["codec_parameters"] = {**companded, **_post_filter(hyper, master)}
    if "log_scale_min" in hyper and hyper.number("log_scale_min") > -12:
        notes.assume(
            f"log scales are clamped below at -12, and not at its {hyper.number('log_scale_min'):g}, in sampling"
        )
    normal = master and outputs != 2 and hyper.text("output_distribution", ("Logistic", "Normal")) == "Normal"
    if normal or (outputs != 2 and outputs % 3):
        raise CheckpointError(
            f"{outputs} outputs of distribution {hyper.get('output_distribution', 'Logistic')} are no output of "
            "fastwave: it has mixtures of logistics (3 outputs a component) and one Gaussian (2)."
        )
    if outputs == 2:
        hyper.expect("output_distribution", "Normal", "last_conv_layers.3")
        return {**common, "output": "gaussian"}
    return {**common, "output": "mixture-of-logistics", "mixtures": outputs // 3}


def _post_filter(hyper: Hyperparameters, master: bool) -> dict[str, Any]:
    """What its recipes undo after sampling: emphasis and gain. Versions before master have neither."""
    if not master:
        return {}
    parameters: dict[str, Any] = {}
    usual = "the default of its hparams.py"
    if hyper.text("postprocess", ("", "none", "inv_preemphasis"), assumed="none", why=usual) == "inv_preemphasis":
        parameters["pre_emphasis"] = EMPHASIS
    gain = hyper.number("global_gain_scale", assumed=1.0, why=usual)
    return parameters | ({"gain": gain} if gain > 0 and gain != 1 else {})


def _features(
    hyper: Hyperparameters, local: int, hop: int, master: bool, notes: Notes
) -> tuple[Features | None, tuple[Tensor, Tensor] | None]:
    """(what a frame is, and the factor and shift that make master's frames of it).

    Master's frames are log10 of mel bands, standardised by statistics that no hyper-parameter holds. Where they are
    given as `mel_mean` and `mel_scale`, frames are our mel spectrogram: 1 - 2 ln(v) / ln(floor) of the same bands v.
    """
    if not local:
        return None, None
    given = [key in hyper for key in ("mel_mean", "mel_scale")]
    if not master or not any(given):
        return Array(local), None
    mean, scale = (torch.tensor(hyper.numbers(key), dtype=torch.float64) for key in ("mel_mean", "mel_scale"))
    if not len(mean) == len(scale) == local or not bool((scale > 0).all()):
        raise CheckpointError(f"mel_mean and mel_scale must be {local} numbers each, one a band, and scales above 0.")
    window = hyper.integer("fft_size")
    hyper.expect("win_length", window, "fft_size, which is the window of our mel spectrogram and")
    hyper.expect("hop_size", hop, "the upsampling network")
    high = None if "fmax" in hyper and hyper.get("fmax") is None else hyper.number("fmax")
    decades = math.log10(MEL_FLOOR)  # log10(v) = (1 - frame) / 2 * decades
    notes.folded("the standardisation of frames by mel_mean and mel_scale into a stage of upsampling")
    notes.assume(
        "recordings are not filtered, and silence lies around them, where its code may cut below 70 Hz and mirrors"
    )
    notes.condition(f"a recording, or {local} bands of our mel spectrogram a frame of {hop} samples")
    features = Mel(bands=local, window=window, low=hyper.number("fmin"), high=high, floor=MEL_FLOOR)
    return features, (-decades / 2 / scale, (decades / 2 - mean) / scale)


def _say_conditions(config: WaveNetConfig, hyper: Hyperparameters, master: bool, notes: Notes) -> None:
    """Which speaker and features the model must be given."""
    notes.speaker(config.speakers, config.speaker_channels)
    if not config.local_channels:
        return
    known = [f"{key} {hyper.get(key)}" for key in ("fmin", "fmax", "fft_size", "win_length", "window") if key in hyper]
    details = f" ({', '.join(known)})" if known else ""
    function, scale = "melspectrogram", "in 0..1"
    if master:
        function, scale = "logmelspectrogram", "standardised with the mean and variance of its training data"
    notes.condition(
        f"{config.local_channels} bands of its audio.{function}{details} a frame of {config.hop} samples, {scale}"
    )


def _fold(network: _Network, local: int) -> dict[str, Tensor]:
    t = network.tensors
    zero = torch.zeros((), dtype=torch.float64)
    layers = []
    for number in range(len(network.dilations)):
        prefix = f"conv_layers.{number}"
        bias = t[f"{prefix}.conv.bias"]
        conditions = [f"{prefix}.conv1x1{kind}" for kind in "cg" if f"{prefix}.conv1x1{kind}" in t]
        layers.append(
            Layer(
                dilated=t[f"{prefix}.conv"],
                dilated_bias=bias + sum((t.get(f"{name}.bias", zero) for name in conditions), zero),
                residual=t[f"{prefix}.conv1x1_out"],
                residual_bias=t[f"{prefix}.conv1x1_out.bias"],
                skip=t[f"{prefix}.conv1x1_skip"],
                skip_bias=t[f"{prefix}.conv1x1_skip.bias"],
                condition=torch.cat([t[name] for name in conditions], dim=1) if conditions else None,
            )
        )
    parameters = fold_layers(layers, RESIDUAL_SCALE, network.skip_scales)
    for_head = [f"last_conv_layers.{number}{leaf}" for number in (1, 3) for leaf in ("", ".bias")]
    parameters |= fold_head(*(t[name] for name in for_head))
    parameters |= fold_front(t["first_conv"], t["first_conv.bias"])
    if "embed_speakers" in t:
        parameters["speaker.weight"] = t["embed_speakers"]
    return parameters


def _forward(network: _Network, trial: Trial) -> Tensor:
    """The network as it is written: [T, O]"""
    t, steps = network.tensors, len(trial.tokens)
    inputs = t["first_conv"].shape[1]
    x = trial.tokens[None] if inputs == 1 else F.one_hot(trial.tokens, inputs).to(torch.float64).T
    c = g = None
    if trial.frames is not None:
        c = upsampling.forward(network.stages, network.hop, trial.frames.T[None])[:, :, :steps]
    if trial.speaker is not None:
        vector = t["embed_speakers"][trial.speaker] if isinstance(trial.speaker, int) else trial.speaker
        g = vector[None, :, None].expand(-1, -1, steps)
    x = network.convolve("first_conv", x[None])
    skips = torch.zeros(())
    for number, dilation in enumerate(network.dilations):
        prefix = f"conv_layers.{number}"
        a = network.convolve(f"{prefix}.conv", x, dilation)
        for kind, condition in (("c", c), ("g", g)):
            if condition is not None:
                a = a + network.convolve(f"{prefix}.conv1x1{kind}", condition)
        filtered, gate = a.chunk(2, dim=1)
        z = torch.tanh(filtered) * torch.sigmoid(gate)
        skips = skips + network.skip_scales[number] * network.convolve(f"{prefix}.conv1x1_skip", z)
        x = (x + network.convolve(f"{prefix}.conv1x1_out", z)) * RESIDUAL_SCALE
    hidden = torch.relu(network.convolve("last_conv_layers.1", torch.relu(skips)))
    return network.convolve("last_conv_layers.3", hidden)[0].T
