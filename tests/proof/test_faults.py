"""A sound kernel passes its proof, and a planted fault of any kind does not. Stand-ins take the place of the GPU: the
CUDA sources compiled for the CPU, and for training the C++ stack or Triton's interpreter.
"""

import dataclasses
import functools
import importlib.util
import json
import math
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import proof_on_cpu
from fastwave import BackendUnavailable, Engine, generate
from fastwave.cli.main import main
from fastwave.distributions import Sampling
from fastwave.engine import precision
from fastwave.proof import candidates, generation, process, report, training
from fastwave.proof.closeness import NotProved
from fastwave.runtime import gpu, library, proving
from fastwave.runtime.dispatch import choose
from fastwave.runtime.prover import Limits, Prover
from fastwave.runtime.verdict import SUBJECTS, Ruling, Verdict
from fastwave.stack import cpu as cpp_stack
from fastwave.stack.operator import TENSORS
from shapes import make_model

GENERAL, CLUSTER, GENERAL_BFLOAT16 = SUBJECTS["generation"]
STAND_IN = Path(proof_on_cpu.__file__)
LIMITS = Limits(start=60.0, subject=10.0, compiled=60.0, total=200.0)


def stand_in(folder, faults, limits=LIMITS, before=()):
    """A prover whose process is proof_on_cpu.py."""
    return Prover(limits, "quick", [*before, sys.executable, str(STAND_IN), str(folder), json.dumps(faults)])


@pytest.fixture
def proofs(tmp_path, monkeypatch):
    """A cache of its own, and a process that has asked nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(STAND_IN.parent))
    proving.forget()
    yield
    proving.forget()


# Each fault in this process, which none of these breaks


@pytest.mark.slow
@pytest.mark.parametrize("subject", SUBJECTS["generation"], ids=str)
@pytest.mark.parametrize(
    ("fault", "outcome", "detail"),
    [
        ("", "passed", "float32: error|bfloat16: error"),
        ("number", "wrong", "outputs of a small model: (float32|bfloat16): error"),
        ("tap", "wrong", "outputs of a small model: (float32|bfloat16): error"),
        ("nan", "wrong", "1 of 1920 values are not finite"),
        (
            "draw",
            "wrong",
            r"samples of a small model: \d+ of 48 are not those of their uniforms, first sample 7 of stream 0",
        ),
        ("no memory", "unfinished", "the GPU had no room"),
        ("device", "failed", "NativeError: .*CUDA error 719"),
    ],
)
def test_a_sound_kernel_of_generation_passes_and_a_fault_is_named(machine, subject, fault, outcome, detail):
    found = process.prove(subject, "quick", proof_on_cpu.make({str(subject): fault}, machine))
    machine.answer("cudaLaunchKernelEx", 0)
    assert found[0] == outcome, found
    assert re.search(detail, found[1]), found[1]


@pytest.mark.slow
def test_the_control_of_the_tests_below_is_sound(machine):
    """The race of the stand-in itself, without a fault: it is right, and slower than the CPU engine."""
    outcome, _, rates = process.prove(GENERAL, "quick", proof_on_cpu.make({str(GENERAL): "slow"}, machine))
    case, raced = next(iter(rates.items()))
    assert outcome == "passed" and case == "1 stream of a tiny model in float32"
    assert set(raced) == {"cuda", "cpu", "reference"} and 0 < raced["cuda"] < raced["cpu"]
    assert Verdict(outcome, "", rates).objection("cuda").startswith("it is right, but cpu is faster")


def broken_stack(fault, size):
    """The C++ stack in the place of Triton's, with a fault of this size."""

    def forward(*arguments):
        skip_sum, *saved = cpp_stack.forward(*arguments)
        if fault == "unwritten":
            skip_sum = skip_sum.clone()
            skip_sum[0, 5, 1] = torch.empty(1)
        return skip_sum, *saved

    def backward(*arguments):
        gradients = dict(cpp_stack.backward(*arguments))
        if fault in TENSORS:
            proof_on_cpu.off_in_one_element(gradients[fault], size)
        elif fault == "NaN":
            proof_on_cpu.off_in_one_element(gradients["x"], math.nan)
        elif fault == "shape":
            gradients["x"] = gradients["x"][:1]
        return gradients

    return SimpleNamespace(forward=forward, backward=backward)


@pytest.mark.parametrize("mode", ["float32", "autocast"])
@pytest.mark.parametrize("fault", ["", *TENSORS, "NaN", "unwritten", "shape"])
def test_one_wrong_element_of_any_gradient_is_found(fault, mode):
    size = 1e-3 if mode == "float32" else 0.2  # a smaller one is within the rounding of bfloat16
    arguments = (broken_stack(fault, size), proof_on_cpu.SMALL_CASE, mode, False, "cpu")
    if not fault:
        assert "float32: error" in training.check(*arguments)
        return
    place = "skip sum" if fault == "unwritten" else f"gradient of {'x' if fault in ('NaN', 'shape') else fault}"
    what = {"NaN": "values are not finite", "unwritten": "values are not finite", "shape": "shapes differ"}
    with pytest.raises(NotProved, match=f"{place}, {mode}: .*{what.get(fault, 'float32: error')}"):
        training.check(*arguments)


