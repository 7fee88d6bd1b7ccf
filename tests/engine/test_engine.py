"""The answer does not depend on how you asked: chunks, batch, place, fork, save, prime."""

import math

import pytest
import torch

from fastwave import CheckpointError, Engine, GenerationError, InputError, WaveNet, WaveNetConfig, noise
from shapes import CONFIGS, heard, make_condition, make_model, make_tokens, row_of
from tolerances import EXACT, assert_as_close_as_eager


@pytest.fixture(params=["reference", "cpu"])
def backend(request):
    return request.param


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_parallel_equals_incremental(name, dtype):
    model = make_model(name, torch.float64)
    tokens = make_tokens(model.config, 3, 40)
    given = make_condition(model.config, 3, 40)
    exact = heard(model, tokens, given)
    model = model.to(getattr(torch, dtype))
    engine = Engine(model, backend="reference", dtype=dtype)
    state = engine.start(3, **given)
    fed = torch.cat([engine.feed(state, token, **given) for token in tokens.split(1, dim=1)], dim=1)
    if dtype == "float64":
        assert (fed - exact).abs().max() < EXACT
    else:
        exact_weights = heard(model.double(), tokens, given)  # the same rounded weights, computed exactly
        eager = heard(model.to(getattr(torch, dtype)), tokens, given)
        assert_as_close_as_eager(fed, eager, exact_weights)


@pytest.mark.parametrize("name", CONFIGS)
def test_any_split_into_calls_gives_the_same_samples(backend, name):
    model = make_model(name)
    given = make_condition(model.config, 2, 60)
    engine = Engine(model, backend=backend, dtype="float32")
    whole = engine.run(engine.start(2, **given), 60, seed=5, **given)
    state = engine.start(2, **given)
    parts = [engine.run(state, count, seed=5, **given) for count in (1, 0, 29, 7, 23)]
    assert torch.equal(torch.cat(parts, dim=1), whole)


def test_calls_longer_than_a_block_equal_their_parts(monkeypatch):
    model = make_model("categorical-linear-ids")
    given = make_condition(model.config, 1, 150)
    for backend, setting, value in (
        ("reference", "engine.reference.BLOCK", 7),
        ("cpu", "engine.native.CALL_SECONDS", 1e-9),
    ):
        engine = Engine(model, backend=backend, dtype="float32")
        whole = engine.run(engine.start(1, **given), 150, **given)
        monkeypatch.setattr(f"fastwave.{setting}", value)
        assert torch.equal(engine.run(engine.start(1, **given), 150, **given), whole)


@pytest.mark.parametrize("name", ["categorical-linear-ids", "mixture-learned", "gaussian", "gaussian-excited-linear"])
def test_a_stream_does_not_depend_on_batch_size_or_place(backend, name):
    model = make_model(name)
    given = make_condition(model.config, 5, 50)
    engine = Engine(model, backend=backend, dtype="float32")
    batch = engine.run(engine.start(5, **given), 50, seed=9, **given)
    for row in (0, 3):
        alone = engine.start(1, streams=[row], **row_of(given, row))
        assert torch.equal(engine.run(alone, 50, seed=9, **row_of(given, row))[0], batch[row])
    swapped = {key: values.flip(0) for key, values in given.items()}
    reverse = engine.run(engine.start(5, streams=[4, 3, 2, 1, 0], **swapped), 50, seed=9, **swapped)
    assert torch.equal(reverse.flip(0), batch)


def test_samples_do_not_depend_on_torchs_thread_count():
    model = WaveNet(WaveNetConfig.preset("small"), backend="reference")
    engine = Engine(model, backend="reference", dtype="float32")
    outcomes = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            outcomes.append(engine.run(engine.start(), 64))
            assert torch.get_num_threads() == threads  # and the caller's setting survives
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*outcomes)


def test_a_fork_continues_like_its_origin_and_leaves_it_alone(backend):
    engine = Engine(make_model("categorical"), backend=backend, dtype="float32")
    state = engine.start(2)
    engine.run(state, 20)
    fork = state.copy()
    first = engine.run(fork, 30)
    assert torch.equal(engine.run(state, 30), first)
    other = state.take([0, 0])
    other.streams = torch.tensor([0, 7])  # another noise from here on
    diverged = engine.run(other, 40)
    assert not torch.equal(diverged[0], diverged[1])


