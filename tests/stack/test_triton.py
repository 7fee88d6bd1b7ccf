"""The Triton kernels on Triton's interpreter: the numbers, without a GPU. `test_triton_gpu.py` is the same compiled.

Triton reads TRITON_INTERPRET when it is imported, which torch itself may do early: test_triton_process.py runs these
tests in a process that has it from the start.
"""

import os

import pytest
import torch

from fastwave.config import PRESETS, WaveNetConfig
from fastwave.errors import BackendUnavailable
from fastwave.stack import operator
from fastwave.stack.operator import TENSORS
from stack_checks import CASES, MODES, Case, by_kernels, check_saved, fill_with_nan, inputs, judge, preset_case, split

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("run by test_triton_process.py, or with TRITON_INTERPRET=1", allow_module_level=True)
pytest.importorskip("triton")
from fastwave.kernels import gated_layer, residual_stack

SMALL = Case(1, 37, 6, 9, 20, 5, 2, (1, 8, 3))  # two layers of z are as wide as the skip sum: recompute has two groups


@pytest.fixture(autouse=True)
def _nothing_left_unwritten(monkeypatch):
    fill_with_nan(monkeypatch)


# Each where it is worth its seconds: blocks are 128 channels in bfloat16, 32 in float32. On a GPU every pair runs.
FLOAT32 = [name for name in CASES if name != "wider than a block"]
AUTOCAST = ["two steps, batch 3", "odd widths, a dilation beyond T", "one layer"]
PAIRS = [
    *((name, "float32") for name in FLOAT32),
    *((name, "bfloat16") for name in CASES if name not in ("1000 steps", "condition, batch 3")),
    *((name, "autocast") for name in AUTOCAST),
]


@pytest.mark.parametrize(("name", "mode"), PAIRS)
def test_skip_sum_and_every_gradient_are_as_close_as_eager(name, mode):
    judge(residual_stack, CASES[name], mode)


def structures():
    """Presets with layers of their own: `small` has those of `ref`."""
    presets = {name: WaveNetConfig.preset(name) for name in PRESETS}
    return {(p.dilations, p.kernel_size, p.condition_channels): name for name, p in reversed(presets.items())}.values()


@pytest.mark.parametrize("name", structures())
def test_the_layers_of_every_preset(name):
    judge(residual_stack, preset_case(WaveNetConfig.preset(name), steps=60), "float32")


@pytest.mark.parametrize("mode", MODES)
def test_recomputing_z_changes_no_bit_of_a_gradient(mode):
    dtype, products = MODES[mode]
    tensors, grad = inputs(SMALL, dtype)
    _, saved = by_kernels(residual_stack, tensors, grad, SMALL.dilations, products)
    _, again = by_kernels(residual_stack, tensors, grad, SMALL.dilations, products, recompute=True)
    assert all(torch.equal(a, b) for a, b in zip(saved, again, strict=True))
    judge(residual_stack, SMALL, mode, recompute=True)


def test_tf32_is_asked_for_and_float32_is_not_tf32():
    """Both through the same launches; the interpreter multiplies both in float32."""
    tensors, _ = inputs(SMALL, torch.float32)
    seen = []

    def launch(kernel, grid, arguments, constants):
        seen.append(constants["PRECISION"])
        residual_stack._launch(kernel, grid, arguments, constants)

    skip_sum, *_ = residual_stack.forward(*split(tensors), SMALL.dilations, "tf32", False, launch)
    assert set(seen) == {"tf32"}
    seen.clear()
    same, *_ = residual_stack.forward(*split(tensors), SMALL.dilations, "float32", False, launch)
    assert set(seen) == {"ieee"}
    torch.testing.assert_close(skip_sum, same)


@pytest.mark.parametrize("mode", MODES)
def test_two_runs_agree_bit_for_bit(mode):
    dtype, products = MODES[mode]
    tensors, grad = inputs(SMALL, dtype)
    once = by_kernels(residual_stack, tensors, grad, SMALL.dilations, products)
    twice = by_kernels(residual_stack, tensors, grad, SMALL.dilations, products)
    assert torch.equal(once[0], twice[0]) and all(torch.equal(a, b) for a, b in zip(once[1], twice[1], strict=True))


def test_inputs_need_not_be_contiguous():
    tensors, grad = inputs(SMALL, torch.float32)
    strided = [None if each is None else each.transpose(0, -1).contiguous().transpose(0, -1) for each in tensors]
    assert not strided[0].is_contiguous() and not strided[1].is_contiguous() and not strided[7].is_contiguous()
    straight = by_kernels(residual_stack, tensors, grad, SMALL.dilations, "float32")
    crooked = by_kernels(
        residual_stack, strided, grad.transpose(0, 1).contiguous().transpose(0, 1), SMALL.dilations, "float32"
    )
    assert torch.equal(straight[0], crooked[0])
    assert all(torch.equal(a, b) for a, b in zip(straight[1], crooked[1], strict=True))


