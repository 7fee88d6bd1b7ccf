"""`fastwave info`: what a model is and what it costs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .options import Verbs, add_model, add_verb, load_model, print_rows

if TYPE_CHECKING:
    from ..config import WaveNetConfig
    from ..model import WaveNet


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    add_model(add_verb(verbs, "info", info))


def info(options: argparse.Namespace) -> int:
    """What a model is and what it costs."""
    from ..runtime import library
    from ..runtime.dispatch import choose, head_computed_by
    from ..tools import measure

    model, config = load_model(options)
    generation = choose("generation")
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
                     f"head {config.head_channels}, condition {config.condition_channels}"),
        ("codec", _codec(config)),
        *([("level", _level(config))] if config.normalize != "off" else []),
        *([("features", _features(config))] if config.local_channels else []),
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


def _codec(config: WaveNetConfig) -> str:
    parameters = "".join(f", {name} {value}" for name, value in config.codec_parameters.items())
    return config.codec + (f", {config.classes} classes" if config.classes else "") + parameters


def _level(config: WaveNetConfig) -> str:
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