def test_unwritten_memory_is_nan_only_while_a_proof_runs():
    before = torch.are_deterministic_algorithms_enabled()
    with training.unwritten_is_nan():
        assert torch.empty(1000).isnan().all()
    assert torch.are_deterministic_algorithms_enabled() is before


def test_a_draw_may_be_either_of_two_classes_only_where_its_uniform_is_between_them():
    logits = torch.log(torch.tensor([[[0.25, 0.5, 0.25]]])).expand(1, 4, 3)
    uniforms = torch.tensor([[[0.1], [0.25], [0.5], [0.9]]])
    for drawn, wrong in (([0, 0, 1, 2], [0, 0, 0, 0]), ([0, 1, 1, 2], [0, 0, 0, 0]), ([1, 2, 0, 1], [1, 1, 1, 1])):
        found = generation._not_at(logits, torch.tensor([drawn]), uniforms)
        assert found.tolist() == [[bool(each) for each in wrong]]
    kept = generation._not_at(logits, torch.tensor([[0, 1, 2, 1]]), uniforms, Sampling(top_k=1))
    assert kept.tolist() == [[True, False, True, False]]  # the likeliest alone may be drawn


# What is proved on a real GPU


def test_every_subject_has_its_candidate_of_both_depths():
    for subject in (*SUBJECTS["generation"], *SUBJECTS["training"]):
        if subject.backend == "triton" and importlib.util.find_spec("triton") is None:
            continue
        quick, full = (candidates.candidate(subject, depth) for depth in ("quick", "full"))
        assert 2 <= len(quick.checks) < len(full.checks)


@pytest.mark.slow
def test_a_shape_that_need_not_fit_a_kernel_is_passed_over_and_another_is_refused(machine):
    machine.set(clusters=0)
    shape = generation.Shape("a small model", proof_on_cpu.SMALL, 3)
    with pytest.raises(BackendUnavailable, match="side by side"):
        generation.check(shape, "cluster", "bfloat16")
    assert "side by side" in generation.check(shape._replace(may_not_fit=True), "cluster", "bfloat16")


def test_one_tile_of_every_kernel_is_chosen_and_all_are_back_afterwards():
    stack = SimpleNamespace(configs=lambda kernel, constants, architecture: list("abc")[: len(kernel)])
    stack._tuned = functools.cache(lambda kernel: stack.configs(kernel, {}, 90))
    for index, tiles in ((0, ["a"]), (1, ["b"]), (2, ["b"])):
        with training.tile(stack, index):
            assert stack._tuned("xy") == tiles
        assert stack._tuned("xy") == ["a", "b"]


# Processes of their own, and what auto makes of them


@pytest.mark.slow
def test_auto_generates_on_the_kernels_that_were_proved(machine, cuda_on_cpu, proofs, monkeypatch, capfd):
    monkeypatch.setattr(proving, "PROVER", stand_in(cuda_on_cpu, {}))
    monkeypatch.setattr(precision, "SAMPLES", 20)  # the stand-in makes a few samples a second
    monkeypatch.setattr(precision, "BEGINNING", 4)
    model = make_model("categorical")
    engine = Engine(model, dtype="float32")
    assert engine.backend == "cuda" and "2.0 times as fast as cpu (1 stream of a stand-in)" in engine.choice.why
    assert capfd.readouterr().err.count("\n") == 1  # the line of the proof, and nothing of its process
    assert gpu.identity("generation", 0)["device"] == library.cuda_devices()[0].name
    expected = generate(model, samples=20, seed=2, backend="reference").tokens
    assert torch.equal(generate(model, samples=20, seed=2, dtype="float32").tokens, expected)
    engine = Engine(model, dtype="auto")
    assert (engine.backend, engine.dtype) == ("cuda", "bfloat16") and engine.why_dtype.startswith("bfloat16 costs 0.00")
    assert Engine(model, "cpu", "auto").dtype == "int8"
    assert main(["doctor"]) == 0
    out = capfd.readouterr().out
    assert "float32: cuda (auto took the fastest available, proved here: 2.0 times" in out
    assert main(["info", "--untrained", "small", "--quiet"]) == 0
    assert re.search("generation backend +cuda .auto took the fastest available, proved here", capfd.readouterr().out)


@pytest.mark.slow
def test_auto_falls_back_where_a_kernel_hangs_or_is_wrong(machine, cuda_on_cpu, proofs, monkeypatch):
    faults = {str(GENERAL): "hang", str(GENERAL_BFLOAT16): "number"}
    monkeypatch.setattr(proving, "PROVER", stand_in(cuda_on_cpu, faults, dataclasses.replace(LIMITS, subject=6.0)))
    model = make_model("categorical")
    engine = Engine(model, dtype="float32")
    assert engine.backend == "cpu" and "cuda: it did not end: stopped after 6 s" in engine.choice.why
    assert Engine(model, dtype="bfloat16").plan(1).kernel == "cluster"  # which is as good as it was
    expected = generate(model, samples=20, seed=2, backend="cpu", dtype="float32").tokens
    assert torch.equal(generate(model, samples=20, seed=2, dtype="float32").tokens, expected)
    assert Engine(model, "cuda").backend == "cuda"  # a name asks for no proof


