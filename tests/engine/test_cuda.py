"""Engine(backend="cuda") keeps every promise of the reference: first on CUDA sources that run on the CPU, the whole
path from Python to the kernel, and then, where there is one, on a GPU."""

import copy
import dataclasses
import gc
import math

import pytest
import torch

from engine_trials import (
    ODD_SIZES,
    choices_near,
    lively,
    make_trial,
    odd_model,
    sum_rounding,
    to_bfloat16,
    unmoved,
)  # fmt: skip
from fastwave import BackendUnavailable, Engine, GenerationError, InputError, NativeError, generate, noise
from fastwave.config import PRESETS
from fastwave.distributions import Sampling, sample
from fastwave.runtime import library
from shapes import CONFIGS, make_condition, make_model, make_tokens, row_of
from tolerances import assert_as_close_as_eager

SCHEDULES = 8


def general(model, dtype="float32"):
    """An engine on the kernel for every model; test_cuda_cluster.py has the other, and the rule that chooses."""
    return Engine(model, "cuda", dtype, kernel="general")


CATEGORICAL = [name for name in CONFIGS if name.startswith(("categorical", "bytes", "one-layer"))]


def check_outputs(model, batch, steps, **options):
    """Teacher forcing after a random past, within the tolerance of float64."""
    trial = make_trial(model, batch, steps)
    assert_as_close_as_eager(trial.outputs("cuda", kernel="general", **options).cpu(), trial.eager, trial.exact)


# On the CPU


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_after_a_random_past_match_float64(machine, name):
    for batch in (1, 3):
        check_outputs(make_model(name), batch, 30)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", ODD_SIZES, ids=lambda sizes: "-".join(map(str, sizes[:7])))
def test_odd_sizes_after_a_random_past_match_float64(machine, sizes):
    machine.set(multiprocessors=1)
    check_outputs(odd_model(sizes), 3, 12)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ref", "vocoder"])
def test_outputs_of_a_preset_match_float64(machine, preset):
    check_outputs(lively(**PRESETS[preset]), 2, 3)


@pytest.mark.slow
def test_a_planted_fault_in_the_weights_is_seen(machine):
    """One tap of one layer, off by a thousandth."""
    trial = make_trial(make_model("categorical"), 1, 30)
    with torch.no_grad():
        trial.model.get_parameter("dilated.weight")[2, 0, 1, 3] += 1e-3
    with pytest.raises(AssertionError, match="float32: error"):
        assert_as_close_as_eager(trial.outputs("cuda", kernel="general"), trial.eager, trial.exact)


@pytest.mark.slow
def test_bfloat16_outputs_are_those_of_rounded_weights(machine):
    model = lively(residual_channels=24, gate_channels=40, skip_channels=48, dilations=(1, 2, 4, 8, 3), kernel_size=3)
    trial = make_trial(model, 3, 30)
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in rounded.named_parameters():
            if name.endswith("weight") and not name.startswith("front"):
                parameter.copy_(to_bfloat16(parameter))
    plain, exact, eager = (
        Engine(model, "reference", dtype="float32"),
        Engine(rounded, "reference", "float64"),
        Engine(rounded, "reference", dtype="float32"),
    )
    start = plain.start(3, prime=trial.prime)  # its memory after the prime is that of the weights before rounding
    outs = []
    for engine in (exact, eager):
        memory = [each.to(engine._driver.like.dtype) for each in start.memory]
        outs.append(
            engine.feed(dataclasses.replace(start, memory=memory, fingerprint=engine.fingerprint), trial.tokens)
        )
    assert (outs[1] - trial.exact).abs().max() > 1e-3 * trial.exact.abs().max()  # rounding shows at all
    assert_as_close_as_eager(trial.outputs("cuda", dtype="bfloat16", kernel="general"), outs[1], outs[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0}, {"top_k": 4}, {"top_p": 0.7}, {"temperature": 0.6, "top_k": 6, "top_p": 0.8}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("name", CATEGORICAL)
def test_free_running_tokens_are_the_references_under_every_schedule(machine, name, options):
    model, count = make_model(name), 25
    given = make_condition(model.config, 5, count)
    reference, ours = Engine(model, "reference", dtype="float32"), general(model)
    expected = reference.run(reference.start(5, **given), count, seed=3, **options, **given)
    assert options.get("temperature") == 0 or len(expected.unique()) > 3  # alive
    start = ours.start(5, **given)
    for seed in range(SCHEDULES):
        machine.seed(seed)
        machine.set(multiprocessors=1 + seed % 3)  # one block and several
        assert torch.equal(ours.run(start.copy(), count, seed=3, **options, **given), expected), f"schedule {seed}"
        assert machine.fault() == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in CATEGORICAL])
