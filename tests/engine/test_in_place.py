"""A run in place: the same samples without a copy of the state, and a state that says when it is broken."""

import dataclasses
import math

import pytest
import torch

from engine_trials import lively, unmoved
from fastwave import Engine, GenerationError, InputError
from shapes import CONFIGS, make_condition, make_model, make_tokens, row_of

CHUNKS = (1, 0, 29, 7, 64, 3)  # 104 samples


def in_chunks(engine, state, condition, **options):
    parts = [engine.run(state, count, condition=condition, in_place=True, **options) for count in CHUNKS]
    return torch.cat(parts, dim=1)


def check_chunks(engine):
    """Chunks in place are one call, to the last bit, in samples and in the state that they leave."""
    conditioning = make_condition(engine.config, 3, 120)
    prepared = engine.prepare(batch=3, samples=120, **{"condition": None, "speaker": None, **conditioning})
    start = engine.start(3, condition=prepared)
    whole, chunked = start.copy(), start.copy()
    expected = engine.run(whole, sum(CHUNKS), seed=5, condition=prepared)
    assert torch.equal(in_chunks(engine, chunked, prepared, seed=5), expected)
    unmoved(chunked, whole)
    known = expected.split(17, dim=1)  # fed in the same parts: the reference hears each part in one pass
    fed, plain = start.copy(), start.copy()
    in_place = [engine.feed(fed, part, condition=prepared, in_place=True) for part in known]
    assert torch.equal(
        torch.cat(in_place, dim=1), torch.cat([engine.feed(plain, part, condition=prepared) for part in known], dim=1)
    )
    unmoved(fed, plain)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("name", CONFIGS)
def test_chunks_in_place_are_one_call_bit_for_bit(backend, name):
    check_chunks(Engine(make_model(name), backend, dtype="float32"))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_chunks_in_place_are_one_call_in_every_dtype(dtype, threads):
    check_chunks(Engine(make_model("categorical-linear-ids"), "cpu", dtype, threads=threads))


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["general", "cluster"])
@pytest.mark.parametrize("name", ["categorical", "categorical-linear-ids", "mixture-learned"])
def test_chunks_in_place_are_one_call_on_the_cuda_engine(machine, name, kernel):
    check_chunks(Engine(make_model(name), "cuda", "bfloat16", kernel=kernel))


@pytest.mark.gpu
@pytest.mark.parametrize("name", CONFIGS)
def test_chunks_in_place_are_one_call_on_a_gpu(gpu, name):
    check_chunks(Engine(make_model(name), "cuda", dtype="float32"))


def test_a_run_in_place_copies_nothing():
    engine = Engine(make_model("categorical"), "cpu", dtype="float32")
    state = engine.start(2)
    places = [tensor.data_ptr() for tensor in state.tensors()]
    engine.run(state, 50, in_place=True)
    assert [tensor.data_ptr() for tensor in state.tensors()] == places
    engine.run(state, 50)
    assert all(tensor.data_ptr() not in places for tensor in state.tensors())


def test_forks_and_ended_streams_are_independent_of_a_run_in_place():
    model = make_model("categorical-linear-ids")
    conditioning = make_condition(model.config, 3, 200)
    engine = Engine(model, "cpu", dtype="float32")
    prepared = engine.prepare(conditioning["condition"], conditioning["speaker"], 3, 200)
    state = engine.start(3, condition=prepared)
    engine.run(state, 40, condition=prepared, in_place=True)
    fork, two = state.copy(), state.take([0, 2])
    expected = engine.run(state, 60, condition=prepared, in_place=True)
    assert torch.equal(engine.run(fork, 60, condition=prepared, in_place=True), expected)
    some = engine.run(two, 60, condition=prepared.rows([0, 2]), in_place=True)
    assert torch.equal(some, expected[[0, 2]])
    state.put(1, engine.start(1, streams=[1], **row_of(conditioning, 1)))
    again = engine.run(state, 40, condition=prepared, in_place=True)  # rows at different times
    fresh = engine.run(engine.start(3, condition=prepared), 40, condition=prepared)
    assert torch.equal(again[1], fresh[1])
    assert torch.equal(again[[0, 2]], engine.run(fork, 40, condition=prepared)[[0, 2]])


