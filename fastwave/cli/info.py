"""`fastwave info`: what a model is and what it costs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .options import Verbs, add_json, add_model, add_verb, check_model, load_any_model, print_json, print_rows

if TYPE_CHECKING:
    from ..config import WaveNetConfig
    from ..model import WaveNet
    from ..student.config import StudentConfig
    from ..student.network import ParallelWaveNet


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "info", info, check_model)
    add_model(verb)
    add_json(verb)


def info(options: argparse.Namespace) -> int:
    """What a model is and what it costs."""
    from ..model import WaveNet
    from ..runtime import library
    from ..runtime.dispatch import choose, head_computed_by
    from ..tools import measure

    model, config = load_any_model(options)
    if not isinstance(model, WaveNet):
        return _of_student(model, options.json)
    if options.json:
        print_json(_facts(model))
        return 0
    generation = choose("generation", may_prove=False)
    field = f"{config.receptive_field:,} samples"
    if config.receptive_field_ms is not None:
        field += f" = {config.receptive_field_ms:,.1f} ms at {config.sample_rate} Hz"
    state = sum(config.history_slots) * config.residual_channels
    training = choose("training", model.backend)
    memory = f"{_training_bytes(config, training.name) / 1e6:.1f} MB"
    if training.name != "reference":
        memory += f" ({_training_bytes(config, training.name, recompute=True) / 1e6:.1f} MB with --recompute)"
    rows = [
        ("layers", f"{config.layers}, kernel size {config.kernel_size}, dilations {_shorten(config.dilations)}"),
        ("channels", f"residual {config.residual_channels}, gate {config.gate_channels}, skip {config.skip_channels}, "
                     f"head {config.head_channels}, condition {config.condition_channels}"
                     + (f", excitation {config.excitation_channels}" if config.excitation_channels else "")),
        ("codec", _codec(config)),
        *([("level", _level(config))] if config.normalize != "off" else []),
        *([("features", _features(config))] if config.local_channels else []),
        *([("speakers", _speakers(config))] if config.speakers else []),
        ("output", f"{config.output}, {config.output_channels} values a sample"),
        ("receptive field", field),
        ("parameters", f"{config.parameter_count:,}"),
        ("read a sample", f"{config.weights_read_per_sample:,} weights, {config.flop_per_sample / 1e6:.2f} MFLOP"),
        ("memory", f"{config.parameter_count * 4 / 1e6:.2f} MB of float32 weights, {state * 4 / 1e6:.2f} MB a stream"),
        ("training memory", f"about {memory} of float32 activations per 1,000 samples"),
        ("training backend", f"{training.name} ({training.why})"),
        ("training head", f"the head of a {config.output} output is computed by "
                          f"{head_computed_by(training.name, config.output)}"),
        ("generation backend", f"{generation.name} ({generation.why})"),
        ("generation dtype", _dtype(model)),
    ]  # fmt: skip
    for dtype in ("float32", "bfloat16"):
        rows.append((f"{dtype} CUDA kernel", _cuda_kernel(model, dtype)))
    for dtype in ("float32", "bfloat16"):
        limit = measure.ceiling(config, dtype)
        floor = f"not measured: {library.missing('cpu')}"
        if limit is not None:
            rate = limit.samples_per_second()
            floor = f"{1e6 / rate:.1f} us a sample = {rate:,.0f} samples/s on one core ({limit.explain()})"
        rows.append((f"{dtype} floor here", floor))
    print_rows(rows)
    return 0


def _facts(model: WaveNet) -> dict[str, Any]:
    """The same for other programs, without what is measured here."""
    from ..runtime.dispatch import choose

    config = model.config
    return {
        "config": config.to_dict(),
        "layers": config.layers,
        "parameters": config.parameter_count,
        "receptive_field": config.receptive_field,
        "receptive_field_ms": config.receptive_field_ms,
        "weights_read_per_sample": config.weights_read_per_sample,
        "flop_per_sample": config.flop_per_sample,
        "state_values": sum(config.history_slots) * config.residual_channels,
        "speakers": list(config.speaker_names) or config.speakers,
        "training_backend": choose("training", model.backend).name,
        "generation_backend": choose("generation", may_prove=False).name,
    }


def _of_student(model: ParallelWaveNet, as_json: bool) -> int:
    """What a student is, and what a sample of it costs."""
    from ..runtime.dispatch import choose

    config = model.config
    parameters = sum(parameter.numel() for parameter in model.parameters())
    looks_back = config.receptive_field * config.squeeze
    milliseconds = 1000 * looks_back / config.sample_rate
    training, generation = choose("training", model.backend), choose("training", "auto", "float32", "cpu")
    if as_json:
        print_json({
            "kind": "student",
            "config": config.to_dict(),
            "layers": len(config.dilations),
            "parameters": parameters,
            "receptive_field": looks_back,
            "receptive_field_ms": milliseconds,
            "multiply_adds_per_sample": config.multiply_adds,
            "training_backend": training.name,
            "generation_backend": generation.name,
        })  # fmt: skip
        return 0
    frames, generator = config.frames, model.generator()
    taught = "distilled from a Gaussian WaveNet, a flow" if config.flow else "trained on recordings alone"
    heard = f", with noise of {config.dither:g} added" if config.dither else ""
    print_rows([
        ("kind", f"a student, which makes all samples at once: {taught}"),
        ("layers", f"{len(config.dilations)}, kernel size {config.kernel_size}, "
                   f"dilations {_shorten(config.dilations)}"),
        ("channels", f"residual {config.residual_channels}, {config.squeeze} samples a step"),
        *([("level", _level(config))] if config.normalize != "off" else []),
        ("frames", f"{frames.bands} mel bands, F0 and voicing, {frames.hop} samples a frame at "
                   f"{frames.sample_rate} Hz; --condition takes {config.features.reads}{heard}"),
        ("receptive field", f"{looks_back:,} samples = {milliseconds:,.1f} ms"),
        ("parameters", f"{parameters:,}"),
        ("computed a sample", f"{config.multiply_adds:,} multiply-adds in the network"),
        ("training backend", f"{training.name} ({training.why})"),
        ("generation backend", f"{generation.name} ({generation.why})"),
        ("generation dtype", f"{generator.dtype} ({generator.why_dtype})"),
    ])  # fmt: skip
    return 0


def _speakers(config: WaveNetConfig) -> str:
    """How many there are, and what `--speaker` takes for each."""
    if not config.speaker_names:
        return f"{config.speakers}; --speaker takes a number 0..{config.speakers - 1}: their names were not saved"
    shown = ", ".join(config.speaker_names[:20])
    return f"{config.speakers}: {shown}" + (", ..." if config.speakers > 20 else "") + "; --speaker takes a name"


def _codec(config: WaveNetConfig) -> str:
    parameters = "".join(f", {name} {value}" for name, value in config.codec_parameters.items())
    return config.codec + (f", {config.classes} classes" if config.classes else "") + parameters


def _level(config: WaveNetConfig | StudentConfig) -> str:
    """What files were brought to before training, and are brought to where the model hears them."""
    from ..sound.loudness import HIGHEST_PEAK, TARGET_LUFS

    target = f"a peak of {HIGHEST_PEAK:g} dB" if config.normalize == "peak" else f"a loudness of {TARGET_LUFS:g} LUFS"
    return f"files were brought to {target}, and so are those that it hears"


def _features(config: WaveNetConfig) -> str:
    """The features that the model is conditioned on, and the files that `--condition` takes for them."""
    if config.features is None:
        return f"{config.local_channels} values a frame; --condition takes a .npy array: their kind was not saved"
    values = config.features.to_dict()
    kind = values.pop("kind")
    shown = ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
    return f"{kind}, {shown}; --condition takes {config.features.reads}"


def _dtype(model: WaveNet) -> str:
    """What `--dtype auto` takes for this model, and why."""
    from ..engine.engine import Engine

    engine = Engine(model, dtype="auto")
    return f"{engine.dtype} ({engine.why_dtype})"


def _cuda_kernel(model: WaveNet, dtype: str) -> str:
    """Which kernel generates with this model on the GPU here, and why."""
    from ..engine.engine import Engine
    from ..runtime.dispatch import backends

    reason = next(each.reason for each in backends() if (each.role, each.name) == ("generation", "cuda"))
    if reason:
        return f"none here: {reason}"
    plan = Engine(model, "cuda", dtype).plan(1)
    size = f"{plan.blocks_per_cluster} blocks of " if plan.blocks_per_cluster else ""
    return f"{plan.kernel} ({plan.reason}), {size}{plan.shared / 1024:.0f} KB for {plan.streams_per_block} streams"


def _training_bytes(config: WaveNetConfig, backend: str, recompute: bool = False) -> int:
    """Of float32 activations saved for the backward pass, for 1,000 samples."""
    from ..model import saved_bytes

    return saved_bytes(config, backend, 1000, recompute)


def _shorten(dilations: Sequence[int]) -> str:
    shown = ", ".join(map(str, dilations[:12]))
    return shown if len(dilations) <= 12 else f"{shown}, ... (sum {sum(dilations)})"