def test_free_running_waveforms_follow_the_reference_under_every_schedule(machine, name):
    model = make_model(name)
    given = make_condition(model.config, 3, 30)
    reference, ours = Engine(model, "reference", dtype="float32"), general(model)
    expected = reference.run(reference.start(3, **given), 30, seed=5, **given)
    first = None
    for seed in range(SCHEDULES):
        machine.seed(seed)
        drawn = ours.run(ours.start(3, **given), 30, seed=5, **given)
        assert (drawn - expected).abs().max() < 1e-3  # rounding, carried through 30 steps of feedback
        first = drawn if first is None else first
        assert torch.equal(drawn, first), f"schedule {seed}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 1e-3},
        {"temperature": 1e-50},
        {"top_k": 1},
        {"top_k": 7},
        {"top_p": 1e-50},
        {"top_p": 0.3},
        {"top_p": 0.95},
        {"temperature": 4.0, "top_k": 20, "top_p": 0.8},
    ],
    ids=str,
)
@pytest.mark.parametrize("classes", [2, 37, 256])
def test_draws_from_known_outputs_are_those_of_the_reference(machine, classes, options):
    """A model that says the same at every step; those within rounding of a boundary may go either way."""
    machine.set(multiprocessors=1)
    model = lively(residual_channels=1, skip_channels=1, dilations=(1,), classes=classes)
    logits = torch.randn(classes, generator=torch.Generator().manual_seed(classes)) * 3
    logits[1] = logits[0]  # a tie
    with torch.no_grad():
        model.get_parameter("head.1.weight").zero_()
        model.get_parameter("head.1.bias").copy_(logits)
    streams, count = 16, 50
    engine = general(model)
    ours = engine.run(engine.start(streams), count, seed=8, **options)

    uniforms = torch.stack([noise(8, stream, 0, count) for stream in range(streams)]).flatten(0, 1)
    theirs = sample("categorical", logits.expand(len(uniforms), -1), uniforms, Sampling(**options)).reshape(
        streams, count
    )
    different = (ours != theirs).nonzero().tolist()
    assert len(different) <= 2
    for stream, at in different:
        u = float(uniforms[stream * count + at])
        assert int(ours[stream, at]) in choices_near(logits.numpy(), u, (0, sum_rounding(classes)), **options)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"temperature": 0}, {"top_k": 5}, {"top_k": 40}, {"top_p": 0.3}], ids=str)
def test_among_equals_the_lower_classes_stay(machine, options):
    """70 classes, 30 of one likelihood and 40 of another: every cut is among equals. A warp has only 32 lanes."""
    model = lively(residual_channels=1, skip_channels=1, dilations=(1,), classes=70)
    with torch.no_grad():
        model.get_parameter("head.1.weight").zero_()
        model.get_parameter("head.1.bias").copy_((torch.arange(70) % 7 < 3).float())
    ours, theirs = (Engine(model, backend, dtype="float32") for backend in ("cuda", "reference"))
    drawn = ours.run(ours.start(16), 40, seed=4, **options)
    assert torch.equal(drawn, theirs.run(theirs.start(16), 40, seed=4, **options))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_stream_is_the_same_in_a_batch_of_any_size_and_in_any_memory(machine, dtype):
    model = lively(
        residual_channels=20, skip_channels=40, dilations=(1, 2, 5), classes=150, condition_channels=2, hop=9
    )
    given = make_condition(model.config, 9, 30)
    engine = general(model, dtype)
    whole = engine.run(engine.start(9, **given), 30, seed=1, **given)
    for limit in (227 << 10, 1 << 10):  # in shared memory, and in the workspace
        for multiprocessors, per_block in ((9, 1), (5, 2), (3, 4), (1, 8)):
            machine.set(multiprocessors=multiprocessors, shared_limit=limit)
            other = general(model, dtype)
            plan = other.plan(9)
            assert plan.streams_per_block == (per_block if limit > 1 << 10 else 1)
            assert (plan.shared > 0) == (limit > 1 << 10)
            assert torch.equal(other.run(other.start(9, **given), 30, seed=1, **given), whole)
    machine.set()
    for row in (0, 8):
        alone = engine.run(engine.start(1, streams=[row], **row_of(given, row)), 30, seed=1, **row_of(given, row))
        assert torch.equal(alone[0], whole[row])


