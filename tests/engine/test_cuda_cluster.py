"""The cluster kernel: a network held by several blocks. It computes in bfloat16, and keeps an engine's promises."""

import copy

import pytest
import torch

from engine_trials import ODD_SIZES, lively, make_trial, odd_model
from fastwave import BackendUnavailable, Engine, GenerationError
from fastwave.cli.main import main
from fastwave.config import PRESETS
from fastwave.engine.reference import quiet_torch
from shapes import CONFIGS, make_condition, make_model, row_of
from tolerances import assert_as_close_as_eager

SCHEDULES = 8
KERNELS = ("cluster", "cluster-unfolded")
LARGE = 227 << 10  # bytes of shared memory: the H200's
DEEP = {"residual_channels": 20, "skip_channels": 40, "dilations": (1, 2, 5, 3, 1, 4), "classes": 150}


@pytest.fixture(params=KERNELS)
def kernel(request):
    return request.param


def engine_of(model, kernel):
    return Engine(model, "cuda", dtype="bfloat16", kernel=kernel)


def smallest_limit(machine, model, kernel):
    """(the least shared memory that a cluster needs, an engine under that limit): there most blocks hold layers."""
    for limit in range(2 << 10, LARGE, 2 << 10):
        machine.set(shared_limit=limit)
        try:
            return limit, engine_of(model, kernel)
        except BackendUnavailable:
            continue
    raise AssertionError("it fits nowhere")


def check_outputs(model, kernel, batch, steps):
    """Teacher forcing after a random past, as close to float64 as eager bfloat16."""
    trial = make_trial(model, batch, steps)
    eager = copy.deepcopy(model).bfloat16()
    tokens = torch.cat([trial.prime, trial.tokens], dim=1)
    conditioning = {name: value if name == "speaker" and not value.is_floating_point() else value.bfloat16()
                    for name, value in trial.given.items()}  # fmt: skip
    with quiet_torch():
        outputs = eager(tokens.bfloat16() if model.config.scalar_input else tokens, **conditioning)
    of_eager = outputs[:, trial.prime.shape[1] - 1 : -1]
    ours = trial.outputs("cuda", dtype="bfloat16", kernel=kernel).cpu().bfloat16()
    assert_as_close_as_eager(ours, of_eager, trial.exact)


# The CUDA sources on the CPU


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_after_a_random_past_match_eager_bfloat16(machine, kernel, name):
    for batch in (1, 3):
        check_outputs(make_model(name), kernel, batch, 20)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", ODD_SIZES, ids=lambda sizes: "-".join(map(str, sizes[:7])))
def test_odd_sizes_after_a_random_past_match_eager_bfloat16(machine, kernel, sizes):
    check_outputs(odd_model(sizes), kernel, 3, 8)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ref", "music8x10"])
def test_outputs_of_a_preset_match_eager_bfloat16(machine, kernel, preset):
    check_outputs(lively(**PRESETS[preset]), kernel, 2, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", ["dilated.weight", "residual.weight", "residual.bias", "skip.weight", "head.0.weight"]
)
def test_a_planted_fault_in_the_weights_is_seen(machine, kernel, place):
    trial = make_trial(make_model("categorical"), 1, 20)
    sound = trial.outputs("cuda", dtype="bfloat16", kernel=kernel)
    with torch.no_grad():
        trial.model.get_parameter(place)[2 if place.startswith("r") else 0].mul_(1.5)
    broken = trial.outputs("cuda", dtype="bfloat16", kernel=kernel)
    assert (sound - trial.exact).abs().max() < 0.2 * (broken - trial.exact).abs().max()


@pytest.mark.slow
def test_a_stream_is_the_same_in_a_batch_of_any_size_and_on_any_number_of_blocks(machine, kernel):
    model = lively(**DEEP, condition_channels=2, hop=9)
    given = make_condition(model.config, 11, 25)
    limit, engine = smallest_limit(machine, model, kernel)
    assert engine.plan(11).blocks == 2 * engine.plan(8).blocks == 16
    whole = engine.run(engine.start(11, **given), 25, seed=1, **given)
    layer_blocks = {engine.plan(1).layer_blocks}
    for other_limit in (limit + (6 << 10), LARGE):
        machine.set(shared_limit=other_limit)
        other = engine_of(model, kernel)
        layer_blocks.add(other.plan(1).layer_blocks)
        assert torch.equal(other.run(other.start(11, **given), 25, seed=1, **given), whole)
    assert len(layer_blocks) > 1 and min(layer_blocks) == 1
    for row in (0, 7, 10):
        alone = engine.run(engine.start(1, streams=[row], **row_of(given, row)), 25, seed=1, **row_of(given, row))
        assert torch.equal(alone[0], whole[row])


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_is_the_same_under_every_schedule_and_in_parts(machine, kernel, name):
    model = make_model(name)
    given = make_condition(model.config, 3, 24)
    _, engine = smallest_limit(machine, model, kernel)
    start = engine.start(3, **given)
    expected = engine.run(start.copy(), 24, seed=3, **given)
    for seed in range(SCHEDULES):
        machine.seed(seed)
        state = start.copy()
        parts = [engine.run(state, count, seed=3, **given) for count in (7, 1, 16)]
        assert torch.equal(torch.cat(parts, dim=1), expected), f"schedule {seed}"
        assert machine.fault() == ""


