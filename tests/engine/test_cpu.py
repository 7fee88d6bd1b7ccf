"""The CPU engine in its corners: rings full of a random past, every width of panel and batch, draws near a boundary,
states and requests that cannot be right. test_cpu_accuracy.py holds the plain promises."""

import copy
import dataclasses
import functools
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.stats
import torch

from engine_trials import (
    EPSILON,
    ODD_SIZES,
    choices_near,
    lively,
    make_trial,
    odd_model,
    sum_rounding,
    to_bfloat16,
    to_words_of_bfloat16,
    unmoved,
)  # fmt: skip
from fastwave import Engine, GenerationError, InputError, dilation_cycle, noise
from fastwave.config import PRESETS
from fastwave.distributions import Sampling, sample
from fastwave.runtime import library
from shapes import CONFIGS, make_condition, make_model, make_tokens, row_of
from tolerances import assert_as_close_as_eager

INSTRUCTION_SETS = library.cpu_features().instruction_sets


# Teacher forcing. The past is random and longer than the receptive field: in silence every slot of a ring is alike, and
# one read from the wrong place would not be seen.


@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_after_a_random_past_match_float64(name):
    for batch in (1, 3, 16):
        trial = make_trial(make_model(name), batch, 30)
        for instruction_set in INSTRUCTION_SETS:
            trial.check(instruction_set=instruction_set, threads=1)


@pytest.mark.parametrize("preset", PRESETS)
def test_outputs_of_every_preset_after_a_random_past_match_float64(preset):
    trial = make_trial(lively(**PRESETS[preset]), 1, 48)
    trial.check()


@pytest.mark.parametrize("sizes", ODD_SIZES, ids=lambda sizes: "-".join(map(str, sizes[:7])))
def test_odd_sizes_after_a_random_past_match_float64(sizes):
    model = odd_model(sizes)
    for batch in (1, 3, 16):
        trial = make_trial(model, batch, 20)
        for instruction_set in INSTRUCTION_SETS:
            trial.check(instruction_set=instruction_set, threads=1)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_every_width_of_panel_and_of_batch_matches_float64(instruction_set):
    """1 to 9 vectors of outputs, of 8 in a panel; streams in every group that shares a weight."""
    for vectors in range(1, 10):
        lanes = {"portable": 4, "avx2": 8, "neon_dotprod": 4}.get(instruction_set, 16)
        classes = max(2, vectors * lanes - 3)
        trial = panel_trial(classes)
        for streams in (1, 2, 3, 4, 5, 6, 7, 8, 13):
            alone = dataclasses.replace(
                trial,
                prime=trial.prime[:streams],
                tokens=trial.tokens[:streams],
                exact=trial.exact[:streams],
                eager=trial.eager[:streams],
            )
            alone.check(instruction_set=instruction_set, threads=1)


@functools.cache
def panel_trial(classes):
    return make_trial(
        lively(residual_channels=5, gate_channels=9, skip_channels=classes, dilations=(1, 3), classes=classes), 13, 6
    )


# Fewer bits. The competitor is the reference in float32 with weights of as many bits, rounded in the plain way.


def to_int8(weight):
    """A scale for each output; the inputs of a product are all axes but the last, of a layer where there are layers."""
    inputs = tuple(range(0 if weight.dim() == 2 else 1, weight.dim() - 1))
    step = weight.abs().amax(dim=inputs, keepdim=True) / 127
    return (weight / step).round() * step


def rounded_trial(dtype, rounding, rounding_of_the_last):
    model = lively(residual_channels=24, gate_channels=40, skip_channels=48, dilations=(1, 2, 4, 8, 3), kernel_size=3)
    trial = make_trial(model, 3, 60)
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in rounded.named_parameters():
            if name.endswith("weight") and not name.startswith("front"):
                parameter.copy_((rounding_of_the_last if name.startswith("head.1") else rounding)(parameter))
    # its memory after the prime is the engine's own: that of the weights before rounding
    plain, engine = Engine(model, "reference", dtype="float32"), Engine(rounded, "reference", dtype="float32")
    start = plain.start(3, prime=trial.prime)
    trial.eager = engine.feed(dataclasses.replace(start, fingerprint=engine.fingerprint), trial.tokens)
    return trial, [trial.outputs("cpu", dtype=dtype, instruction_set=each) for each in INSTRUCTION_SETS]