@pytest.mark.slow
def test_one_run_equals_its_parts_and_states_can_be_kept(machine, tmp_path, monkeypatch):
    model = make_model("categorical-linear-ids")
    given = make_condition(model.config, 2, 60)
    engine = general(model)
    start = engine.start(2, **given)
    expected = engine.run(start.copy(), 60, seed=6, **given)
    state = start.copy()
    parts = [engine.run(state, 25, seed=6, **given)]
    state.save(tmp_path / "state")
    monkeypatch.setattr("fastwave.engine.native.CALL_SECONDS", 1e-9)  # calls of one sample
    parts.append(engine.run(engine.load_state(tmp_path / "state"), 35, seed=6, **given))
    assert torch.equal(torch.cat(parts, dim=1), expected)
    whole, state = engine.feed(start.copy(), expected, **given), start.copy()
    assert torch.equal(torch.cat([engine.feed(state, part, **given) for part in expected.split(23, 1)], dim=1), whole)


@pytest.mark.slow
def test_given_noise_is_taken_in_place_of_the_seeds(machine):
    engine = general(make_model("mixture"))
    drawn = torch.stack([noise(3, stream, 0, 20, 2) for stream in range(2)])
    assert torch.equal(engine.run(engine.start(2), 20, noise=drawn), engine.run(engine.start(2), 20, seed=3))


@pytest.mark.slow
def test_the_whole_of_generate_runs_on_it(machine):
    model = make_model("categorical")
    results = [
        generate(model, samples=50, seed=2, batch=2, backend=backend, dtype="float32", top_p=0.9).tokens
        for backend in ("cuda", "reference")
    ]
    assert torch.equal(*results)


@pytest.mark.slow
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_embedding_is_named_with_its_sample_and_stream(machine, value):
    model = make_model("categorical")
    with torch.no_grad():
        model.get_parameter("front.weight")[0, 9] = value
    engine = general(model)
    state = engine.start(3)
    tokens = make_tokens(model.config, 3, 20).clamp(max=8)
    before = state.copy()
    broken = tokens.clone()
    broken[1, 5] = 9  # the output after it is the first to see it
    with pytest.raises(GenerationError, match="sample 6 of stream 1 is not finite"):
        engine.feed(state, broken)
    unmoved(state, before)
    assert torch.isfinite(engine.feed(state, tokens)).all()  # and the engine is as good as before


@pytest.mark.slow
def test_device_and_stream_are_the_ones_that_were_asked_for(machine, monkeypatch):
    model = make_model("categorical")
    monkeypatch.setattr("fastwave.engine.cuda.device_of", lambda parameters: torch.device("cpu", 1))
    monkeypatch.setattr("fastwave.engine.cuda.cuda_stream_of", lambda device: 4096 + device.index)
    engine = general(model)
    engine.run(engine.start(), 5)
    assert machine.last_launch()[:2] == (1, 4097)
    del engine
    gc.collect()
    assert machine.last_launch()[3] == 0  # all device memory is given back


@pytest.mark.slow
def test_a_stream_under_capture_is_refused(machine):
    engine = general(make_model("categorical"))
    state = engine.start()
    machine.set(capturing=True)
    launches = machine.last_launch()[2]
    with pytest.raises(InputError, match=r"captured into a CUDA graph.*run outside"):
        engine.run(state, 5)
    assert machine.last_launch()[2] == launches


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"driver": 0}, 'no NVIDIA driver on this machine.*backend="cpu"'),
        ({"devices": 0}, "shows no device; see CUDA_VISIBLE_DEVICES"),
    ],
)
def test_a_machine_without_a_device_is_refused_with_the_cure(machine, settings, message):
    machine.set(**settings)
    with pytest.raises(BackendUnavailable, match=message):
        general(make_model("categorical"))
    engine = Engine(make_model("categorical"), dtype="float32")
    assert engine.backend == "cpu" and "cuda: " in engine.choice.why


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "error", "raised", "message"),
    [
        (
            "cudaGetDeviceCount",
            35,
            BackendUnavailable,
            "driver supports CUDA 13.0, this library needs.*update the driver",
        ),
        (
            "cudaFuncGetAttributes",
            209,
            BackendUnavailable,
            "not built for device 0, of compute capability 9.0.*ARCHS=90",
        ),
        ("cudaMalloc", 2, NativeError, "device 0 has no room for [0-9]+ bytes of weights"),
        ("cudaMemcpy", 719, NativeError, "CUDA error 719"),
        ("cudaSetDevice", 1, NativeError, "CUDA error 1"),
    ],
)
def test_what_fails_while_an_engine_is_made_says_so(machine, monkeypatch, function, error, raised, message):
    monkeypatch.setattr(
        "fastwave.engine.cuda.device_of", lambda parameters: torch.device("cpu", int("Set" in function))
    )
    machine.answer(function, error)
    try:
        with pytest.raises(raised, match=message):
            general(make_model("categorical"))
    finally:
        machine.answer(function, 0)
    assert machine.last_launch()[3] == 0