@pytest.mark.parametrize("name", ["categorical-front3", "mixture"])
def test_a_saved_state_goes_on_as_if_never_stopped(backend, name, tmp_path):
    model = make_model(name)
    engine = Engine(model, backend=backend, dtype="bfloat16")
    state = engine.start(2)
    engine.run(state, 25)
    state.save(tmp_path / "state")
    expected = engine.run(state, 25)
    again = Engine(model, backend=backend, dtype="bfloat16")
    assert torch.equal(again.run(again.load_state(tmp_path / "state"), 25), expected)


def test_a_state_of_another_engine_is_refused(tmp_path):
    model, other = make_model("categorical"), make_model("categorical", seed=1)
    engine = Engine(model, dtype="float32")
    state = engine.start()
    state.save(tmp_path / "state")
    for stranger in (
        Engine(other, dtype="float32"),
        Engine(model, dtype="float64"),
        Engine(model, backend="reference", dtype="float32"),
    ):
        with pytest.raises(CheckpointError, match="not a state of this model"):
            stranger.load_state(tmp_path / "state")
        with pytest.raises(InputError, match="not of this engine"):
            stranger.run(state, 1)


def test_a_place_in_the_batch_is_given_to_another_stream(backend):
    engine = Engine(make_model("categorical"), backend=backend, dtype="float32")
    state = engine.start(3)
    engine.run(state, 30)
    expected = engine.run(state.take([0, 2]), 30)
    state.put(1, engine.start(1, streams=[9]))
    newcomer = engine.run(engine.start(1, streams=[9]), 30)
    mixed = engine.run(state, 30)
    assert torch.equal(mixed[[0, 2]], expected)
    assert torch.equal(mixed[1:2], newcomer)


@pytest.mark.parametrize("length", [1, 5, 80])  # shorter and longer than the receptive field
@pytest.mark.parametrize("name", CONFIGS)
def test_priming_in_one_pass_equals_feeding_sample_by_sample(name, length):
    model = make_model(name, torch.float64)
    given = make_condition(model.config, 2, 120)
    prime = make_tokens(model.config, 2, length)
    engine = Engine(model, dtype="float64")
    primed = engine.start(2, prime=prime, **given)
    fed = engine.start(2, **given)
    for token in prime.split(1, dim=1):
        engine.feed(fed, token, **given)
    assert torch.equal(primed.time, fed.time)
    for one_pass, stepwise in zip(primed.memory, fed.memory, strict=True):
        assert (one_pass - stepwise).abs().max() < EXACT
    difference = engine.run(primed, 40, **given).double() - engine.run(fed, 40, **given).double()
    assert difference.abs().max() < (EXACT if model.config.scalar_input else 0.5)


@pytest.mark.parametrize("length", [1, 5, 80])
@pytest.mark.parametrize("name", CONFIGS)
def test_priming_the_cpu_engine_leaves_the_memory_that_feeding_leaves(name, length):
    model = make_model(name)
    given = make_condition(model.config, 2, 120)
    prime = make_tokens(model.config, 2, length)
    engine = Engine(model, backend="cpu", dtype="float32")
    primed, fed = engine.start(2, prime=prime, **given), engine.start(2, **given)
    engine.feed(fed, prime, **given)
    assert torch.equal(primed.time, fed.time) and torch.equal(primed.tokens, fed.tokens)
    # activations of order one through five layers of float32; a row out of place is off by about one
    assert (primed.memory[0] - fed.memory[0]).abs().max() < 1e-5


def test_a_run_continued_from_its_own_output_is_the_same_run():
    engine = Engine(make_model("categorical", torch.float64), dtype="float64")
    whole = engine.run(engine.start(), 200, seed=4)
    continued = engine.start(prime=whole[:, :120])
    assert torch.equal(engine.run(continued, 80, seed=4), whole[:, 120:])


def test_the_noise_argument_replaces_the_seed(backend):
    engine = Engine(make_model("mixture"), backend=backend, dtype="float32")
    drawn = torch.stack([noise(3, stream, 0, 12, 2) for stream in range(2)])
    expected = engine.run(engine.start(2), 12, seed=3)
    assert torch.equal(engine.run(engine.start(2), 12, noise=drawn), expected)
    with pytest.raises(InputError, match=r"\[2, 12, 2\]"):
        engine.run(engine.start(2), 12, noise=drawn[:, :5])
    with pytest.raises(InputError, match=r"lie in \[0, 1\)"):
        engine.run(engine.start(2), 12, noise=drawn + 0.5)


