"""A kernel of generation is right where its outputs are as close to float64 as eager PyTorch's of the same dtype, and
the samples that it draws are those that its outputs and the uniforms say.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..conditioning import Condition
from ..config import WaveNetConfig
from ..distributions import DRAWS, PLAIN, Sampling, sample
from ..engine.engine import Engine
from ..engine.example import example
from ..engine.state import State
from ..errors import BackendUnavailable
from ..model import WaveNet
from ..philox import noise
from ..runtime import library
from ..runtime.verdict import Rates
from .closeness import NotProved, compare
from .race import race

SAMPLES = 16  # of every stream, after a past that fills the receptive field
SEED = 3
SAMPLINGS = (PLAIN, Sampling(temperature=0.8, top_k=20, top_p=0.9))  # the second for classes alone
RUN_SECONDS = 0.1  # of a timed run, about
LONGEST_RUN = 1 << 14
EPSILON = torch.finfo(torch.float32).eps
HALF_STEP = 2.0**-16  # of 16-bit sound: a waveform that is drawn nearer than this cannot be told from the right one


class Shape(NamedTuple):
    """A model to prove with, and how many streams of it."""

    name: str
    config: WaveNetConfig
    streams: int
    may_not_fit: bool = False  # then a kernel that cannot hold it is not refused for that


@dataclasses.dataclass(frozen=True)
class Trial:
    """A model with a past and the samples after it, and what the reference says of them."""

    model: WaveNet
    prime: Tensor  # [1, P]: all streams have one past
    tokens: Tensor  # [streams, SAMPLES]
    conditioning: dict[str, Tensor]
    exact: Tensor  # the outputs in float64
    eager: Tensor  # and of eager PyTorch


def lively(config: WaveNetConfig, seed: int = 0) -> WaveNet:
    """A model whose every weight matters: its output layer is not near zero as at a training start."""
    torch.manual_seed(seed)
    model = WaveNet(config, backend="reference")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.3)
        model.get_parameter("head.1.weight").mul_(10)
    return model


def check(shape: Shape, kernel: str, dtype: str) -> str:
    """The figures of the outputs; NotProved says what is wrong.

    The general kernel rounds nothing to bfloat16 but weights. On weights that are rounded before, its outputs must be
    those of float32.
    """
    rounded = kernel == "general" and dtype == "bfloat16"
    trial = _trial(shape.config, shape.streams, "float32" if rounded else dtype, rounded)
    try:
        engine = Engine(trial.model, "cuda", dtype, kernel=kernel)
    except BackendUnavailable as error:
        if shape.may_not_fit:
            return f"{shape.name}: {error}"
        raise
    state, condition = _start(engine, trial)
    outputs = engine.feed(state.copy(), trial.tokens, condition=condition).cpu()
    comparison = compare(outputs.to(trial.eager.dtype), trial.eager, trial.exact)
    if comparison.fault:
        raise NotProved(f"outputs of {shape.name}: {comparison.fault}")
    for sampling in SAMPLINGS if shape.config.output == "categorical" else SAMPLINGS[:1]:
        drawn = engine.run(state.copy(), SAMPLES, seed=SEED, condition=condition, **dataclasses.asdict(sampling))
        outputs = engine.feed(state.copy(), drawn, condition=condition).cpu()
        if fault := _drawn_otherwise(shape.config, outputs, drawn.cpu(), trial.prime.shape[1], sampling):
            raise NotProved(f"samples of {shape.name}: {fault}")
    return f"{shape.name}: {comparison.figures}"


def contest(shape: Shape, kernel: str, dtype: str) -> Rates:
    """The speed of the kernel beside the CPU engine and the reference, for one stream and for many."""
    model = lively(shape.config)
    engines = {"cuda": Engine(model, "cuda", dtype, kernel=kernel), "reference": Engine(model, "reference", dtype)}
    if not library.missing("cpu"):
        engines["cpu"] = Engine(model, "cpu", dtype)
    rates = {}
    for streams in (1, shape.streams):
        case = f"{streams} stream{'s' if streams > 1 else ''} of {shape.name} in {dtype}"
        rates[case] = race({name: _running(engine, streams) for name, engine in engines.items()})
        engines.pop("reference", None)  # it runs one stream after the other: many are no faster
    return rates


@functools.cache
def _trial(config: WaveNetConfig, streams: int, eager: str, rounded: bool) -> Trial:
    """With the outputs of eager PyTorch in a dtype, of weights that are `rounded` to bfloat16 or not."""
    model = lively(config)
    if rounded:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(parameter.bfloat16())
    past = config.receptive_field + 3
    tokens, conditioning = example(config, past + SAMPLES, 1)
    random = torch.Generator().manual_seed(1)
    if config.scalar_input:
        after = torch.rand(streams, SAMPLES, generator=random) * 1.8 - 0.9
    else:
        after = torch.randint(config.classes, (streams, SAMPLES), generator=random)
    trial = Trial(model, tokens[:, :past], after, conditioning, torch.empty(0), torch.empty(0))
    return dataclasses.replace(trial, exact=_reference(trial, "float64"), eager=_reference(trial, eager))


def _reference(trial: Trial, dtype: str) -> Tensor:
    engine = Engine(copy.deepcopy(trial.model), "reference", dtype)
    state, condition = _start(engine, trial)
    return engine.feed(state, trial.tokens, condition=condition)


def _start(engine: Engine, trial: Trial) -> tuple[State, Condition]:
    """A state of all streams after their past, and the conditioning of what follows."""
    streams, given = len(trial.tokens), trial.conditioning
    length = trial.prime.shape[1] + trial.tokens.shape[1]
    alone = engine.prepare(given.get("condition"), given.get("speaker"), 1, length, given.get("excitation"))
    state = engine.start(1, prime=trial.prime, condition=alone).take([0] * streams)
    state.streams = torch.arange(streams, device=state.streams.device)
    return state, alone.rows([0] * streams)


def _drawn_otherwise(
    config: WaveNetConfig, outputs: Tensor, drawn: Tensor, first: int, sampling: Sampling = PLAIN
) -> str:
    """Which sample does not follow from the outputs [B, T, O] that it was drawn from; empty where all do."""
    draws = DRAWS[config.output]
    uniforms = torch.stack([noise(SEED, stream, first, drawn.shape[1], draws) for stream in range(len(drawn))])
    if config.output == "categorical":
        wrong = _not_at(outputs, drawn, uniforms, sampling)
    else:
        expected = sample(config.output, outputs.flatten(0, 1), uniforms.flatten(0, 1), sampling).view_as(drawn)
        wrong = ~((drawn - expected).abs() <= HALF_STEP)
    if not wrong.any():
        return ""
    stream, at = (int(index) for index in wrong.nonzero()[0])
    return (
        f"{int(wrong.sum())} of {wrong.numel()} are not those of their uniforms, first sample {at} of stream {stream}"
    )


def _not_at(logits: Tensor, drawn: Tensor, uniforms: Tensor, sampling: Sampling = PLAIN) -> Tensor:
    """Where another class was drawn than those of the uniform [B, T, 1] and its neighbours, as far as sums tell."""
    # each sum rounds by half a unit at most, up or down at random: four deviations; an exponential by one or two
    margin = (4 * math.sqrt(logits.shape[-1] / 12) + 2) * EPSILON
    least, most = (
        sample("categorical", logits.flatten(0, 1), near.clamp(0, 1 - EPSILON / 2).flatten(0, 1), sampling)
        for near in (uniforms - margin, uniforms + margin)
    )
    return (drawn < least.view_as(drawn)) | (drawn > most.view_as(drawn))


def _running(engine: Engine, streams: int) -> Callable[[], int]:
    """A program for a race: draws samples for about RUN_SECONDS."""
    _, given = example(engine.config, LONGEST_RUN, 1)
    alone = engine.prepare(given.get("condition"), given.get("speaker"), 1, LONGEST_RUN, given.get("excitation"))
    state = engine.start(1, condition=alone).take([0] * streams)
    state.streams = torch.arange(streams, device=state.streams.device)
    condition = alone.rows([0] * streams)

    def run(count: int) -> float:
        begun = time.perf_counter()
        engine.run(state.copy(), count, condition=condition, in_place=True).cpu()  # waits for the device
        return time.perf_counter() - begun

    count = 4
    while (elapsed := run(count)) < RUN_SECONDS and count < LONGEST_RUN:
        count = min(LONGEST_RUN, max(count + 1, int(count * min(8.0, 1.2 * RUN_SECONDS / elapsed))))

    def program() -> int:
        run(count)
        return count * streams

    return program