def test_what_was_projected_for_one_condition_is_not_used_for_another():
    model = make_model("gaussian-repeat")
    engine = Engine(model, "cpu", dtype="float32")
    first, second = (engine.prepare(torch.randn(30, 4), None, 1, 120) for _ in "ab")
    state, expected = engine.start(condition=first), engine.start(condition=first)
    engine.run(state, 10, condition=first, in_place=True)
    engine.run(expected, 10, condition=first)
    drawn = engine.run(state, 10, condition=second, in_place=True)
    assert torch.equal(drawn, engine.run(expected, 10, condition=second))


def test_a_state_that_was_changed_is_checked_again():
    engine = Engine(make_model("categorical-front3"), "cpu", dtype="float32")
    state = engine.start(2)
    engine.run(state, 20, in_place=True)
    for change in (
        lambda state: state.time.sub_(1000),
        lambda state: setattr(state, "tokens", state.tokens + 11),
        lambda state: state.streams.fill_(-1),
        lambda state: setattr(state, "memory", [state.memory[0][:, :5].clone()]),
        lambda state: state.memory.clear(),
        lambda state: setattr(state, "time", state.time.int()),
    ):
        changed = state.copy()
        engine.run(changed, 1, in_place=True)
        change(changed)
        with pytest.raises(InputError, match="cannot be run"):
            engine.run(changed, 1, in_place=True)
    expected = engine.run(state.copy(), 30)
    scattered = dataclasses.replace(state, memory=[state.memory[0].t().contiguous().t()])  # rows that are not in a row
    assert torch.equal(engine.run(scattered, 30, in_place=True), expected)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_after_a_failure_in_place_every_use_of_the_state_is_refused(backend, tmp_path):
    model = make_model("categorical")
    with torch.no_grad():
        model.get_parameter("front.weight")[0, 9] = math.nan
    engine = Engine(model, backend, dtype="float32")
    state = engine.start(2)
    good = make_tokens(model.config, 2, 10).clamp(max=8)
    engine.feed(state, good, in_place=True)
    kept = state.copy()
    with pytest.raises(GenerationError, match="not finite"):
        engine.feed(state, torch.full((2, 3), 9), in_place=True)
    for use in (
        lambda: engine.run(state, 1),
        lambda: engine.feed(state, good, in_place=True),
        lambda: state.copy(),
        lambda: state.take([0]),
        lambda: state.join(kept),
        lambda: kept.join(state),
        lambda: kept.put(0, dataclasses.replace(state)),
        lambda: state.save(tmp_path / "state"),
    ):
        with pytest.raises(InputError, match=r"cannot be used any more: .*partially updated|put takes a state"):
            use()
    assert torch.isfinite(engine.feed(kept, good)).all()
    assert not list(tmp_path.iterdir())


def test_a_request_that_is_refused_leaves_the_state_usable():
    engine = Engine(make_model("categorical"), "cpu", dtype="float32")
    state = engine.start()
    for options in ({"top_k": 0}, {"seed": -1}, {"noise": torch.ones(1, 5, 1)}, {"speaker": 3}):
        with pytest.raises(InputError):
            engine.run(state, 5, in_place=True, **options)
    assert engine.run(state, 5, in_place=True).shape == (1, 5)


def test_a_state_made_in_inference_mode_runs_in_place():
    engine = Engine(make_model("categorical"), "cpu", dtype="float32")
    expected = engine.run(engine.start(2), 60)
    with torch.inference_mode():
        state = engine.start(2)
        parts = [engine.run(state, 20, in_place=True) for _ in range(3)]
    assert torch.equal(torch.cat(parts, dim=1), expected)


def test_a_kernel_is_of_the_cuda_engine_alone():
    model = lively(residual_channels=4, skip_channels=4, dilations=(1,), classes=4)
    for backend in ("cpu", "reference"):
        with pytest.raises(InputError, match="chooses a CUDA kernel"):
            Engine(model, backend, kernel="general", dtype="float32")
        with pytest.raises(InputError, match=f"runs on {backend}"):
            Engine(model, backend, dtype="float32").plan(1)