def test_prepared_conditioning_is_checked_once_and_only_fits_its_model(backend):
    model = make_model("gaussian-repeat")
    engine = Engine(model, backend=backend, dtype="float32")
    frames = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(3))
    prepared = engine.prepare(frames, None, 2, 30)
    expected = engine.run(engine.start(2, condition=frames), 30, condition=frames)
    assert torch.equal(engine.run(engine.start(2, condition=prepared), 30, condition=prepared), expected)
    with pytest.raises(InputError, match="has 2 streams, 1 are needed"):
        engine.start(1, condition=prepared)
    with pytest.raises(InputError, match="another model"):
        Engine(make_model("gaussian"), backend=backend, dtype="float32").start(2, condition=prepared)
    with pytest.raises(InputError, match="holds the speaker already"):
        engine.start(2, condition=prepared, speaker=1)


def test_memory_holds_exactly_the_slots_a_layer_needs():
    model = make_model("categorical-front3")
    engine = Engine(model, backend="reference", dtype="float32")
    state = engine.start(2)
    engine.run(state, 3)
    shapes = [tuple(tensor.shape) for tensor in state.memory]
    assert shapes == [(2, 2 * d, 5) for d in model.config.dilations]
    assert state.tokens.shape == (2, 3)
    native = Engine(model, backend="cpu", dtype="float32").start(2)
    assert [tuple(tensor.shape) for tensor in native.memory] == [(2, sum(2 * d for d in model.config.dilations) * 16)]


def test_zero_samples_are_an_empty_answer(backend):
    engine = Engine(make_model("gaussian"), backend=backend, dtype="float32")
    state = engine.start(2)
    assert engine.run(state, 0).shape == (2, 0)
    assert state.time.tolist() == [0, 0]


@pytest.mark.parametrize("where", ["dilated.weight", "head.1.bias"])
def test_a_non_finite_output_stops_with_its_step_and_leaves_the_state(where):
    model = make_model("categorical")
    engine = Engine(model, backend="reference", dtype="float32")
    state = engine.start()
    engine.run(state, 17)
    engine._driver.parameters[where].view(-1)[0] = math.nan
    before = state.copy()
    with pytest.raises(GenerationError, match="sample 17 of stream 0"):
        engine.run(state, 5)
    assert torch.equal(state.time, before.time)
    assert all(torch.equal(a, b) for a, b in zip(state.memory, before.memory, strict=True))


def test_the_engine_keeps_a_copy_of_the_weights(backend):
    model = make_model("categorical")
    engine = Engine(model, backend=backend, dtype="float32")
    expected = engine.run(engine.start(), 30)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(engine.run(engine.start(), 30), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.start(0), "batch"),
        (lambda e: e.start(2, streams=[1]), "streams"),
        (lambda e: e.start(1, prime=torch.zeros(2, 5, dtype=torch.int64)), "1 rows"),
        (lambda e: e.start(1, prime=torch.full((1, 5), 11)), r"0\.\.10"),
        (lambda e: e.start(1, prime=torch.zeros(1, 5)), "integer classes"),
        (lambda e: e.start(1, condition=torch.zeros(4, 2)), "no local features"),
        (lambda e: e.start(1, speaker=0), "no speakers"),
        (lambda e: e.run(e.start(), -1), "samples"),
        (lambda e: e.run(e.start(), 1, temperature=-1), "temperature"),
        (lambda e: e.run(e.start(), 1, top_k=0), "top_k"),
        (lambda e: e.run(e.start(), 1, top_p=1.5), "top_p"),
        (lambda e: e.run(e.start(), 1, seed=-1), "seed"),
        (lambda e: e.run("state", 1), "not of this engine"),
        (lambda e: e.start().take([3]), "row 3"),
    ],
)
def test_impossible_requests_are_refused_with_the_reason(backend, call, message):
    with pytest.raises(InputError, match=message):
        call(Engine(make_model("categorical"), backend=backend, dtype="float32"))


def test_conditioning_that_is_too_short_or_not_finite_is_refused(backend):
    engine = Engine(make_model("gaussian-repeat"), backend=backend, dtype="float32")
    frames = torch.zeros(4, 4)  # 4 frames of 6 samples
    state = engine.start(condition=frames)
    engine.run(state, 24, condition=frames)
    with pytest.raises(InputError, match="at least 5 frames"):
        engine.run(state, 1, condition=frames)
    with pytest.raises(InputError, match="NaN"):
        engine.start(condition=frames * math.nan)
    with pytest.raises(InputError, match=r"shape \[frames, 4\]"):
        engine.start()


def test_engine_options_are_checked():
    model = make_model("categorical")
    with pytest.raises(InputError, match="int4"):
        Engine(model, dtype="int4")
    with pytest.raises(InputError, match="threads"):
        Engine(model, threads=0, dtype="float32")
    with pytest.raises(InputError, match="WaveNet"):
        Engine("model", dtype="float32")