def test_bfloat16_outputs_are_as_exact_as_rounded_weights():
    trial, outputs = rounded_trial("bfloat16", to_bfloat16, to_bfloat16)
    assert (trial.eager - trial.exact).abs().max() > 1e-3 * trial.exact.abs().max()  # rounding shows at all
    for output in outputs:
        assert_as_close_as_eager(output, trial.eager, trial.exact)


def test_int8_outputs_are_those_of_rounded_weights():
    """Activations have 16 bits, so that nothing is lost but that: 8 bits would be 256 times as far off. The weights of
    the last layer are bfloat16.
    """
    trial, outputs = rounded_trial("int8", to_int8, to_words_of_bfloat16)
    assert (trial.eager - trial.exact).abs().max() > 1e-3 * trial.exact.abs().max()
    for output in outputs:
        assert_as_close_as_eager(output, trial.eager, trial.exact)
        assert (output - trial.eager).abs().max() < 2**-12 * trial.exact.abs().max()  # 16 roundings of 2^-16


# Free running


def test_the_check_of_near_draws_is_sharp():
    logits = np.log([0.25, 0.25, 0.5])
    assert choices_near(logits, 0.3, (0, 1e-6)) == {1}
    assert choices_near(logits, 0.5 + 1e-7, (0, 1e-6)) == {1, 2}
    assert choices_near(logits, 0.9, (0, 1e-6), top_k=1) == {2}
    assert choices_near(logits, 0.3, (0, 1e-6), top_p=0.4) == {2}
    assert choices_near(logits, 0.3, (0, 1e-6), top_p=0.6) == {0, 1}  # of two equals one is kept
    assert choices_near(logits, 0.9, (0, 1e-6), temperature=0) == {2}


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"temperature": 0.9, "top_k": 100, "top_p": 0.95}])
def test_a_real_model_runs_free_like_the_reference_for_20000_samples(options):
    """Or the first difference is a draw within rounding of the boundary between two classes."""
    model = lively(residual_channels=16, skip_channels=32, dilations=dilation_cycle(10, 1))
    count, seed = 20_000, 4
    ours, theirs = (
        engine.run(engine.start(), count, seed=seed, **options)[0]
        for engine in (Engine(model, "cpu", dtype="float32"), Engine(model, "reference", dtype="float32"))
    )
    assert len(ours.unique()) > 100  # alive
    different = (ours != theirs).nonzero()
    if len(different):
        at = int(different[0])
        common = ours[None, : at + 1]
        outs = [
            e.feed(e.start(), common)[0, at]
            for e in (Engine(model, "cpu", dtype="float32"), Engine(model, "reference", dtype="float32"))
        ]
        slack = (float((outs[0] - outs[1]).abs().max()), sum_rounding(256))
        near = choices_near(outs[1].numpy(), float(noise(seed, 0, at, 1)), slack, **options)
        assert {int(ours[at]), int(theirs[at])} <= near, f"sample {at}: {int(ours[at])}, {int(theirs[at])}, near {near}"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0},
        {"temperature": 1e-3},
        {"temperature": 4.0},
        {"temperature": 1e-50},
        {"top_k": 1},
        {"top_k": 7},
        {"top_k": 2**32 + 1},
        {"top_p": 1e-50},
        {"top_p": 0.3},
        {"top_p": 0.95},
        {"top_p": 1.0},
        {"temperature": 0.6, "top_k": 20, "top_p": 0.8},
    ],
    ids=str,
)
@pytest.mark.parametrize("classes", [2, 37, 256])
def test_draws_from_known_outputs_are_those_of_the_reference(classes, options):
    """A model that says the same at every step; 16,000 draws; those within rounding of a boundary may go either way."""
    model = lively(residual_channels=1, skip_channels=1, dilations=(1,), classes=classes)
    logits = torch.randn(classes, generator=torch.Generator().manual_seed(classes)) * 3
    logits[1] = logits[0]  # a tie
    with torch.no_grad():
        model.get_parameter("head.1.weight").zero_()
        model.get_parameter("head.1.bias").copy_(logits)
    streams, count = 64, 250
    engine = Engine(model, "cpu", dtype="float32")
    ours = engine.run(engine.start(streams), count, seed=8, **options)

    uniforms = torch.stack([noise(8, stream, 0, count) for stream in range(streams)]).flatten(0, 1)
    theirs = sample("categorical", logits.expand(len(uniforms), -1), uniforms, Sampling(**options)).reshape(
        streams, count
    )
    different = (ours != theirs).nonzero().tolist()
    assert len(different) <= 3  # 16,000 draws of which each meets 256 boundaries within 1e-6 or so
    for stream, at in different:
        u = float(uniforms[stream * count + at])
        assert int(ours[stream, at]) in choices_near(logits.numpy(), u, (0, sum_rounding(classes)), **options)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("name", ["mixture", "gaussian"])
