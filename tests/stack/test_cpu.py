"""The residual stack in C++: as close to float64 as eager PyTorch, on every instruction set, at every odd size."""

import pytest
import torch

from fastwave import InputError
from fastwave.config import PRESETS, WaveNetConfig
from fastwave.runtime import library
from fastwave.stack import cpu as cpu_stack
from fastwave.stack.operator import TENSORS
from fastwave.stack.sizes import StackSizes
from stack_checks import CASES, MODES, Case, by_autograd, by_kernels, fill_with_nan, inputs, judge, preset_case, split
from tolerances import assert_as_close_as_eager

ISAS = library.cpu_features().instruction_sets
MORE = {  # beyond what an interpreter has time for: tiles of 192 and 96 rows, and parts of several tiles
    "many tiles": Case(1, 2400, 5, 6, 7, 2, 2, (1, 500)),
    "some tiles": Case(1, 1200, 5, 6, 7, 2, 2, (1, 300)),
    "a tile left out": Case(1, 900, 5, 6, 7, 2, 2, (1, 116, 1)),
    "a tile and one row": Case(2, 193, 33, 17, 40, 0, 3, (96, 1)),
    "wide": Case(1, 200, 96, 100, 260, 7, 2, (1, 64)),
}
LATE = [  # the first skip sum: needs the last row of a tile, at an edge, the last step; needs nothing or all before it
    ("some tiles", 491), ("a tile left out", 501), ("many tiles", 192), ("many tiles", 2399), ("wide", 97),
    ("a tile and one row", 192),
    ("five taps", 30), ("one layer", 20), ("condition, batch 3", 100), ("odd widths, a dilation beyond T", 128),
]  # fmt: skip


class Kernels:
    """cpu_stack with products on one instruction set."""

    def __init__(self, isa, first=0):
        self.options = (isa, first)

    def forward(self, *arguments):
        return cpu_stack.forward(*arguments, *self.options)

    def backward(self, *arguments):
        return cpu_stack.backward(*arguments, *self.options)


@pytest.fixture(autouse=True)
def _nan(monkeypatch):
    fill_with_nan(monkeypatch)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [*CASES, *MORE])
@pytest.mark.parametrize("isa", ISAS)
def test_skip_sum_and_every_gradient_are_as_close_as_eager(isa, name, mode, recompute):
    judge(Kernels(isa), {**CASES, **MORE}[name], mode, recompute)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("mode", ["float32", "autocast"])
