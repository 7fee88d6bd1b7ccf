"""fw_engine_prime_cpu: a past taken in blocks leaves the same state as one that is fed sample by sample."""

from types import SimpleNamespace

import pytest
import torch

from fastwave import Engine, InputError, conditioning
from fastwave.engine.reference import ReferenceEngine
from fastwave.runtime import library
from shapes import CONFIGS, make_condition, make_model, make_tokens
from tolerances import assert_as_close_as_eager

pytestmark = pytest.mark.skipif(bool(library.missing("cpu")), reason="the native library is missing")
LENGTH = 45  # samples; more than two of the blocks in which a past is taken, and no multiple of one


def state_fields(engine, past, time):
    """The fields of a native run over zeroed state tensors, and those tensors: times, memory, last tokens."""
    batch, scalar = past.shape[0], engine.config.scalar_input
    tensors = {
        "times": torch.full((batch,), time),
        "ids": torch.arange(batch),
        "memory": torch.zeros(batch, engine._driver.memory_shapes(1)[0][1]),
        "last_values" if scalar else "last_classes": torch.zeros(batch, engine.config.front_kernel, dtype=past.dtype),
        "given_values" if scalar else "given_classes": past.contiguous(),
    }
    return tensors, {"streams": batch, "samples": past.shape[1], "temperature": 1.0, "top_p": 1.0}


def projected_for(engine, condition, time, batch, count):
    """The fields that carry the conditioning and the excitation of samples time-1 .. time+count-2."""
    state = SimpleNamespace(time=torch.full((batch,), time), projections=None)
    driver = engine._driver
    return driver._projector.fields(state, condition, count) | driver._excitation_field(state, condition, count)


def call(function, tensors, numbers, projected):
    tensors = {**tensors, **{name: value for name, value in projected.items() if isinstance(value, torch.Tensor)}}
    numbers = {**numbers, **{name: value for name, value in projected.items() if not isinstance(value, torch.Tensor)}}
    function(**numbers, **{name: value.data_ptr() for name, value in tensors.items()})


def prime(engine, past, time, given):
    """(memory, last tokens) after `past`, whose newest token stands at time - 1."""
    tensors, numbers = state_fields(engine, past, time)
    count = past.shape[1] - 1
    prepared = engine.prepare(batch=past.shape[0], samples=0, **{"condition": None, "speaker": None, **given})
    projected = projected_for(engine, prepared, time - count, past.shape[0], max(1, count))
    if "excitation" in projected:  # one row for each token of the past, though that of the newest is not read
        projected["excitation"] = torch.nn.functional.pad(projected["excitation"], (0, 0, 0, 1), value=torch.nan)
    call(engine._driver._engine.prime, tensors, numbers, projected)
    return tensors["memory"], tensors["last_values" if engine.config.scalar_input else "last_classes"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("name", [name for name in CONFIGS if CONFIGS[name].get("front_kernel", 1) == 1])
def test_priming_equals_feeding_sample_by_sample(name, dtype):
    model = make_model(name)
    engine = Engine(model, backend="cpu", dtype=dtype, threads=1)
    past = make_tokens(model.config, 2, LENGTH)
    given = make_condition(model.config, 2, LENGTH)

    memory, last = prime(engine, past, LENGTH, given)

    # fed one by one: the first token is the last one of the state, at time 1; the others are given to the run
    tensors, numbers = state_fields(engine, past[:, 1:], 1)
    last_name = "last_values" if model.config.scalar_input else "last_classes"
    tensors[last_name][:] = past[:, :1]
    prepared = engine.prepare(batch=2, samples=LENGTH, **{"condition": None, "speaker": None, **given})
    call(engine._driver._engine.run, tensors, numbers, projected_for(engine, prepared, 1, 2, LENGTH - 1))
    assert torch.equal(memory, tensors["memory"]) and memory.any()
    assert torch.equal(last, tensors[last_name]) and torch.equal(last, past[:, -1:])


@pytest.mark.parametrize("time", [0, 7], ids=["silence alone", "silence and seven samples"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_primed_state_is_as_close_to_float64_as_that_of_engine_start(name, time):
    model = make_model(name)
    config, field = model.config, model.config.receptive_field
    engine = Engine(model, backend="cpu", dtype="float32", threads=1)
    silence = torch.full((2, field), config.codec_object.silence, dtype=engine._driver.token_dtype)
    heard = make_tokens(config, 2, time).to(engine._driver.token_dtype)
    given = make_condition(config, 2, max(1, time))
    past = torch.cat([silence, heard], dim=1)[:, -field:]

    memory, last = prime(engine, past, time, given)

    started = engine.start(2, prime=heard if time else None, **given)
    assert torch.equal(last, started.tokens)
    exact = ReferenceEngine(config, {n: p.detach() for n, p in model.named_parameters()}, "float64")
    given = {"condition": None, "speaker": None, **given}
    prepared = conditioning.prepare(config, batch=2, samples=time, **given).to(exact.like)
    rings, at = exact.begin(past.to(exact.token_dtype), time, prepared), 0
    for ring in rings:  # oldest first; sample p stands in row p mod slots of the native memory
        slots, width = ring.shape[1], -(-config.residual_channels // 16) * 16
        rows = (torch.arange(slots) + time - 1) % slots
        part = slice(at, at + slots * width)
        native, eager = (
            each[:, part].reshape(2, slots, width)[:, rows, : config.residual_channels]
            for each in (memory, started.memory[0])
        )
        assert_as_close_as_eager(native, eager, ring)
        at += slots * width


def test_a_missing_or_invalid_past_is_refused():
    engine = Engine(make_model("categorical"), backend="cpu", threads=1, dtype="float32")
    past = make_tokens(engine.config, 1, 4)
    tensors, numbers = state_fields(engine, past, 4)
    for fields, fault in (
        ({"samples": 0}, "no past"),
        ({"given_classes": None}, "the past is null"),
        ({"streams": 0}, "streams is out of range"),
        ({"memory": None}, "a pointer is null"),
    ):
        pointers = {name: value.data_ptr() for name, value in tensors.items()}
        with pytest.raises(InputError, match=fault):
            engine._driver._engine.prime(**{**numbers, **pointers, **fields})
    tensors["given_classes"][0, 2] = 11
    with pytest.raises(InputError, match="class is out of range"):
        call(engine._driver._engine.prime, tensors, numbers, {})
    conditioned = Engine(make_model("gaussian-repeat"), backend="cpu", threads=1, dtype="float32")
    past = make_tokens(conditioned.config, 1, 20)
    tensors, numbers = state_fields(conditioned, past, 20)
    prepared = conditioned.prepare(torch.zeros(4, 4), None, 1, 20)
    projected = projected_for(conditioned, prepared, 9, 1, 1)
    with pytest.raises(InputError, match="does not cover"):
        call(conditioned._driver._engine.prime, tensors, numbers, {**projected, "frames": 1})