def test_drawn_values_follow_from_the_engines_own_outputs(name, temperature):
    """Each within a few roundings of what the reference draws from the same outputs; one in a thousand may have chosen
    the other of two components, where the draw is within rounding of their boundary."""
    engine = Engine(make_model(name), "cpu", dtype="float32")
    count = 1000
    state = engine.start(2)
    drawn = engine.run(state.copy(), count, seed=3, temperature=temperature)
    assert torch.isfinite(drawn).all() and drawn.abs().max() <= 1
    out = engine.feed(state, drawn).flatten(0, 1)
    uniforms = torch.cat([noise(3, stream, 0, count, 2) for stream in range(2)])
    output = engine.config.output
    theirs = sample(output, out, uniforms, Sampling(temperature))
    away = (drawn.flatten() - theirs).abs()
    spread = out.chunk(3, dim=-1)[2].max(dim=-1).values.clamp(-12, 12).exp() if name == "mixture" else out[:, 1].exp()
    bound = 16 * EPSILON * (out.abs().max(dim=-1).values + temperature * spread * 12)  # |logit(1e-5)| < 12
    assert int((away > bound).sum()) <= 2
    assert float(away.median()) < 1e-6


@pytest.mark.parametrize("scale", [-30.0, 30.0, 300.0])
@pytest.mark.parametrize("name", ["mixture", "gaussian"])
def test_scales_beyond_reason_are_bounded_as_in_the_reference(name, scale):
    model = make_model(name)
    with torch.no_grad():
        bias = model.get_parameter("head.1.bias")
        bias[-1 if name == "gaussian" else 2 * len(bias) // 3 :] += scale
    for temperature, limit in ((0.0, 1e-5), (1e-6, 1e-3)):
        ours, theirs = (
            engine.run(engine.start(), 1, temperature=temperature)
            for engine in (Engine(model, "cpu", dtype="float32"), Engine(model, "reference", dtype="float32"))
        )
        assert (ours - theirs).abs().max() < limit


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype"), [("mixture", "bfloat16"), ("mixture", "int8"), ("gaussian", "int8")])
def test_a_million_drawn_values_follow_the_engines_own_outputs(name, dtype):
    """Chi-squared over 100 equal bins of [-1, 1]; what lies outside is clamped into the first and the last."""
    engine = Engine(make_model(name), "cpu", dtype=dtype)
    state = engine.start()
    engine.run(state, 20)
    out = engine.feed(state.copy(), torch.zeros(1, 1))[0, 0].double().numpy()
    edges = np.linspace(-1, 1, 101)
    if name == "mixture":
        logits, means, log_scales = np.split(out, 3)
        weights = np.exp(logits - logits.max())
        weights /= weights.sum()
        rows = zip(weights, means, log_scales, strict=True)
        below = sum(w * scipy.stats.logistic.cdf(edges, m, np.exp(s)) for w, m, s in rows)
    else:
        below = scipy.stats.norm.cdf(edges, out[0], np.exp(out[1]))
    below[0], below[-1] = 0, 1
    many, counts = state.take([0] * 10_000), np.zeros(100)
    for trial in range(100):
        many.streams = torch.arange(10_000) + 10_000 * trial
        drawn = engine.run(many.copy(), 1)[:, 0].double().numpy()
        counts += np.histogram(drawn, edges)[0]
    expected = np.diff(below) * 1e6
    enough = expected >= 20
    assert enough.sum() >= 10
    observed = np.append(counts[enough], counts[~enough].sum())
    wanted = np.append(expected[enough], expected[~enough].sum())
    if wanted[-1] < 20:  # too few to speak for themselves
        observed, wanted = np.append(observed[:-2], observed[-2:].sum()), np.append(wanted[:-2], wanted[-2:].sum())
    assert 0.001 < scipy.stats.chisquare(observed, wanted).pvalue < 0.999


# The answer does not depend on how it was asked for


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_a_stream_is_the_same_in_a_batch_of_any_size(instruction_set, dtype):
    model = lively(
        residual_channels=20, skip_channels=40, dilations=(1, 2, 5), classes=150, condition_channels=2, hop=9
    )
    given = make_condition(model.config, 37, 60)
    engine = Engine(model, "cpu", dtype=dtype, threads=2, instruction_set=instruction_set)
    alone = torch.cat(
        [
            engine.run(engine.start(1, streams=[row], **row_of(given, row)), 60, seed=1, **row_of(given, row))
            for row in range(37)
        ]
    )
    for batch in (2, 3, 4, 5, 6, 7, 8, 17, 37):
        few = {key: values[:batch] for key, values in given.items()}
        assert torch.equal(engine.run(engine.start(batch, **few), 60, seed=1, **few), alone[:batch]), batch


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_a_stream_is_the_same_in_chunks_of_any_length(instruction_set, dtype):
    """One stream takes the older taps of eight samples together where a dilation allows it, of two streams of one."""
    model = lively(
        residual_channels=20, skip_channels=40, dilations=(1, 7, 8, 13), kernel_size=3, classes=150,
        condition_channels=2, hop=9, upsampling="linear",
    )  # fmt: skip
    given = make_condition(model.config, 2, 62)
    engine = Engine(model, "cpu", dtype=dtype, threads=1, instruction_set=instruction_set)
    both = engine.start(2, **given)
    expected, start = engine.run(both, 62, seed=1, **given)[:1], engine.start(1, streams=[0], **row_of(given, 0))
    for lengths in ([62], [1] * 9 + [53], [7, 8, 9, 15, 16, 7]):
        state = start.copy()
        chunks = [engine.run(state, length, seed=1, **row_of(given, 0)) for length in lengths]
        assert torch.equal(torch.cat(chunks, dim=1), expected), lengths
        assert all(torch.equal(one, two[:1]) for one, two in zip(state.memory, both.memory, strict=True))


def test_streams_at_different_times_keep_their_own_conditioning_and_noise():
    model = make_model("categorical-linear-ids")
    given = make_condition(model.config, 2, 400)
    engine = Engine(model, "cpu", threads=2, dtype="float32")
    expected = engine.run(engine.start(2, **given), 400, seed=6, **given)
    late, early = engine.start(2, **given).take([0]), engine.start(2, **given).take([1])
    engine.run(late, 331, seed=6, **row_of(given, 0))
    together = late.join(early)
    assert together.time.tolist() == [331, 0]
    mixed = engine.run(together, 69, seed=6, **given)
    assert torch.equal(mixed[0], expected[0, 331:]) and torch.equal(mixed[1], expected[1, :69])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_all_instruction_sets_hear_the_same(dtype):
    """The same packed weights and order of sums; only fused multiply-adds differ, and roundings that they tip."""
    trial = make_trial(lively(residual_channels=20, skip_channels=40, dilations=(1, 2, 5), classes=150), 2, 40)
    first, *others = (trial.outputs("cpu", dtype=dtype, instruction_set=each) for each in INSTRUCTION_SETS)
    for other in others:
        assert (other - first).abs().max() < 2e-4 * first.abs().max()


def test_given_noise_and_tokens_are_read_on_from_call_to_call():
    engine = Engine(make_model("mixture"), "cpu", dtype="float32")
    start = engine.start(2)
    drawn = torch.stack([noise(3, stream, 0, 2500, 2) for stream in range(2)])  # several native calls
    expected = engine.run(start.copy(), 2500, seed=3)
    assert torch.equal(engine.run(start.copy(), 2500, noise=drawn), expected)
    whole, cut = engine.feed(start.copy(), expected), start.copy()
    parts = [engine.feed(cut, part) for part in expected.split(700, dim=1)]
    assert torch.equal(torch.cat(parts, dim=1), whole)


def test_python_threads_may_share_an_engine():
    engine = Engine(make_model("mixture"), "cpu", threads=2, dtype="float32")
    expected = [engine.run(engine.start(1, streams=[row]), 500, seed=2) for row in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda row: engine.run(engine.start(1, streams=[row]), 500, seed=2), range(4)))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


