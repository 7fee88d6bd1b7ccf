"""Rows of the CPU engine: every preset, dtype, batch and thread count, each proved against float64 first."""

import functools

import pytest
import torch

from eager import EagerLoop
from fastwave import Engine, WaveNet, WaveNetConfig
from fastwave.config import PRESETS
from fastwave.engine.example import example
from proofs import prepared, prove
from tolerances import assert_as_close_as_eager

SECONDS_A_RUN = 0.1
ROUNDS = 7  # as in conftest.py


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 4, 16])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("preset", PRESETS)
def test_cpu_engine(row, preset, dtype, batch, threads):
    config = WaveNetConfig.preset(preset)
    model = prepared(config)[0]
    engine = Engine(model, backend="cpu", dtype=dtype, threads=threads)
    proof = prove(engine)
    # at least 1024, the chunk of `generate`: a run copies the state first, half a megabyte a stream at `ref`
    samples = max(1024, int(SECONDS_A_RUN * 2e10 / config.flop_per_sample / batch))
    conditioning = example(config, (ROUNDS + 2) * samples, batch)[1]
    condition = engine.prepare(
        conditioning.get("condition"), conditioning.get("speaker"), batch, (ROUNDS + 2) * samples
    )
    state = engine.start(batch, condition=condition)

    def run():
        engine.run(state, samples, condition=condition)

    against = []
    if (preset, dtype, batch, threads) == ("ref", "float32", 1, 1):
        against = [eager_contender(model), reference_contender(model)]
    if (preset, batch, threads) == ("ref", 16, 2):
        against = [one_thread_contender(model, dtype, batch, samples)]
    row(
        f"generate {preset}, cpu engine", run, samples * batch,
        proof=proof, config=config, dtype=dtype, batch=batch, threads=threads, against=against,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("preset", ["small", "ref"])
def test_many_streams(row, preset, dtype):
    """256 and 64 streams beside 16 of the same engine: how far reading each weight once for all of them carries."""
    config, total = WaveNetConfig.preset(preset), 16_384
    engine = Engine(prepared(config)[0], backend="cpu", dtype=dtype, threads=1)
    proof = prove(engine)
    runs = {}
    for batch in (256, 64, 16):
        runs[batch] = functools.partial(engine.run, engine.start(batch), total // batch, in_place=True)
    name = f"generate {preset}, cpu engine, many streams"
    row(
        name, runs[256], total, proof=proof, config=config, dtype=dtype, batch=256, threads=1,
        against=[(name, runs[batch], total, dtype, batch) for batch in (64, 16)],
    )  # fmt: skip


@pytest.mark.parametrize("preset", ["small", "ref", "vocoder"])
def test_chunks_in_place(row, preset):
    """What small chunks cost, as of a stream that is played while it is made, beside one call of the same length."""
    config, chunk, samples = WaveNetConfig.preset(preset), 64, 1024
    engine = Engine(prepared(config)[0], backend="cpu", dtype="float32", threads=1)
    proof = prove(engine)
    horizon = 20 * samples * ROUNDS
    conditioning = example(config, horizon, 1)[1]
    condition = engine.prepare(conditioning.get("condition"), conditioning.get("speaker"), 1, horizon)
    start = engine.start(condition=condition)
    whole = engine.run(start.copy(), samples, condition=condition)
    state = start.copy()
    parts = [engine.run(state, chunk, condition=condition, in_place=True) for _ in range(samples // chunk)]
    assert torch.equal(torch.cat(parts, dim=1), whole)

    def contender(length, in_place):
        state = start.copy()

        def run():
            for _ in range(samples // length):
                engine.run(state, length, condition=condition, in_place=in_place)

        return run

    name = f"generate {preset}, cpu engine, chunks of {chunk}"
    row(
        f"{name} in place", contender(chunk, True), samples,
        proof=f"{proof}; chunks = one call", config=config, dtype="float32", batch=1, threads=1,
        against=[
            (f"{name}, state copied", contender(chunk, False), samples, "float32", 1),
            (f"generate {preset}, cpu engine, one call of {samples}", contender(samples, True), samples, "float32", 1),
        ],
    )  # fmt: skip


@pytest.mark.parametrize("preset", ["small", "ref"])
def test_excitation(row, preset):
    """Channels at sample rate that enter the first layer alone, beside none, and beside conditioning of hop 1."""
    samples, channels = 4096, 4
    contenders = {}
    for name, fields in {
        "excitation": {"excitation_channels": channels},
        "neither": {},
        "conditioning of hop 1": {"condition_channels": channels},
    }.items():
        config = WaveNetConfig.preset(preset, **fields)
        engine = Engine(prepared(config)[0], backend="cpu", dtype="float32", threads=1)
        proof = prove(engine)
        given = example(config, (ROUNDS + 2) * samples, 1)[1]
        whole = engine.prepare(batch=1, samples=samples, **{"condition": None, "speaker": None, **given})
        state = engine.start(condition=whole)
        contenders[name] = config, proof, functools.partial(engine.run, state, samples, condition=whole)
    config, proof, run = contenders.pop("excitation")
    title = f"generate {preset}, cpu engine, {channels} channels"
    row(
        f"{title} of excitation", run, samples, proof=proof, config=config, dtype="float32", batch=1, threads=1,
        against=[(f"{title}, {name}", other[2], samples, "float32", 1) for name, other in contenders.items()],
    )  # fmt: skip


def eager_contender(model):
    """The careful eager loop, shown to compute the model first."""
    tokens = torch.randint(model.config.classes, (1, 40), generator=torch.Generator().manual_seed(2))
    loop = EagerLoop(model)
    with torch.inference_mode():
        outputs = torch.stack([loop.step(int(token)) for token in tokens[0]])[None]
        exact = WaveNet(model.config, backend="reference").double()
        exact.load_state_dict(model.state_dict())
        assert_as_close_as_eager(outputs, model(tokens), exact(tokens))
    return "generate ref, careful eager loop", lambda: loop.generate(0, 200), 200, "float32", 1


def reference_contender(model):
    """The incremental reference."""
    engine = Engine(model, backend="reference", dtype="float32")
    state = engine.start()
    return "generate ref, incremental reference", lambda: engine.run(state, 100), 100, "float32", 1


def one_thread_contender(model, dtype, batch, samples):
    """The same on one thread: a ratio to be read within one row's rounds, not across minutes."""
    engine = Engine(model, backend="cpu", dtype=dtype, threads=1)
    state = engine.start(batch)
    return (
        "generate ref, cpu engine, in turn with two threads",
        lambda: engine.run(state, samples),
        samples * batch,
        dtype,
        batch,
    )
