"""Rows of the bench are proved and have their limits. Rows of a GPU are tested on CUDA sources that run on the CPU."""

import copy

import pytest
import torch

import ceilings
import generation
import latency
import proofs
import test_training
import training
from fastwave import Engine, WaveNetConfig
from fastwave.runtime import library
from fastwave.tools import measure
from shapes import BASE, CONFIGS

DEVICE = generation.Device("cpu", "made up", 4e12, {"float32": 6e13, "bfloat16": 8e14}, 132, 228 << 10, 2e9)
MODELS = {name: WaveNetConfig(**{**BASE, **CONFIGS[name]}) for name in ("categorical", "categorical-linear-ids")}


def in_turn(runs, place, rounds):
    """As the fixture of bench/conftest.py, without its options."""
    return [[ceilings.stopwatch(run, place) for _ in range(rounds)] for run in runs]


@pytest.fixture
def engines(machine):
    """The cuda backend on the CPU; engines that the bench has cached are dropped afterwards."""
    yield
    generation.proved.cache_clear()


KERNELS = [("float32", "auto"), ("bfloat16", "general"), ("bfloat16", "cluster"), ("bfloat16", "cluster-unfolded")]


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("dtype", "kernel"), KERNELS)
def test_a_row_has_its_proof_its_kernel_and_its_limit(engines, model, dtype, kernel):
    rows = []
    wanted = [(model, MODELS[model], dtype, kernel)]

    generation.compare(wanted, 3, DEVICE, rows, in_turn, seconds=0.02)

    (row,) = rows
    ran = "general" if kernel == "auto" else kernel
    assert row.name == f"generate {model}, cuda engine {ran}"
    assert f"{dtype}: error" in row.proof and f"kernel {ran}: " in row.proof
    assert (row.batch, row.dtype, row.device) == (3, dtype, "made up")
    assert row.p20 <= row.median <= row.p80 < row.limit
    assert row.microseconds == pytest.approx(3e6 / row.median)
    assert "us/sample" in measure.table(rows)