@pytest.mark.parametrize("only", TENSORS)
def test_a_gradient_is_the_same_when_it_is_needed_alone(only):
    tensors, grad = inputs(SMALL, torch.float32)
    _, everything = by_kernels(residual_stack, tensors, grad, SMALL.dilations, "float32")
    _, alone = by_kernels(residual_stack, tensors, grad, SMALL.dilations, "float32", needed={only})
    for name, gradient, expected in zip(TENSORS, alone, everything, strict=True):
        assert torch.equal(gradient, expected) if name == only else not gradient.numel()


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_it_saves_what_it_says(mode, recompute):
    check_saved(residual_stack, SMALL, mode, recompute)


def test_layer_inputs_are_saved_in_the_dtype_of_the_products():
    tensors, _ = inputs(SMALL, torch.float32)
    for products, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        skip_sum, layer_inputs, z = residual_stack.forward(*split(tensors), SMALL.dilations, products, False)
        assert skip_sum.dtype == torch.float32 and layer_inputs.dtype == z.dtype == dtype
        assert layer_inputs.shape == (3, 1, 37, 6) and z.shape == (1, 37, 27)
        assert torch.equal(layer_inputs[0], tensors[0].to(dtype))


def test_a_layers_output_and_its_gradient_pass_to_the_next_layer_in_float32():
    """Each layer adds 2^-10 to 1, which bfloat16 with its 8 bits would lose every time."""
    case = Case(1, 2, 4, 3, 5, 0, 2, (1,) * 9)
    tensors, grad = inputs(case, torch.float32)
    tensors[0], tensors[3], tensors[4] = torch.ones(1, 2, 4) + 2**-10, torch.zeros(8, 3, 4), torch.full((8, 4), 2**-10)
    upstream = []

    def launch(kernel, grid, arguments, constants):
        upstream.append(arguments.get("upstream"))
        residual_stack._launch(kernel, grid, arguments, constants)

    _, layer_inputs, z = residual_stack.forward(*split(tensors), case.dilations, "bfloat16", False, launch)
    expected = torch.tensor([1 + 2**-10 * (layer + 1) for layer in range(9)]).bfloat16()
    assert torch.equal(layer_inputs, expected[:, None, None, None].expand_as(layer_inputs))
    _, weights, condition = split(tensors)
    residual_stack.backward(grad, layer_inputs, z, weights, condition, case.dilations, "bfloat16", TENSORS, launch)
    assert [each.dtype for each in upstream if each is not None] == [torch.float32] * 8


def test_autocast_around_the_call_changes_nothing():
    tensors, grad = inputs(SMALL, torch.float32)
    outside = by_kernels(residual_stack, tensors, grad, SMALL.dilations, "bfloat16")
    with torch.autocast("cpu", dtype=torch.float16):
        inside = by_kernels(residual_stack, tensors, grad, SMALL.dilations, "bfloat16")
    assert torch.equal(outside[0], inside[0])
    assert all(torch.equal(a, b) for a, b in zip(outside[1], inside[1], strict=True))


def test_the_partition_of_a_weight_gradient_depends_on_shapes_alone():
    """Few parts for large weights, never more than there are units of time, never above the limit of memory."""
    tensors, _ = inputs(SMALL, torch.float32)
    stack = residual_stack._Stack(*split(tensors), SMALL.dilations, "float32", residual_stack._launch)
    short = residual_stack._WeightSums(stack, (3, 2, 6, 18), True)
    assert short.partials.shape[0] == 2  # two units of 32 steps
    stack.steps = 10**6
    assert residual_stack._WeightSums(stack, (3, 2, 6, 18), True).partials.shape[0] == 132  # of 2 tiles each
    assert residual_stack._WeightSums(stack, (300, 2, 160, 160), True).partials.shape[0] == 2  # 2^25 numbers


def test_compiled_kernels_refuse_a_cpu_tensor(monkeypatch):
    monkeypatch.setattr(gated_layer, "INTERPRETED", False)
    tensors, _ = inputs(SMALL, torch.float32)
    with pytest.raises(BackendUnavailable, match=r"triton: .* got a tensor on cpu.* Move the model"):
        residual_stack.forward(*split(tensors), SMALL.dilations, "float32", False)


def test_the_operator_runs_on_these_kernels():
    tensors, grad = inputs(SMALL, torch.float32)
    leaves = [each.clone().requires_grad_() for each in tensors]
    x, weights, condition = split(leaves)
    skip_sum = operator.residual_stack(x, weights, SMALL.dilations, condition, backend="triton")
    skip_sum.backward(grad)
    expected, gradients = by_kernels(residual_stack, tensors, grad, SMALL.dilations, "float32")
    assert torch.equal(skip_sum, expected)
    assert all(torch.equal(leaf.grad, gradient) for leaf, gradient in zip(leaves, gradients, strict=True))
