"""What every kernel of the residual stack must keep: the cases, and how a result is judged."""

from __future__ import annotations

import dataclasses
import math

import torch

from fastwave import reference
from fastwave.reference import StackWeights
from fastwave.stack import buffers
from fastwave.stack.operator import TENSORS
from fastwave.stack.sizes import StackSizes
from tolerances import assert_as_close_as_eager

# dtype of x and the weights, dtype of the products; the last is a training step under autocast
MODES = {
    "float32": (torch.float32, "float32"),
    "bfloat16": (torch.bfloat16, "bfloat16"),
    "autocast": (torch.float32, "bfloat16"),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """The sizes of one call, by the letters of SPEC."""

    B: int
    T: int
    R: int
    G: int
    S: int
    C: int
    K: int
    dilations: tuple[int, ...]


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


def inputs(case: Case, dtype: torch.dtype, device: str = "cpu") -> tuple[list[torch.Tensor | None], torch.Tensor]:
    """The nine tensors in the order of TENSORS, and a gradient of the skip sum."""
    generator = torch.Generator().manual_seed(7)

    def draw(*shape, scale=1.0):
        return (torch.randn(*shape, generator=generator, dtype=torch.float64) * scale).to(device, dtype)

    B, T, R, G, S, C, K = case.B, case.T, case.R, case.G, case.S, case.C, case.K
    L = len(case.dilations)
    tensors = [
        draw(B, T, R),
        draw(L, K, R, 2 * G, scale=(K * R) ** -0.5),
        draw(L, 2 * G, scale=0.3),
        draw(L - 1, G, R, scale=(L * G) ** -0.5),
        draw(L - 1, R, scale=0.1),
        draw(L, G, S, scale=G**-0.5),
        draw(S, scale=0.3),
        draw(B, T, C) if C else None,
        draw(L, C, 2 * G, scale=C**-0.5) if C else None,
    ]
    return tensors, draw(B, T, S)


def split(tensors):
    """The nine tensors -> x, the weights, the condition, as `forward` takes them."""
    x, *always, condition, condition_weight = tensors
    return x, StackWeights(*always, condition_weight), condition


def by_autograd(tensors, grad, dilations, autocast=False):
    """Skip sum and the gradients of all nine by the reference; None for an absent one."""
    leaves = [None if each is None else each.detach().clone().requires_grad_() for each in tensors]
    with torch.autocast(grad.device.type, dtype=torch.bfloat16, enabled=autocast):
        x, weights, condition = split(leaves)
        skip_sum, _ = reference.residual_stack(x, weights, dilations, condition)
    present = [leaf for leaf in leaves if leaf is not None and leaf.numel()]
    gradients = iter(torch.autograd.grad(skip_sum, present, grad.to(skip_sum.dtype)))
    return skip_sum.detach(), [None if leaf is None or not leaf.numel() else next(gradients) for leaf in leaves]


def by_kernels(kernels, tensors, grad, dilations, products, recompute=False, needed=TENSORS):
    """The same by the kernels; empty for an absent one and for one not needed."""
    x, weights, condition = split(tensors)
    skip_sum, *saved = kernels.forward(x, weights, condition, dilations, products, recompute)
    gradients = kernels.backward(grad, *saved, weights, condition, dilations, products, needed)
    return skip_sum, [gradients[name] if name in gradients else grad.new_empty(0) for name in TENSORS]


def check_saved(kernels, case: Case, mode: str, recompute: bool) -> None:
    """Fail unless `forward` saves what `saved` says, in shape and dtype."""
    dtype, products = MODES[mode]
    x, weights, condition = split(inputs(case, dtype)[0])
    _, *tensors = kernels.forward(x, weights, condition, case.dilations, products, recompute)
    sizes = StackSizes.of(x.shape[:2], weights)
    assert sizes == (case.B, case.T, case.R, case.G, case.S, case.C, case.K, len(case.dilations))
    assert [(tuple(each.shape), each.dtype) for each in tensors] == list(
        kernels.saved(sizes, dtype, products, recompute)
    )


def judge(kernels, case: Case, mode: str, recompute: bool = False, device: str = "cpu") -> None:
    """Fail unless the skip sum and all gradients are as close to float64 as eager PyTorch."""
    dtype, products = MODES[mode]
    tensors, grad = inputs(case, dtype, device)
    skip_sum, gradients = by_kernels(kernels, tensors, grad, case.dilations, products, recompute)
    doubles = [None if each is None else each.double() for each in tensors]
    exact, exact_gradients = by_autograd(doubles, grad.double(), case.dilations)
    eager, eager_gradients = by_autograd(tensors, grad, case.dilations, mode == "autocast")
    assert_as_close_as_eager(skip_sum, eager.to(dtype), exact)
    for name, actual, near, measure, like in zip(
        TENSORS, gradients, eager_gradients, exact_gradients, tensors, strict=True
    ):
        if measure is None:
            assert not actual.numel(), name
            continue
        assert actual.shape == like.shape, name
        assert_as_close_as_eager(actual, near, measure, f"gradient of {name}")


def fill_with_nan(monkeypatch) -> None:
    """Whatever is allocated unwritten is NaN, so that an element nobody writes fails every comparison."""
    empty = torch.empty

    def filled(*shape, **options):
        tensor = empty(*shape, **options)
        return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

    monkeypatch.setattr(torch, "empty", filled)
    monkeypatch.setattr(buffers, "SMALLEST", math.inf)  # no memory from elsewhere
