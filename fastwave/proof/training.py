"""The residual stack is right in training where its skip sum and all of its gradients are as close to float64 as eager
PyTorch's of the same dtype.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .. import reference
from ..config import WaveNetConfig
from ..reference import StackWeights
from ..runtime.verdict import Rates
from ..stack.operator import TENSORS
from .closeness import Comparison, NotProved, compare
from .race import race

# dtype of x and the weights, dtype of the products; autocast is a training step under it
MODES = {
    "float32": (torch.float32, "float32"),
    "tf32": (torch.float32, "tf32"),
    "bfloat16": (torch.bfloat16, "bfloat16"),
    "autocast": (torch.float32, "bfloat16"),
}
Optional = Tensor | None


@dataclasses.dataclass(frozen=True)
class Case:
    """The sizes of one call, by the letters of docs/spec.md."""

    B: int
    T: int
    R: int
    G: int
    S: int
    C: int
    K: int
    dilations: tuple[int, ...]

    @classmethod
    def of(cls, config: WaveNetConfig, batch: int, steps: int) -> Case:
        """Those of a model."""
        return cls(
            batch, steps, config.residual_channels, config.gate_channels, config.skip_channels,
            config.condition_channels, config.kernel_size, config.dilations,
        )  # fmt: skip


def draw_inputs(case: Case, dtype: torch.dtype, device: str = "cpu") -> tuple[list[Optional], Tensor]:
    """The nine tensors in the order of TENSORS, and a gradient of the skip sum."""
    generator = torch.Generator().manual_seed(7)

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
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


def split(tensors: Sequence[Optional]) -> tuple[Tensor, StackWeights, Optional]:
    """The nine tensors -> x, the weights, the condition, as `forward` takes them."""
    x, *always, condition, condition_weight = tensors
    assert x is not None
    return x, StackWeights._make([*always, condition_weight]), condition


def by_autograd(
    tensors: Sequence[Optional], grad: Tensor, dilations: Sequence[int], autocast: bool = False
) -> tuple[Tensor, list[Optional]]:
    """Skip sum and the gradients of all nine by the reference; None for an absent one."""
    leaves = [None if each is None else each.detach().clone().requires_grad_() for each in tensors]
    with torch.autocast(grad.device.type, dtype=torch.bfloat16, enabled=autocast):
        x, weights, condition = split(leaves)
        skip_sum, _ = reference.residual_stack(x, weights, dilations, condition)
    present = [leaf for leaf in leaves if leaf is not None and leaf.numel()]
    gradients = iter(torch.autograd.grad(skip_sum, present, grad.to(skip_sum.dtype)))
    return skip_sum.detach(), [None if leaf is None or not leaf.numel() else next(gradients) for leaf in leaves]


def by_kernels(
    kernels: ModuleType,
    tensors: Sequence[Optional],
    grad: Tensor,
    dilations: Sequence[int],
    products: str,
    recompute: bool = False,
    needed: Collection[str] = TENSORS,
) -> tuple[Tensor, list[Tensor]]:
    """The same by the kernels; empty for an absent one and for one not needed."""
    x, weights, condition = split(tensors)
    skip_sum, *saved = kernels.forward(x, weights, condition, dilations, products, recompute)
    gradients = kernels.backward(grad, *saved, weights, condition, dilations, products, needed)
    return skip_sum, [gradients[name] if name in gradients else grad.new_empty(0) for name in TENSORS]


def comparisons(
    kernels: ModuleType, case: Case, mode: str, recompute: bool = False, device: str = "cpu"
) -> Iterator[tuple[str, Comparison]]:
    """The skip sum and every gradient, each compared with float64 beside eager PyTorch."""
    dtype, products = MODES[mode]
    tensors, grad = draw_inputs(case, dtype, device)
    skip_sum, gradients = by_kernels(kernels, tensors, grad, case.dilations, products, recompute)
    doubles = [None if each is None else each.double() for each in tensors]
    exact, exact_gradients = by_autograd(doubles, grad.double(), case.dilations)
    with _tf32(mode == "tf32"):
        eager, eager_gradients = by_autograd(tensors, grad, case.dilations, mode == "autocast")
    yield "skip sum", compare(skip_sum, eager.to(dtype), exact)
    for name, actual, near, measure, like in zip(
        TENSORS, gradients, eager_gradients, exact_gradients, tensors, strict=True
    ):
        if measure is not None and near is not None and like is not None:
            yield f"gradient of {name}", compare(actual, near, measure)
        elif actual.numel():
            yield f"gradient of {name}", Comparison("", f"{list(actual.shape)}, where there is none", 0.0)


def check(kernels: ModuleType, case: Case, mode: str, recompute: bool, device: str) -> str:
    """The figures of what came nearest to its limit; NotProved says what is wrong."""
    with unwritten_is_nan():
        found = list(comparisons(kernels, case, mode, recompute, device))
    for what, comparison in found:
        if comparison.fault:
            raise NotProved(f"{what}, {mode}: {comparison.fault}")
    what, nearest = max(found, key=lambda pair: pair[1].share)
    return f"{what}, {nearest.figures}"


@contextlib.contextmanager
def tile(kernels: Any, index: int | None) -> Iterator[None]:
    """While the block runs, every kernel uses one of its tiles; with None, they are tuned as always.

    The results do not depend on it. Tuning compiles all: 24 to 52 kernels a shape, 0.5 to 2 s each.
    """
    if index is None:
        yield
        return
    every, at = kernels.configs, index

    def one(*of_kernel: object) -> list[object]:
        tiles = every(*of_kernel)
        return [tiles[min(at, len(tiles) - 1)]]

    kernels.configs = one
    kernels._tuned.cache_clear()
    try:
        yield
    finally:
        kernels.configs = every
        kernels._tuned.cache_clear()


def contest(kernels: ModuleType, name: str, case: Case, mode: str, device: str) -> Rates:
    """The speed of a forward and backward pass of the residual stack beside eager PyTorch."""
    dtype, products = MODES[mode]
    tensors, grad = draw_inputs(case, dtype, device)

    def finished(compute: Callable[[], object]) -> Callable[[], int]:
        def program() -> int:
            compute()
            if device != "cpu":
                torch.cuda.synchronize()
            return case.B * case.T

        return program

    with _tf32(mode == "tf32"):
        rates = race(
            {
                "triton": finished(lambda: by_kernels(kernels, tensors, grad, case.dilations, products)),
                "reference": finished(lambda: by_autograd(tensors, grad, case.dilations, mode == "autocast")),
            }
        )
    return {f"residual stack of {name}, {case.B} x {case.T} in {products}": rates}


@contextlib.contextmanager
def unwritten_is_nan() -> Iterator[None]:
    """Memory that is allocated is NaN at first, so that an element nobody writes fails every comparison."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)  # torch.utils.deterministic.fill_uninitialized_memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@contextlib.contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