@pytest.mark.parametrize(("name", "first"), LATE)
@pytest.mark.parametrize("isa", ISAS)
def test_skip_sums_from_a_later_step_on_are_the_same_and_so_are_their_gradients(isa, name, first, mode, recompute):
    """What none of them depends on is not computed, and saved as zeros."""
    case, (dtype, products) = {**CASES, **MORE}[name], MODES[mode]
    tensors, grad = inputs(case, dtype)
    options = (case.dilations, products, recompute)
    whole, _ = by_kernels(Kernels(isa), tensors, grad, *options)
    assert torch.equal(by_kernels(Kernels(isa, first), tensors, grad[:, first:], *options)[0], whole[:, first:])
    x, weights, condition = split(tensors)
    _, *saved = Kernels(isa, first).forward(x, weights, condition, *options)
    assert not any(each.isnan().any() for each in saved)
    doubles = [None if each is None else each.double() for each in tensors]
    generator, actual, eager, exact = torch.Generator().manual_seed(1), [], [], []
    for _ in range(max(4, 16 // (case.T - first))):  # of a few numbers, eager may be far more exact by chance
        grad = torch.randn(grad.shape, generator=generator, dtype=torch.float64).to(dtype)
        grad[:, :first] = 0
        actual.append(by_kernels(Kernels(isa, first), tensors, grad[:, first:], *options)[1])
        eager.append(by_autograd(tensors, grad, case.dilations, mode == "autocast")[1])
        exact.append(by_autograd(doubles, grad.double(), case.dilations)[1])
    for index, measure in enumerate(exact[0]):
        if measure is not None:
            together = (torch.stack([each[index] for each in draws]) for draws in (actual, eager, exact))
            assert_as_close_as_eager(*together, TENSORS[index])


@pytest.mark.parametrize("mode", ["float32", "autocast"])
@pytest.mark.parametrize("name", PRESETS)
def test_the_layers_of_every_preset(name, mode):
    judge(Kernels(None), preset_case(WaveNetConfig.preset(name), steps=300), mode)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["float32", "autocast"])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_whole(name, mode):
    p = WaveNetConfig.preset(name)
    widths = (p.residual_channels, p.gate_channels, p.skip_channels, p.condition_channels)
    judge(Kernels(None), Case(1, 600, *widths, p.kernel_size, p.dilations), mode, recompute=True)


@pytest.mark.parametrize("products", ["float32", "bfloat16"])
@pytest.mark.parametrize("isa", ISAS)
def test_inputs_need_not_be_contiguous(isa, products):
    case = Case(2, 37, 6, 9, 20, 5, 2, (1, 8, 3))
    tensors, grad = inputs(case, torch.float32)
    strided = [each.transpose(0, -1).contiguous().transpose(0, -1) for each in tensors]
    assert not strided[0].is_contiguous() and not strided[1].is_contiguous()
    straight = by_kernels(Kernels(isa), tensors, grad, case.dilations, products)
    crooked = by_kernels(
        Kernels(isa), strided, grad.transpose(0, 1).contiguous().transpose(0, 1), case.dilations, products
    )
    assert torch.equal(straight[0], crooked[0])
    assert all(torch.equal(a, b) for a, b in zip(straight[1], crooked[1], strict=True))


def test_it_saves_layer_inputs_and_two_factors_of_z_in_the_dtypes_of_the_products():
    sizes = StackSizes(batch=2, time=3, residual=4, gate=5, skip=6, condition=7, taps=8, layers=9)
    float32, half = torch.float32, (torch.bfloat16, torch.int16)
    for products, (inputs_dtype, factors_dtype) in (("float32", (float32, float32)), ("bfloat16", half)):
        layer_inputs = ((9, 2, 3, 4), inputs_dtype)
        for recompute, shape in ((False, (9, 2, 3, 2, 5)), (True, (0,))):
            assert cpu_stack.saved(sizes, float32, products, recompute) == (layer_inputs, (shape, factors_dtype))


def test_a_future_sample_changes_nothing_before_it():
    case = Case(1, 400, 6, 9, 20, 0, 2, (1, 8, 300))
    tensors, _ = inputs(case, torch.float32)
    before, *_ = Kernels(None).forward(*split(tensors), case.dilations, "float32", True)
    tensors[0][0, 250:] += 1
    after, *_ = Kernels(None).forward(*split(tensors), case.dilations, "float32", True)
    assert torch.equal(before[:, :250], after[:, :250])
    assert not torch.equal(before[:, 250], after[:, 250])


def test_a_nan_reaches_every_sample_that_sees_it():
    case = Case(1, 60, 6, 9, 20, 0, 2, (1, 8))
    tensors, grad = inputs(case, torch.float32)
    tensors[0][0, 30, 2] = float("nan")
    for isa in ISAS:
        for products in ("float32", "bfloat16"):
            skip_sum, gradients = by_kernels(Kernels(isa), tensors, grad, case.dilations, products)
            reached = skip_sum[0].isnan().any(-1).nonzero().flatten().tolist()
            assert reached == [30, 31, 38, 39], (isa, products)
            assert gradients[1].isnan().any()


def test_no_steps_or_no_batch_give_empty_results_and_zero_gradients():
    case = Case(1, 4, 3, 2, 4, 0, 2, (1, 2))
    tensors, _ = inputs(case, torch.float32)
    for shape in ((1, 0, 3), (0, 4, 3)):
        tensors[0] = torch.zeros(shape)
        skip_sum, gradients = by_kernels(Kernels(None), tensors, torch.zeros(*shape[:2], 4), case.dilations, "float32")
        assert skip_sum.shape == (*shape[:2], 4) and gradients[0].shape == shape
        assert all(not gradient.any() for gradient in gradients[1:7])


def test_the_library_refuses_what_makes_no_sense():
    sizes = dict.fromkeys(("batch", "time", "residual", "gate", "skip", "layers"), 1) | {"condition": 0, "taps": 2}
    with pytest.raises(InputError, match="taps is 1, it must be 2"):
        library.ResidualStack({**sizes, "taps": 1}, [1], "float32", 1, None).forward(8, input=8, layer_inputs=8)
    with pytest.raises(InputError, match="'float64' is not known"):
        library.ResidualStack(sizes, [1], "float64", 1, None)