FORKED = """
import os, torch, warnings
from fastwave import Engine, WaveNet, WaveNetConfig
warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tried here
torch.manual_seed(0)
model = WaveNet(WaveNetConfig(8, skip_channels=8, dilations=(1, 2)), backend="reference")
engine = Engine(model, "cpu", "float32", threads=3)
state = engine.start(4)
engine.run(state, 100)
fork = state.copy()
expected = engine.run(state, 400)
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(engine.run(fork, 400), expected) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_goes_on_without_the_threads(tmp_path):
    run = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert (run.returncode, run.stdout, run.stderr) == (0, "0\n", "")


ENDED = """
import threading
from fastwave import Engine, WaveNet, WaveNetConfig
from fastwave.engine import native

native.CALL_SECONDS = 60  # of the second native call, which the end of the process does not wait for
engine = Engine(WaveNet(WaveNetConfig.preset("small"), backend="reference"), "cpu", "float32", threads=2)
driver, begun, calls = engine._driver, threading.Event(), []
run_native = driver._run_native

def counted(**fields):
    calls.append(fields)
    if len(calls) == 2:
        begun.set()  # who waits goes on once the call has let go of the interpreter
    run_native(**fields)

driver._run_native = counted
threading.Thread(target=lambda: engine.run(engine.start(4), 1_000_000, in_place=True), daemon=True).start()
begun.wait()
"""


def test_a_process_may_end_while_a_thread_generates(tmp_path):
    """The engine must outlive the run of a daemon thread."""
    run = subprocess.run([sys.executable, "-c", ENDED], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


# What cannot be right


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_broken_embedding_is_named_with_its_sample_and_stream(value, dtype, threads):
    model = make_model("categorical")
    with torch.no_grad():
        model.get_parameter("front.weight")[0, 9] = value
    for turns in range(9):  # of 32 samples: an engine tries each of its schedules twice, before it settles for one
        engine = Engine(model, "cpu", dtype=dtype, threads=threads)
        state = engine.start(3)
        tokens = make_tokens(model.config, 3, 32 * turns + 20).clamp(max=8)
        good, broken = tokens[:, : 32 * turns], tokens[:, 32 * turns :].clone()
        engine.feed(state, good)
        before = state.copy()
        broken[1, 5] = 9  # the output after it is the first to see it
        with pytest.raises(GenerationError, match=f"sample {32 * turns + 6} of stream 1 is not finite"):
            engine.feed(state, broken)
        unmoved(state, before)
        assert torch.isfinite(engine.feed(state, tokens[:, -20:])).all()  # and the engine is as good as before


def test_conditioning_that_is_not_finite_is_refused():
    model = make_model("gaussian-repeat")
    engine = Engine(model, "cpu", dtype="float32")
    given = make_condition(model.config, 2, 60)
    state = engine.start(2, **given)
    prepared = engine.prepare(given["condition"], None, 2, 60)
    before = state.copy()
    for value in (math.nan, math.inf):
        broken = given["condition"].clone()
        broken[1, 4, 2] = value
        with pytest.raises(InputError, match="NaN or infinity"):
            engine.run(state, 50, condition=broken)
        broken_later = dataclasses.replace(prepared, frames=broken)  # changed after it was checked
        with pytest.raises(GenerationError, match="stream 1 is not finite"):
            engine.run(state, 50, condition=broken_later)
        unmoved(state, before)


def test_the_end_of_time_is_refused():
    engine = Engine(make_model("categorical"), "cpu", dtype="float32")
    state = engine.start(2)
    state.time = torch.tensor([0, 2**63 - 20])
    engine.run(state, 10)
    before = state.copy()
    with pytest.raises(InputError, match="time"):
        engine.run(state, 10)
    unmoved(state, before)


def test_no_samples_and_no_tokens_are_empty_answers():
    for name in ("categorical", "mixture-learned"):
        model = make_model(name)
        given = make_condition(model.config, 2, 1)
        engine = Engine(model, "cpu", dtype="float32")
        state = engine.start(2, **given)
        before = state.copy()
        assert engine.run(state, 0, **given).shape == (2, 0)
        assert engine.feed(state, make_tokens(model.config, 2, 0), **given).shape == (
            2,
            0,
            model.config.output_channels,
        )
        unmoved(state, before)


@pytest.mark.parametrize("instruction_set", ["sse9", "AVX2", ""])
def test_an_unknown_instruction_set_is_refused(instruction_set):
    with pytest.raises(InputError, match="portable, avx2"):
        Engine(make_model("categorical"), "cpu", instruction_set=instruction_set, dtype="float32")


def test_states_of_another_dtype_are_refused_and_of_another_instruction_set_are_not():
    model = make_model("categorical")
    engines = [Engine(model, "cpu", dtype=dtype) for dtype in ("float32", "bfloat16", "int8")]
    for engine in engines:
        for other in (*engines, Engine(model, "reference", dtype="float32")):
            if other is not engine:
                with pytest.raises(InputError, match="not of this engine"):
                    engine.run(other.start(), 1)
    for instruction_set in INSTRUCTION_SETS:
        state = Engine(model, "cpu", instruction_set=instruction_set, dtype="float32").start()
        assert engines[0].run(state, 5).shape == (1, 5)


WRONG_STATES = """
import dataclasses, sys, torch
from fastwave import Engine, InputError, WaveNet, WaveNetConfig
config = WaveNetConfig(20, skip_channels=8, dilations=(1, 2, 4), classes=11, front_kernel=2)
engine = Engine(WaveNet(config, backend="reference"), "cpu", "float32", threads=1)
s = engine.start(4)
wrong = {
    "time of int32": {"time": s.time.int()},
    "one time": {"time": s.time[:1]},
    "a time below zero": {"time": s.time - 1},
    "one stream number": {"streams": s.streams[:1]},
    "a stream number below zero": {"streams": s.streams - 1},
    "tokens of one stream": {"tokens": s.tokens[:1]},
    "one token too few": {"tokens": s.tokens[:, :1]},
    "tokens of int32": {"tokens": s.tokens.int()},
    "unknown tokens": {"tokens": s.tokens + 11},
    "no memory": {"memory": []},
    "memory of one stream": {"memory": [s.memory[0][:1]]},
    "half the memory": {"memory": [s.memory[0][:, :96].clone()]},
    "memory of float64": {"memory": [s.memory[0].double()]},
    "memory of float16": {"memory": [s.memory[0].half()]},
}
for name, fields in wrong.items():
    for verb in (lambda state: engine.run(state, 50), lambda state: engine.feed(state, torch.zeros(4, 50).long())):
        try:
            verb(dataclasses.replace(s, **fields))
        except InputError:
            continue
        except Exception as error:
            print(f"{name}: {type(error).__name__}", flush=True)
        else:
            print(f"{name}: no error", flush=True)
try:
    engine.run(s.take([]), 1)
except InputError:
    print("done")
"""


def test_states_of_a_wrong_shape_or_type_are_refused(tmp_path):
    """In a process of its own: read as if they were right, they would corrupt its memory."""
    run = subprocess.run(
        [sys.executable, "-c", WRONG_STATES], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert (run.returncode, run.stdout) == (0, "done\n"), run.stderr


def test_the_largest_number_of_classes_is_drawn_from():
    model = lively(residual_channels=4, skip_channels=4, dilations=(1,), classes=65_536)
    engine = Engine(model, "cpu", dtype="float32")
    state = engine.start(3)
    logits = engine.feed(state.copy(), torch.zeros(3, 1, dtype=torch.int64))[:, 0]
    drawn = engine.run(state, 1, seed=5)[:, 0]
    for row in range(3):
        u = float(noise(5, row, 0, 1))
        assert int(drawn[row]) in choices_near(logits[row].numpy(), u, (0, sum_rounding(65_536)))
