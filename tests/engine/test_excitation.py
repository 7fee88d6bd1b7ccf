"""Excitation enters the first layer alone, aligned as conditioning is, and no split or batch changes its bits."""

import copy
import math

import pytest
import torch

from fastwave import Engine, InputError, WaveNet, WaveNetConfig, generate, reference, score, stream
from fastwave.engine import native
from fastwave.runtime import library
from shapes import heard, make_condition, make_model, make_tokens
from tolerances import assert_as_close_as_eager

DTYPES = [("reference", "float32"), ("cpu", "float32"), ("cpu", "bfloat16"), ("cpu", "int8")]
if library.missing("cpu"):
    DTYPES = DTYPES[:1]


def sines(first, count):
    """Three sine waves, one a channel: torch computes the ends of a tensor by another routine than its middle."""
    time = torch.arange(first, first + count, dtype=torch.float32)[:, None]
    return torch.sin(time * torch.tensor([0.1, 0.21, 1.3]))


@pytest.fixture(scope="module")
def model():
    return make_model("categorical-excited")


# What the model computes


def test_the_first_layer_adds_the_weighted_excitation_of_its_sample():
    tokens, weight = torch.randint(7, (2, 9)), torch.randn(2, 7, 4, dtype=torch.float64)
    e, excitation_weight = torch.randn(2, 9, 3, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    x = reference.front(tokens, weight, None, e, excitation_weight)
    plain = reference.front(tokens, weight)
    for t in range(9):
        expected = sum(e[:, t, channel, None] * excitation_weight[channel] for channel in range(3))
        assert torch.allclose(x[:, t] - plain[:, t], expected, atol=1e-12)
    with pytest.raises(ValueError, match="needs its weight"):
        reference.front(tokens, weight, None, e)


def test_an_output_takes_the_excitation_of_its_own_sample_and_of_those_before(model):
    config = model.config
    tokens, e = make_tokens(config, 1, 40), make_condition(config, 1, 40)["excitation"]
    changed = e.clone()
    changed[:, 20] += 1
    moved = (model(tokens, excitation=e) != model(tokens, excitation=changed)).any(dim=-1)[0]
    assert not moved[:20].any() and moved[20] and moved[20 + 1 :][: min(config.dilations)].any()
    field = config.receptive_field - (config.front_kernel - 1)
    assert not moved[20 + field :].any()


def test_zeros_are_as_if_the_model_had_no_excitation(model):
    fields = {key: value for key, value in model.config.to_dict().items() if key != "excitation_channels"}
    plain = WaveNet(WaveNetConfig.from_dict(fields), backend="reference")
    plain.load_state_dict({name: p for name, p in model.state_dict().items() if name != "excitation.weight"})
    for backend, dtype in DTYPES:
        silent, without = (Engine(each, backend, dtype) for each in (model, plain))
        zeros, tokens = torch.zeros(50, 3), make_tokens(model.config, 2, 50)
        drawn = silent.run(silent.start(2, excitation=zeros), 50, excitation=zeros)
        assert torch.equal(drawn, without.run(without.start(2), 50))
        fed = silent.feed(silent.start(2, excitation=zeros), tokens, excitation=zeros)
        assert torch.equal(fed, without.feed(without.start(2), tokens))
        loud = silent.feed(silent.start(2, excitation=zeros), tokens, excitation=zeros + 1)
        assert not torch.equal(loud, fed)


def test_the_loss_has_the_same_gradient_of_the_weight_on_every_backend(model):
    config = model.config
    tokens, given = make_tokens(config, 2, 64), make_condition(config, 2, 64)
    exact = copy.deepcopy(model).double()
    exact.loss(tokens, **given).backward()
    expected = exact.get_parameter("excitation.weight").grad
    assert expected.abs().max() > 1e-4
    gradients = []
    for backend in ("reference", "cpu"):
        trained = WaveNet(config, backend)
        trained.load_state_dict(model.state_dict())
        trained.loss(tokens, **given).backward()
        gradients.append(trained.get_parameter("excitation.weight").grad)
    assert_as_close_as_eager(gradients[1], gradients[0], expected)


def test_new_weights_keep_the_variance_of_unit_excitation():
    torch.manual_seed(0)
    for channels in (1, 8):
        model = WaveNet(WaveNetConfig(excitation_channels=channels), "reference")
        weight = model.get_parameter("excitation.weight").detach()
        assert weight.shape == (channels, 64)
        assert math.isclose(float((torch.randn(4000, channels) @ weight).var()), 1, abs_tol=0.35)


# Engines


@pytest.mark.parametrize(("backend", "dtype"), DTYPES[:2])
def test_the_likeliest_samples_are_those_of_the_parallel_model(model, backend, dtype):
    given = make_condition(model.config, 3, 100)
    prime = make_tokens(model.config, 3, 30)
    engine = Engine(model, backend, dtype)
    drawn = engine.run(engine.start(3, prime=prime, **given), 70, temperature=0, **given)
    outputs = heard(model, torch.cat([prime, drawn], dim=1), given)[:, 30:]
    assert torch.equal(drawn, outputs.argmax(dim=-1))


@pytest.mark.parametrize(("backend", "dtype"), DTYPES)
def test_a_function_and_its_tensor_give_the_same_samples_in_any_split(model, backend, dtype, monkeypatch):
    monkeypatch.setattr("fastwave.conditioning.STRETCH", 64)
    engine, length = Engine(model, backend, dtype), 200
    whole = torch.cat([sines(first, 64) for first in range(0, length, 64)])
    expected = engine.run(engine.start(2, excitation=whole), length, seed=3, excitation=whole)
    for counts in ([length], [1, 0, 30, length - 31], [length - 70, 69, 1]):
        for source in (whole, sines):
            state = engine.start(2, excitation=source)
            drawn = [engine.run(state, count, seed=3, excitation=source) for count in counts]
            assert torch.equal(torch.cat(drawn, dim=1), expected)


@pytest.mark.skipif(bool(library.missing("cpu")), reason="the native library is missing")
@pytest.mark.parametrize("name", ["categorical-excited", "gaussian-excited-linear"])
def test_samples_do_not_depend_on_threads_schedules_or_the_length_of_calls(name, monkeypatch):
    model = make_model(name)
    given = make_condition(model.config, 17, 300)
    alone = Engine(model, "cpu", threads=1, dtype="float32")
    expected = alone.run(alone.start(17, **given), 300, **given)
    monkeypatch.setattr(native, "CALL_SECONDS", 1e-4)
    for threads in (2, 3):
        engine = Engine(model, "cpu", threads=threads, dtype="float32")
        assert torch.equal(engine.run(engine.start(17, **given), 300, **given), expected)
        few = {key: values[:3] for key, values in given.items()}
        assert torch.equal(engine.run(engine.start(3, **few), 300, **few), expected[:3])


@pytest.mark.parametrize(("backend", "dtype"), DTYPES[:2])
def test_streams_at_different_times_each_take_the_excitation_of_their_own_time(model, backend, dtype):
    engine = Engine(model, backend, dtype)
    e = make_condition(model.config, 3, 120)["excitation"]
    whole = engine.run(engine.start(3, excitation=e), 100, excitation=e)
    state = engine.start(3, excitation=e)
    engine.run(state, 40, excitation=e)
    state.put(1, engine.start(1, streams=[1], excitation=e[1:2]))
    mixed = engine.run(state, 60, excitation=e)
    assert torch.equal(mixed[[0, 2]], whole[[0, 2], 40:])
    assert torch.equal(mixed[1], whole[1, :60])


@pytest.mark.parametrize(("backend", "dtype"), DTYPES[:2])
def test_a_saved_state_continues_with_the_excitation_of_its_time(model, backend, dtype, tmp_path):
    engine = Engine(model, backend, dtype)
    e = make_condition(model.config, 2, 60)["excitation"]
    state = engine.start(2, excitation=e)
    engine.run(state, 25, excitation=e)
    state.save(tmp_path / "state")
    expected = engine.run(state, 25, excitation=e)
    again = Engine(model, backend, dtype)
    assert torch.equal(again.run(again.load_state(tmp_path / "state"), 25, excitation=e), expected)


def test_an_excitation_that_ends_too_early_is_refused_and_leaves_the_state(model):
    engine = Engine(model, dtype="float32")
    e = make_condition(model.config, 1, 30)["excitation"]
    state = engine.start(excitation=e)
    engine.run(state, 20, excitation=e)
    with pytest.raises(InputError, match="has 30 samples, but 31 are needed"):
        engine.run(state, 11, excitation=e)
    with pytest.raises(InputError, match="takes an excitation"):
        engine.run(state, 1)
    with pytest.raises(InputError, match="takes no excitation"):
        Engine(make_model("categorical"), dtype="float32").start(excitation=e)
    assert int(state.time) == 20 and engine.run(state, 10, excitation=e).shape == (1, 10)


# generate, stream and score


def test_generate_and_stream_take_an_excitation_and_last_as_long(model):
    e = make_condition(model.config, 1, 90)["excitation"][0]
    result = generate(model, excitation=e)
    assert result.lengths == (90,)
    parts = torch.cat([part.tokens for part in stream(model, chunk=13, excitation=e)], dim=1)
    assert torch.equal(parts, result.tokens)
    prime = make_tokens(model.config, 1, 30)
    primed = generate(model, excitation=e, prime=prime)
    assert primed.lengths == (60,)
    prepared = Engine(model).prepare(None, None, 1, 90, e)
    assert torch.equal(generate(Engine(model), condition=prepared).tokens, result.tokens)
    assert not torch.equal(generate(model, samples=90, excitation=-e).tokens, result.tokens)
    with pytest.raises(InputError, match="has 90 samples, but 91 are needed"):
        generate(model, samples=91, excitation=e)
    batch = generate(model, samples=[40, 90], batch=2, excitation=e)
    assert torch.equal(batch.tokens[0, :40], result.tokens[0, :40])


def test_a_generator_that_takes_no_excitation_says_so(model):
    class Other:
        codec, sample_rate = model.config.codec_object, 16_000
        check_sampling = read_condition = prepare = start = run = lambda self, *_, **__: None

        def length_of(self, condition):
            return None

    with pytest.raises(InputError, match="only a WaveNet or its Engine takes an excitation"):
        generate(Other(), samples=5, excitation=torch.zeros(5, 3))


def test_a_score_hears_the_excitation_in_windows_as_in_the_engine(model, monkeypatch):
    tokens = make_tokens(model.config, 1, 200)
    e = make_condition(model.config, 1, 200)["excitation"]
    monkeypatch.setattr("fastwave.generation.score.WINDOW", 64)
    windows = score(model, tokens, excitation=e)
    for backend, dtype in DTYPES[:2]:
        assert math.isclose(windows, score(model, tokens, excitation=e, backend=backend, dtype=dtype), rel_tol=1e-5)
    assert not math.isclose(windows, score(model, tokens, excitation=-4 * e), rel_tol=1e-3)
