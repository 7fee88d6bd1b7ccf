"""Rows of training: each means proved against float64 on the window it is timed on, then all timed in turn."""

import dataclasses
import statistics

import pytest
import torch

import ceilings
from fastwave import WaveNetConfig
from fastwave.tools import measure
from tolerances import assert_as_close_as_eager
from training import MEANS, STRETCHES, Stack, Step, Window, exact, peak_memory

# batch 2 of so many time steps: a step of plain PyTorch takes about 1.2 s on one core
CPU_STEPS = {"ref": 8192, "small": 16_384, "large": 2048, "vocoder": 2048, "music8x10": 4096}
CPU_MEANS = [
    *(("eager", "float32"), ("compiled", "float32"), ("fused", "float32"), ("recompute", "float32")),
    *(("eager", "bfloat16"), ("fused", "bfloat16"), ("recompute", "bfloat16")),
]
GPU_BATCH, GPU_STEPS = 8, 16_384
GPU_SHAPES = {  # the order of importance, should time run out
    "ref": {},
    "wide": {"residual_channels": 256},
    "large": {},
    "vocoder": {},
    "music8x10": {},
    "small": {},
}


@pytest.mark.parametrize("preset", CPU_STEPS)
def test_training_on_the_cpu(preset, rows, not_measured, in_turn, request):
    window = Window(preset, WaveNetConfig.preset(preset), 2, CPU_STEPS[preset])
    compare(window, CPU_MEANS, rows, not_measured, in_turn, request.config.getoption("--compile"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: not measured")
@pytest.mark.parametrize("shape", GPU_SHAPES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_training_on_a_gpu(shape, dtype, rows, not_measured, in_turn, request):
    config = WaveNetConfig.preset("ref" if shape == "wide" else shape, **GPU_SHAPES[shape])
    window = Window(shape, config, GPU_BATCH, GPU_STEPS, "cuda")
    compare(
        window, [(each, dtype) for each in MEANS], rows, not_measured, in_turn, request.config.getoption("--compile")
    )


def test_peak_memory_at_ref_is_a_half_of_eager_and_a_third_with_recomputation():
    window = Window("ref", WaveNetConfig.preset("ref"), 2, CPU_STEPS["ref"])
    peaks = {means: peak_memory(Step(means, "float32", window)) for means in ("eager", "fused", "recompute")}
    assert peaks["fused"] <= peaks["eager"] / 2, peaks
    assert peaks["recompute"] <= peaks["eager"] / 3, peaks


def compare(window, all_means, rows, not_measured, in_turn, to_compile):
    """Proofs, then the forward pass of the stack, then the whole step; rows of both."""
    steps = [Step(*each, window) for each in all_means]
    if window.name not in to_compile.split(","):
        steps = [step for step in steps if step.means != "compiled"]
        key = f"torch.compile of {described(window)}"
        not_measured[key] = f"it takes minutes to compile; --compile {window.name} does it"
    steps, proofs = prove(steps, window, not_measured)
    stacks = [Stack(step) for step in steps if step.means != "compiled"]
    times = in_turn([stack.run for stack in stacks], window.device)
    add_rows(rows, "forward", [stack.step for stack in stacks], times, proofs, [None] * len(stacks))
    times = in_turn([step.run for step in steps], window.device)
    add_rows(rows, "step", steps, times, proofs, [peak_memory(step) for step in steps])


def described(window):
    return f"{window.name} {window.batch} x {window.steps} on the {'CPU' if window.device == 'cpu' else 'GPU'}"


def prove(steps, window, not_measured):
    """-> the steps that can run, and for each means and dtype what was shown; a wrong one fails."""
    measures = exact(window)
    eager = {step.dtype: results_of(step) for step in steps if step.means == "eager"}
    able, proofs = [], {}
    for step in steps:
        try:
            actual = results_of(step)
        except torch._dynamo.exc.TorchDynamoException as error:
            not_measured[f"torch.compile of {described(window)}"] = str(error).splitlines()[0]
            continue
        loss, of_eager = actual.pop("loss"), eager[step.dtype]
        stretches = actual[STRETCHES]
        assert_as_close_as_eager(loss, stretches.mean(), stretches.double().mean(), "loss, the mean of its stretches")
        figures = [assert_as_close_as_eager(actual[name], of_eager[name], measures[name], name) for name in actual]
        proofs[step] = f"{', '.join(name.removeprefix('gradient of ') for name in actual)}; {STRETCHES}: {figures[0]}"
        able.append(step)
    return able, proofs


def results_of(step):
    """The loss and its stretches, and but for torch.compile the skip sum and the gradients of the stack alone."""
    results = step.results()
    return results if step.means == "compiled" else {**results, **Stack(step).results()}


def add_rows(rows, part, steps, times, proofs, peaks):
    """One a step; the first, which is eager, is the one that others are compared with."""
    window = steps[0].window
    limits = {
        dtype: ceilings.training_ceiling(window.config, dtype, part, window.device)
        for dtype in sorted({step.dtype for step in steps})
    }
    baseline = None
    for step, seconds, peak in zip(steps, times, peaks, strict=True):
        name = f"train {window.name} {window.batch} x {window.steps}, {part}, {MEANS[step.means]}"
        row = measure.make_row(
            name, window.batch * window.steps, seconds, proofs[step], limits[step.dtype],
            dtype=step.dtype, batch=window.batch,
            device=None if window.device == "cpu" else torch.cuda.get_device_name(),
        )  # fmt: skip
        flop, moved = ceilings.training_work(window.config, step.dtype, part)
        baseline = baseline or f"{name}, {step.dtype}"
        rows.append(
            dataclasses.replace(
                row,
                flop_per_second=flop * row.median,
                bytes_per_second=moved * row.median,
                baseline=baseline,
                times_baseline=statistics.median(a / b for a, b in zip(times[0], seconds, strict=True)),
                peak_memory=peak,
                share_of_baseline_memory=None if peak is None else peak / peaks[0],
            )
        )