@pytest.mark.slow
def test_a_broken_device_of_one_process_does_not_reach_the_next(machine, cuda_on_cpu, proofs):
    """As a poisoned CUDA context would: the fault stays in the process until its end."""
    verdicts = stand_in(cuda_on_cpu, {str(GENERAL): "device"}).prove(SUBJECTS["generation"], 0)
    assert [verdict.outcome for verdict in verdicts.values()] == ["failed", "passed", "passed"]
    assert "CUDA error 719" in verdicts[GENERAL].detail
    assert torch.equal(
        *(Engine(make_model("categorical"), "cuda", "float32").run(state, 3) for state in fresh_states())
    )


def fresh_states():
    engine = Engine(make_model("categorical"), "cuda", "float32")
    return engine.start(), engine.start()


@pytest.mark.slow
def test_a_model_that_no_cluster_holds_is_made_elsewhere_where_only_the_cluster_is_good(machine, proofs, monkeypatch):
    monkeypatch.setattr(proving, "ruling", lambda *_: Ruling("", "cluster", "faster"))
    engine = Engine(make_model("categorical"), dtype="bfloat16")
    assert (engine.backend, engine.plan(1).kernel) == ("cuda", "cluster")
    machine.set(clusters=0)
    engine = Engine(make_model("categorical"), dtype="bfloat16")
    assert engine.backend == "cpu" and "cuda: " in engine.choice.why and "side by side" in engine.choice.why
    assert engine.run(engine.start(), 5).shape == (1, 5)
    with pytest.raises(BackendUnavailable, match="side by side"):
        Engine(make_model("categorical"), dtype="bfloat16", kernel="cluster")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_triton_kernels_are_proved_by_the_same_process_in_the_interpreter(proofs):
    float32, bfloat16, _ = SUBJECTS["training"]
    prover = stand_in("", {str(bfloat16): "gradient"}, LIMITS, ["env", "TRITON_INTERPRET=1"])
    verdicts = prover.prove((float32, bfloat16), 0)
    assert [verdict.outcome for verdict in verdicts.values()] == ["passed", "wrong"]
    assert verdicts[float32].detail.startswith("a small stack: ")
    assert "gradient of skip_weight, bfloat16: " in verdicts[bfloat16].detail


# The table


@pytest.mark.slow
def test_doctor_proves_again_prints_the_table_and_fails_for_a_bad_kernel(
    machine, cuda_on_cpu, proofs, monkeypatch, capsys
):
    monkeypatch.setattr(proving, "THOROUGH_PROVER", stand_in(cuda_on_cpu, {str(GENERAL_BFLOAT16): "crash"}))
    assert main(["doctor", "--prove"]) == 1
    said = capsys.readouterr()
    assert re.search(r"cuda general +float32 +passed +[0-9.]+ +200 +cpu 100", said.out)
    assert re.search(r"cuda general +bfloat16 +crashed", said.out) and "it crashed: SIGSEGV" in said.out
    assert "training triton: nothing to prove: " in said.err
    assert "float32: cuda (auto took the fastest available, proved here" in said.out
    assert choose("generation", dtype="bfloat16", may_prove=False).kernel == "cluster"


def test_doctor_without_a_gpu_says_that_there_is_nothing_to_prove(proofs, monkeypatch, capsys):
    monkeypatch.setattr(
        "fastwave.runtime.dispatch._missing", lambda role, name: "no GPU" * (name in ("cuda", "triton"))
    )
    assert main(["doctor", "--prove"]) == 0
    assert "generation cuda: nothing to prove: no GPU" in capsys.readouterr().err


def test_how_long_a_proof_may_take_means_nothing_without_one(capsys):
    assert main(["doctor", "--quick"]) == 1
    assert "--quick says how long --prove may take: give both" in capsys.readouterr().err


def test_the_table_has_a_line_for_each_kernel_and_each_case():
    verdicts = {
        GENERAL: Verdict("passed", "figures", {"1 stream": {"cuda": 10.0, "cpu": 5.0}, "16 streams": {"cuda": 99.0,
                                                                                                  "cpu": 6.0}}, 1.5),
        CLUSTER: Verdict("hung", "stopped after 12 s", {}, 12.0),
    }  # fmt: skip
    lines = report.table(verdicts).splitlines()
    assert lines[1].split() == ["cuda", "general", "float32", "passed", "1.5", "10", "cpu", "5"]
    assert lines[2].split() == ["99", "cpu", "6"]
    assert lines[3].split() == ["cuda", "cluster", "bfloat16", "hung", "12.0", "-", "-"]
    assert "generation cuda cluster bfloat16: it did not end: stopped after 12 s" in lines