@pytest.mark.slow
@pytest.mark.parametrize("function", ["cudaLaunchKernelEx", "cudaStreamSynchronize", "cudaMemsetAsync"])
def test_a_run_that_the_device_fails_leaves_the_state(machine, function):
    engine = general(make_model("categorical"))
    state = engine.start()
    before = state.copy()
    machine.answer(function, 719)
    try:
        with pytest.raises(NativeError, match="CUDA error 719"):
            engine.run(state, 5)
    finally:
        machine.answer(function, 0)
    unmoved(state, before)
    assert engine.run(state, 5).shape == (1, 5)


@pytest.mark.slow
@pytest.mark.parametrize("shared_limit", [163 << 10, 227 << 10])  # of compute capability 8.0 and 9.0
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_has_room_for_its_streams_in_shared_memory(machine, preset, shared_limit):
    machine.set(multiprocessors=132, shared_limit=shared_limit)
    engine = general(lively(**PRESETS[preset]), "bfloat16")
    for streams, per_block in ((1, 1), (132, 1), (133, 2), (265, 4), (529, 8), (8192, 8)):
        plan = engine.plan(streams)
        assert (plan.streams_per_block, plan.blocks) == (per_block, -(-streams // per_block))
        assert 0 < plan.shared <= shared_limit and plan.workspace == 256


# On a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_on_a_gpu_match_float64(gpu, name):
    for batch in (1, 3, 16):
        check_outputs(make_model(name), batch, 30)


@pytest.mark.gpu
@pytest.mark.parametrize("preset", PRESETS)
def test_outputs_of_every_preset_on_a_gpu_match_float64(gpu, preset):
    check_outputs(lively(**PRESETS[preset]), 2, 48)


@pytest.mark.gpu
@pytest.mark.parametrize("sizes", ODD_SIZES, ids=lambda sizes: "-".join(map(str, sizes[:7])))
def test_odd_sizes_on_a_gpu_match_float64(gpu, sizes):
    check_outputs(odd_model(sizes), 300, 12)


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"top_k": 4}, {"top_p": 0.7}], ids=str)
@pytest.mark.parametrize("name", CATEGORICAL)
def test_free_running_tokens_on_a_gpu_are_the_references(gpu, name, options):
    model = make_model(name)
    given = make_condition(model.config, 5, 100)
    reference, ours = Engine(model, "reference", dtype="float32"), general(model)
    expected = reference.run(reference.start(5, **given), 100, seed=3, **options, **given)
    assert torch.equal(ours.run(ours.start(5, **given), 100, seed=3, **options, **given).cpu(), expected)


@pytest.mark.gpu
def test_a_stream_on_a_gpu_is_the_same_in_a_batch_of_any_size(gpu):
    model = lively(residual_channels=20, skip_channels=40, dilations=(1, 2, 5), classes=150)
    engine = general(model, "bfloat16")
    whole = engine.run(engine.start(1200), 50, seed=1)
    for row in (0, 577, 1199):
        assert torch.equal(engine.run(engine.start(1, streams=[row]), 50, seed=1)[0], whole[row])


@pytest.mark.gpu
def test_runs_on_another_stream_wait_for_it_and_captures_are_refused(gpu):
    engine = general(make_model("categorical"))
    expected = engine.run(engine.start(2), 50, seed=1)
    with torch.cuda.stream(torch.cuda.Stream()):
        assert torch.equal(engine.run(engine.start(2), 50, seed=1), expected)
    memory = torch.zeros(engine._driver.memory_shapes(1)[0], device="cuda")
    ones = torch.ones(1, engine.config.front_kernel, dtype=torch.int64, device="cuda")
    workspace = torch.zeros(engine.plan(1).workspace, dtype=torch.uint8, device="cuda")
    fields = {"times": ones, "ids": ones, "memory": memory, "last_classes": ones}
    fields = {name: tensor.data_ptr() for name, tensor in fields.items()}
    fields |= {"streams": 1, "samples": 1, "temperature": 1.0, "top_p": 1.0}
    with pytest.raises(InputError, match=r"captured into a CUDA graph"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        engine._driver._engine.run(workspace.data_ptr(), torch.cuda.current_stream().cuda_stream, **fields)


@pytest.mark.gpu
def test_a_second_gpu_generates_as_the_first(gpu):
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU here")
    model = make_model("categorical")
    outs = [general(copy.deepcopy(model).to(f"cuda:{index}")) for index in (0, 1)]
    first, second = (engine.run(engine.start(2), 50, seed=1) for engine in outs)
    assert second.device.index == 1 and torch.equal(first.cpu(), second.cpu())


# Without one


def test_without_a_gpu_the_refusal_names_the_reason_and_the_cure():
    reason = library.missing("cuda") or library.no_cuda_device()
    if not reason and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(BackendUnavailable, match=r"cuda: .*Use backend='cpu'"):
        general(make_model("categorical"))
