"""What every kernel of the residual stack must keep: the cases, and how a result is judged."""

from __future__ import annotations

import math

import torch

from fastwave.proof import training
from fastwave.proof.training import Case, by_autograd, by_kernels, comparisons, split
from fastwave.proof.training import draw_inputs as inputs
from fastwave.stack import buffers
from fastwave.stack.sizes import StackSizes

__all__ = ["by_autograd", "by_kernels", "inputs", "split"]

# Those of every backend: "tf32" is of GPUs alone
MODES = {name: mode for name, mode in training.MODES.items() if name != "tf32"}

CASES = {
    "one step": Case(1, 1, 5, 7, 6, 0, 2, (1, 2)),
    "two steps, batch 3": Case(3, 2, 5, 7, 6, 4, 3, (5, 1)),
    "odd widths, a dilation beyond T": Case(1, 129, 20, 23, 35, 0, 2, (200, 64)),
    "condition, batch 3": Case(3, 129, 18, 33, 16, 5, 3, (2, 40)),
    "five taps": Case(1, 70, 16, 18, 16, 0, 5, (7, 1)),
    "wider than a block": Case(1, 40, 130, 140, 33, 0, 2, (3, 1)),
    "one layer": Case(1, 33, 16, 16, 16, 3, 2, (4,)),
    "1000 steps": Case(1, 1000, 8, 9, 10, 0, 2, (300, 1)),
}


def preset_case(preset, steps: int) -> Case:
    """The layers of a preset, its channels cut to what the interpreter can do."""
    return Case(1, steps, 6, 7, 8, min(preset.condition_channels, 5), preset.kernel_size, preset.dilations)


def check_saved(kernels, case: Case, mode: str, recompute: bool) -> None:
    """Fail unless `forward` saves what `saved` says, in shape and dtype."""
    dtype, products = MODES[mode]
    x, weights, condition = split(inputs(case, dtype)[0])
    _, *tensors = kernels.forward(x, weights, condition, case.dilations, products, recompute)
    sizes = StackSizes.of(x.shape[:2], weights)
    assert sizes == (case.B, case.T, case.R, case.G, case.S, case.C, case.K, len(case.dilations), 0)
    assert [(tuple(each.shape), each.dtype) for each in tensors] == list(
        kernels.saved(sizes, dtype, products, recompute)
    )


def judge(kernels, case: Case, mode: str, recompute: bool = False, device: str = "cpu") -> None:
    """Fail unless the skip sum and all gradients are as close to float64 as eager PyTorch."""
    for what, comparison in comparisons(kernels, case, mode, recompute, device):
        assert not comparison.fault, f"{what}: {comparison.fault}"


def fill_with_nan(monkeypatch) -> None:
    """Whatever is allocated unwritten is NaN, so that an element nobody writes fails every comparison."""
    empty = torch.empty

    def filled(*shape, **options):
        tensor = empty(*shape, **options)
        return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

    monkeypatch.setattr(torch, "empty", filled)
    monkeypatch.setattr(buffers, "SMALLEST", math.inf)  # no memory from elsewhere