@pytest.mark.slow
def test_an_output_that_is_not_finite_is_named_and_the_engine_stays_usable(machine, kernel):
    model = make_model("categorical")
    with torch.no_grad():
        model.get_parameter("front.weight")[0, 9] = float("nan")
    engine = engine_of(model, kernel)
    tokens = torch.full((10, 12), 3)
    broken = tokens.clone()
    broken[9, 4] = 9
    state = engine.start(10)
    with pytest.raises(GenerationError, match="sample 5 of stream 9 is not finite"):
        engine.feed(state, broken)
    assert torch.isfinite(engine.feed(state, tokens)).all()


# On a GPU


@pytest.fixture
def clusters(gpu):
    """The name of a device that has clusters."""
    if torch.cuda.get_device_capability() < (9, 0):
        pytest.skip(f"{gpu} has no clusters")
    return gpu


@pytest.mark.gpu
def test_outputs_of_a_cluster_on_a_gpu_match_eager_bfloat16(clusters):
    for kernel in KERNELS:
        for batch in (1, 9):
            check_outputs(make_model("categorical"), kernel, batch, 30)


@pytest.mark.gpu
@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_of_every_configuration_on_a_gpu_match_eager_bfloat16(clusters, kernel, name):
    for batch in (3, 16):
        check_outputs(make_model(name), kernel, batch, 30)


@pytest.mark.gpu
@pytest.mark.parametrize("sizes", ODD_SIZES, ids=lambda sizes: "-".join(map(str, sizes[:7])))
def test_odd_sizes_on_a_gpu_match_eager_bfloat16(clusters, kernel, sizes):
    check_outputs(odd_model(sizes), kernel, 9, 12)


@pytest.mark.gpu
@pytest.mark.parametrize("preset", ["ref", "small", "music8x10"])
def test_outputs_of_a_preset_on_a_gpu_match_eager_bfloat16(clusters, kernel, preset):
    check_outputs(lively(**PRESETS[preset]), kernel, 9, 48)


@pytest.mark.gpu
def test_a_stream_of_a_cluster_on_a_gpu_is_the_same_in_any_batch_and_any_chunks(clusters, kernel):
    engine = engine_of(lively(**PRESETS["ref"]), kernel)
    whole = engine.run(engine.start(1200), 600, seed=1)  # more clusters than fit at once
    for row in (0, 577, 1199):
        state = engine.start(1, streams=[row])
        pieces = [engine.run(state, samples, seed=1) for samples in (1, 130, 469)]
        assert torch.equal(torch.cat(pieces, dim=1)[0], whole[row])


@pytest.mark.gpu
def test_a_hundred_thousand_samples_of_a_cluster_on_a_gpu_are_the_same_twice(clusters, kernel):
    engine = engine_of(lively(**PRESETS["small"]), kernel)
    first, second = (engine.run(engine.start(20), 100_000, seed=2) for _ in range(2))
    assert torch.equal(first, second)


# Which models run on it


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "blocks", "layer_blocks"),
    [("ref", 8, 5), ("small", 4, 2), ("music8x10", 8, 5), ("large", 0, 0), ("vocoder", 0, 0)],
)
def test_auto_puts_the_presets_that_fit_on_a_cluster_and_says_why_others_are_not(machine, preset, blocks, layer_blocks):
    machine.set(multiprocessors=132, shared_limit=LARGE)
    plan = engine_of(lively(**PRESETS[preset]), "auto").plan(20)
    assert (plan.blocks_per_cluster, plan.layer_blocks) == (blocks, layer_blocks)
    assert plan.kernel == ("cluster" if blocks else "general")
    if blocks:
        assert (plan.streams_per_block, plan.blocks, plan.workspace) == (8, 3 * blocks, 256)
        assert plan.shared <= LARGE and plan.reason == "the weights stay on the chip"
    else:
        assert plan.reason.startswith("not on a cluster: the weights that are waited for do not fit 8 multiprocessors")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "settings", "reason"),
    [
        ("float32", {}, "its products are bfloat16"),
        ("bfloat16", {"major": 8}, "compute capability 8.0 has no clusters, 9.0 has"),
        ("bfloat16", {"clusters": 0}, "the device has no 4 free multiprocessors side by side"),
    ],
)
def test_what_no_cluster_can_run_is_general_with_auto_and_refused_by_name(machine, dtype, settings, reason):
    machine.set(**settings)
    model = make_model("categorical")
    plan = Engine(model, "cuda", dtype).plan(1)
    assert (plan.kernel, plan.reason) == ("general", f"not on a cluster: {reason}")
    with pytest.raises(BackendUnavailable, match=reason):
        Engine(model, "cuda", dtype, kernel="cluster")


@pytest.mark.slow
def test_info_names_the_kernel_and_says_why(machine, capsys):
    assert main(["info", "--untrained", "ref"]) == 0
    said = capsys.readouterr().out
    assert "general (not on a cluster: its products are bfloat16)" in said
    assert "cluster (the weights stay on the chip), 8 blocks of" in said