@pytest.mark.slow
def test_an_engine_whose_proof_fails_is_reported_after_the_others_have_their_rows(engines, monkeypatch):
    def wrong(engine, streams):
        assert engine.dtype == "float32", "planted"
        return "planted"

    monkeypatch.setattr(generation, "prove", wrong)
    rows = []
    wanted = [("categorical", MODELS["categorical"], dtype, "general") for dtype in ("bfloat16", "float32")]

    with pytest.raises(AssertionError, match="categorical, bfloat16, kernel general: planted"):
        generation.compare(wanted, 1, DEVICE, rows, in_turn, seconds=0.02)

    assert [row.dtype for row in rows] == ["float32"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_engine_with_a_wrong_weight_is_not_proved(dtype):
    config = MODELS["categorical"]
    model = copy.deepcopy(proofs.prepared(config, 2)[0])
    assert f"{dtype}: error" in proofs.prove(Engine(model, "cpu", dtype), 2)
    with torch.no_grad():
        model.get_parameter("skip.weight")[0].mul_(1.5)
    with pytest.raises(AssertionError, match=rf"{dtype}: error .*limit"):
        proofs.prove(Engine(model, "cpu", dtype), 2)


@pytest.mark.slow
def test_streams_draw_different_noise_and_a_second_run_continues_the_first(engines):
    model = generation.proved("categorical", MODELS["categorical"], "float32", "auto")
    run = generation.running(model.engine, 3)
    first, second = run(40), run(40)

    expected = model.engine.run(model.engine.start(3), 80)

    assert torch.equal(torch.cat([first, second], dim=1), expected)
    assert len(expected.unique(dim=0)) == 3


@pytest.mark.parametrize(("rate", "most", "expected"), [(1e4, 10_000, 1000), (1e4, 300, 300), (1.0, 300, 1)])
def test_a_run_has_the_samples_that_fit_the_seconds_within_1_and_the_most(monkeypatch, rate, most, expected):
    monkeypatch.setattr(ceilings, "stopwatch", lambda run, place: run() / rate)
    assert generation.samples_in(0.1, lambda samples: samples, most, "cpu") == expected


def plan(kernel, **fields):
    sizes = {"blocks_per_cluster": 0, "layer_blocks": 0, "streams_per_block": 8, "blocks": 8, "shared": 226_800}
    return library.CudaPlan(kernel=kernel, reason="", workspace=256, **{**sizes, **fields})


# A product in the chain takes 29 + 24 = 53 cycles and a message between blocks 180, at 2 GHz (see generation.py).
@pytest.mark.parametrize(
    ("kernel", "streams", "dtype", "microseconds", "because"),
    [
        ("cluster", 1, "bfloat16", (23 * 53 + 7 * 180) / 2e3, "a chain of 23 products"),
        ("cluster-unfolded", 128, "bfloat16", (42 * 53 + 7 * 180) / 2e3, "a chain of 42 products"),
        ("cluster", 129, "bfloat16", 2 * (23 * 53 + 7 * 180) / 2e3, "2 times"),  # 16 clusters of 8 fit 132 at once
        ("general", 1, "bfloat16", (2 * 868_800 + 20 * 2 * 64 * 4) / 4e6, "1.75 MB at 4000 GB/s"),
        ("general", 1024, "float32", 1024 * 2 * 868_800 / 6e7, "1779.30 MFLOP at 60000 GFLOP/s"),
    ],
)
def test_the_limit_is_the_slowest_of_memory_arithmetic_and_chain(kernel, streams, dtype, microseconds, because):
    clustered = {"blocks_per_cluster": 8, "layer_blocks": 5} if kernel != "general" else {}
    config = WaveNetConfig.preset("ref")
    ceiling = generation.GenerationCeiling(plan(kernel, **clustered), config, dtype, DEVICE)

    assert config.weights_read_per_sample == 868_800
    assert 1e6 * streams / ceiling.samples_per_second(streams) == pytest.approx(microseconds)
    first, *others = ceiling.explain(streams).split("; ")
    assert because in first
    assert len(others) == (2 if kernel != "general" else 1)
    rings = f"{streams * 20 * 2 * 64 * 4 / 1e6:.3g} MB"  # all that a cluster moves: its weights stay on the chip
    assert kernel == "general" or any(other.startswith(rings) for other in others)


def test_the_latency_fit_recovers_the_terms_of_made_up_times():
    layers = [1, 2, 3, 4, 6, 8, 10, 12, 16, 20]
    blocks = [1, 1, 1, 1, 2, 2, 3, 3, 4, 5]
    seconds = [9e-7 + 1.1e-7 * count + 2.5e-7 * (some - 1) for count, some in zip(layers, blocks, strict=True)]

    exact = latency.terms_of(layers, blocks, seconds)
    assert (exact.tail, exact.layer, exact.hop) == pytest.approx((9e-7, 1.1e-7, 2.5e-7))
    assert exact.residual < 1e-15

    rough = latency.terms_of(layers, blocks, [each + 1e-8 * (-1) ** i for i, each in enumerate(seconds)])
    assert (rough.tail, rough.layer, rough.hop) == pytest.approx((9e-7, 1.1e-7, 2.5e-7), rel=0.2)
    assert 5e-9 < rough.residual <= 1e-8


def test_a_latency_fit_of_networks_that_cannot_tell_the_terms_apart_is_refused():
    with pytest.raises(ValueError, match="do not tell layer, hop and tail apart"):
        latency.terms_of([1, 2, 3, 4], [1, 1, 1, 1], [1.0, 2.0, 3.0, 4.0])


def test_rows_of_a_training_step_have_a_limit_and_are_compared_with_the_first():
    window = training.Window("two layers", WaveNetConfig.preset("small", dilations=(1, 2)), 1, 256)
    steps = [training.Step(means, "float32", window) for means in ("eager", "fused")]
    rows = []
    test_training.add_rows(rows, "step", steps, [[1.0, 1.2], [0.5, 0.6]], dict.fromkeys(steps, "proved"), [1e9, 5e8])
    assert [row.times_baseline for row in rows] == [1, 2]
    assert [row.share_of_baseline_memory for row in rows] == [1, 0.5]
    assert all(0 < row.median < row.limit for row in rows)


@pytest.mark.parametrize("model", ["categorical", "categorical-linear-ids", "mixture", "gaussian"])
def test_every_means_of_a_training_step_is_proved(model):
    window = training.Window(model, WaveNetConfig(**{**BASE, **CONFIGS[model]}), 2, 128)
    means = [each for each in test_training.CPU_MEANS if each[0] != "compiled"]
    steps = [training.Step(*each, window) for each in means]
    able, proofs = test_training.prove(steps, window, {})
    assert able == steps and all("gradient" in name or "skip sum" in name for name in proofs.values())


def test_a_training_step_with_a_wrong_weight_is_not_proved():
    window = training.Window("wrong", MODELS["categorical"], 2, 128)
    steps = [training.Step(means, "float32", window) for means in ("eager", "fused")]
    with torch.no_grad():
        steps[1].model.get_parameter("residual.weight")[0, 1, 1] += 1e-3
    with pytest.raises(AssertionError):
        test_training.prove(steps, window, {})
