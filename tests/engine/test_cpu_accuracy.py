"""The CPU engine computes what the reference says: outputs, free-running samples, draws and quality of every dtype."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats
import torch

from fastwave import Engine, GenerationError, WaveNet, WaveNetConfig, noise, score
from fastwave.config import PRESETS
from fastwave.engine.example import example
from fastwave.runtime import library
from shapes import CONFIGS, make_condition, make_model, make_tokens
from tolerances import assert_as_close_as_eager

INSTRUCTION_SETS = library.cpu_features().instruction_sets


def outputs_of(model, backend, dtype, tokens, given, instruction_set=None):
    options = {} if instruction_set is None else {"instruction_set": instruction_set}
    engine = Engine(model, backend=backend, dtype=dtype, **options)
    return engine.feed(engine.start(tokens.shape[0], **given), tokens, **given)


def assert_matches_float64(model, tokens, given, instruction_set=None):
    exact = outputs_of(model, "reference", "float64", tokens, given)
    eager = outputs_of(model, "reference", "float32", tokens, given)
    assert_as_close_as_eager(outputs_of(model, "cpu", "float32", tokens, given, instruction_set), eager, exact)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_match_float64_on_every_instruction_set(name, instruction_set):
    model = make_model(name)
    tokens, given = make_tokens(model.config, 3, 70), make_condition(model.config, 3, 70)
    assert_matches_float64(model, tokens, given, instruction_set)


@pytest.mark.parametrize("preset", PRESETS)
def test_outputs_of_every_preset_match_float64(preset):
    torch.manual_seed(0)
    model = WaveNet(WaveNetConfig.preset(preset), backend="reference")
    tokens, given = example(model.config, 24, batch=1)
    assert_matches_float64(model, tokens, given)


@pytest.mark.parametrize("batch", [1, 3, 16])
@pytest.mark.parametrize("taps", [2, 3, 5])
@pytest.mark.parametrize("widths", [(1, 1, 1, 1), (3, 17, 100, 5), (17, 3, 1, 100), (100, 33, 17, 3)])
def test_odd_sizes_match_float64(widths, taps, batch):
    torch.manual_seed(0)
    residual, gate, skip, head = widths
    config = WaveNetConfig(
        residual, gate, skip, head, kernel_size=taps, front_kernel=taps - 1, dilations=(3, 1, 7, 12), classes=9,
        condition_channels=batch - 1, hop=1 if batch == 1 else 5, upsampling="repeat" if batch < 16 else "linear",
    )  # fmt: skip
    model = WaveNet(config, backend="reference")
    tokens, given = make_tokens(config, batch, 40), make_condition(config, batch, 40)
    assert_matches_float64(model, tokens, given)


@pytest.mark.parametrize("classes", [2, 1000, 65_536])
def test_any_number_of_classes_matches_float64(classes):
    torch.manual_seed(0)
    config = WaveNetConfig(8, skip_channels=8, dilations=(1, 2), classes=classes)
    model = WaveNet(config, backend="reference")
    assert_matches_float64(model, make_tokens(config, 2, 12), {})


def test_a_planted_fault_is_seen():
    """One tap of one layer, off by a thousandth."""
    model = make_model("categorical")
    tokens = make_tokens(model.config, 1, 40)
    exact, eager = (outputs_of(model, "reference", dtype, tokens, {}) for dtype in ("float64", "float32"))
    with torch.no_grad():
        model.get_parameter("dilated.weight")[2, 0, 1, 3] += 1e-3
    with pytest.raises(AssertionError, match="float32: error"):
        assert_as_close_as_eager(outputs_of(model, "cpu", "float32", tokens, {}), eager, exact)


@pytest.mark.parametrize("name", ["mixture-learned", "gaussian-repeat"])
def test_free_running_waveforms_follow_the_reference(name):
    model = make_model(name)
    given = make_condition(model.config, 2, 30)
    ours, theirs = (
        engine.run(engine.start(2, **given), 30, seed=5, **given)
        for engine in (
            Engine(model, backend="cpu", dtype="float32"),
            Engine(model, backend="reference", dtype="float32"),
        )
    )
    assert (ours - theirs).abs().max() < 1e-3  # rounding, carried through 30 steps of feedback


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_a_million_draws_follow_the_engines_own_outputs(dtype):
    model = make_model("categorical")
    engine = Engine(model, backend="cpu", dtype=dtype)
    state = engine.start()
    engine.run(state, 20)
    logits = engine.feed(state.copy(), torch.zeros(1, 1, dtype=torch.int64))[0, 0].double()
    many = state.take([0] * 10_000)
    counts = torch.zeros(model.config.classes)
    for trial in range(100):
        many.streams = torch.arange(10_000) + 10_000 * trial
        counts += torch.bincount(engine.run(many.copy(), 1)[:, 0], minlength=model.config.classes)
    expected = torch.softmax(logits, 0).numpy() * 1e6
    assert expected.min() > 5
    assert 0.001 < scipy.stats.chisquare(counts.numpy(), expected * counts.sum().item() / expected.sum()).pvalue < 0.999


def harmonic_sound(samples, seed):
    """The same instrument each time, with other noise, from another moment on."""
    random = np.random.default_rng(seed)
    t = np.arange(samples) + 50_000 * seed
    tone = sum(np.sin(t * 0.05 * h) / h for h in (1, 2, 3))
    return torch.from_numpy(0.3 * tone * (1 + 0.5 * np.sin(t * 0.001)) + 0.02 * random.normal(size=samples)).float()


def test_bfloat16_and_int8_keep_the_quality_of_a_trained_model():
    torch.manual_seed(0)
    config = WaveNetConfig(24, skip_channels=48, dilations=(1, 2, 4, 8, 16, 32))
    model = WaveNet(config, backend="reference")
    tokens = config.codec_object.encode(harmonic_sound(60_000, 1))
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(150):
        first = np.random.default_rng(step).integers(0, len(tokens) - 2000, 4)
        loss = model.loss(torch.stack([tokens[i : i + 2000] for i in first]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    held_out = harmonic_sound(20_000, 2)
    bits = {dtype: score(model, held_out, backend="cpu", dtype=dtype) for dtype in ("float32", "bfloat16", "int8")}
    assert bits["float32"] == pytest.approx(score(model, held_out, backend="reference"), abs=1e-5)
    assert bits["float32"] < 6  # it has learned: white noise costs 8
    assert bits["bfloat16"] == pytest.approx(bits["float32"], abs=0.01)
    assert bits["int8"] == pytest.approx(bits["float32"], abs=0.02)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("name", ["categorical-linear-ids", "mixture-learned", "bytes"])
def test_samples_do_not_depend_on_threads_or_on_the_schedule_they_choose(name, dtype):
    model = make_model(name)
    for batch in (1, 2, 5, 17):
        given = make_condition(model.config, batch, 700)
        outcomes = []
        for threads in (1, 2, 3):
            engine = Engine(model, backend="cpu", dtype=dtype, threads=threads)
            outcomes.append(
                engine.run(engine.start(batch, **given), 700, seed=2, **given)
            )  # 700: all schedules' trials
        assert all(torch.equal(outcome, outcomes[0]) for outcome in outcomes), (batch, dtype)


def test_native_noise_is_the_noise_of_python():
    for seed, stream, first in ((0, 0, 0), (2**64 - 1, 2**32 - 1, 2**32 - 3), (12345, 7, 2**40)):
        ours = torch.empty(50, 2)
        library.noise(seed, stream, first, 50, 2, ours.data_ptr())
        assert torch.equal(ours, noise(seed, stream, first, 50, 2))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize(
    ("name", "value"),
    [  # an infinite pre-activation only saturates its gate, so no inf in dilated.weight
        ("dilated.weight", math.nan),
        ("skip.weight", math.nan),
        ("skip.weight", math.inf),
        ("front.weight", math.nan),
        ("head.1.bias", math.inf),
    ],
)
def test_broken_weights_stop_with_the_step_and_leave_the_state(name, value, dtype):
    model = make_model("categorical")
    with torch.no_grad():
        parameter = model.get_parameter(name)
        (parameter[0, 5] if name == "front.weight" else parameter.view(-1)[:1]).fill_(value)
    for threads in (1, 2):
        engine = Engine(model, backend="cpu", dtype=dtype, threads=threads)
        good = Engine(make_model("categorical"), backend="cpu", dtype=dtype).start(2)
        state = dataclasses.replace(good, fingerprint=engine.fingerprint)
        before = state.copy()
        with pytest.raises(GenerationError, match=r"sample \d+ of stream \d is not finite"):
            engine.run(state, 400)
        assert torch.equal(state.time, before.time) and torch.equal(state.memory[0], before.memory[0])


def test_a_million_samples_in_one_call():
    model = WaveNet(WaveNetConfig(4, skip_channels=4, dilations=(1, 2), classes=4), backend="reference")
    engine = Engine(model, backend="cpu", dtype="float32")
    state = engine.start()
    assert engine.run(state, 1_000_000).shape == (1, 1_000_000)
    assert state.time.tolist() == [1_000_000]


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_weights_are_rounded_to_the_nearest_that_their_type_holds(dtype, instruction_set):
    """With everything else silent and hidden unit i at one, the outputs are row i of the last matrix, as packed."""
    torch.manual_seed(0)
    config = WaveNetConfig(1, skip_channels=1, head_channels=5, dilations=(1,), classes=150)
    model = WaveNet(config, backend="reference")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        weights = model.get_parameter("head.1.weight").normal_()
        weights[2, :20] *= 1e-6  # far below the largest of their columns
        for unit in range(5):
            model.get_parameter("head.0.bias").zero_()[unit] = 1
            packed = outputs_of(model, "cpu", dtype, torch.zeros(1, 1, dtype=torch.int64), {}, instruction_set)[0, 0]
            error = (packed - weights[unit]).abs().double()
            if dtype == "float32":
                assert torch.equal(packed, weights[unit])
            elif dtype == "bfloat16":  # half a unit in the last of 8 places
                exponent = torch.floor(torch.log2(weights[unit].abs().double()))
                assert (error <= 2.0 ** (exponent - 8) * 1.001).all()
            else:  # half a step of the column, 127 of which reach its largest weight
                assert (error <= weights.abs().amax(0) / 254 * 1.001).all()
