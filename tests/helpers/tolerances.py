"""The one table of tolerances, and the two comparisons that use it (for tests and benches).

A result of some dtype is judged by its distance from float64, next to the distance of plain eager PyTorch in the
same dtype: at most twice as far, plus a floor. The floor is there because eager can be exact by luck on a small
tensor, while any other order of summation is not.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Two epsilons of the largest value, that is 2 to 4 of its units in the last place, depending on where in its binade
# it lies. A correct result whose sums run in another order may differ from a lucky eager one by the rounding of the
# stored value (half a unit), of the last sum before it (half), and of one activation (a tanh good to one or two).
FLOORS = {dtype: 2 * torch.finfo(dtype).eps for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}

# Float64 against float64, for values near 1. Rounding through a hundred layers of sums of a thousand terms stays
# below 1e-11 (1e5 roundings of 1e-16, all of one sign); a wrong tap, index or formula is far above.
EXACT = 1e-10


def assert_as_close_as_eager(actual: Tensor, eager: Tensor, exact: Tensor, what: str = "") -> str:
    """Fail unless `actual` is at most twice as far from `exact` (float64) as `eager` of the same dtype, plus a floor.

    Distance is the largest absolute difference. Returns the figures in one line, for a bench to print as its proof.
    A failure names `what`.
    """
    label = f"{what}: " if what else ""
    assert actual.dtype == eager.dtype, f"{label}{actual.dtype} beside eager's {eager.dtype}: compare like with like"
    _require_comparable(actual, eager, exact, label=label)
    distance, eager_distance = _distance(actual, exact), _distance(eager, exact)
    floor = FLOORS[eager.dtype] * _largest(exact)
    limit = 2 * eager_distance + floor
    figures = (
        f"{str(eager.dtype).removeprefix('torch.')}: error {distance:.3g}, eager's {eager_distance:.3g}, "
        f"floor {floor:.3g}, limit {limit:.3g}"
    )
    assert distance <= limit, f"{label}{figures}; worst at index {_worst(actual, exact)} of {list(exact.shape)}"
    return figures


def assert_exact(actual: Tensor, expected: Tensor) -> None:
    """Fail unless two float64 tensors agree to `EXACT`, relative to the largest value where that exceeds 1."""
    assert actual.dtype == torch.float64, f"only float64 is exact, got {actual.dtype}"
    _require_comparable(actual, expected)
    distance, limit = _distance(actual, expected), EXACT * max(1.0, _largest(expected))
    assert distance <= limit, (
        f"differs by {distance:.3g}, limit {limit:.3g}; worst at index {_worst(actual, expected)} "
        f"of {list(expected.shape)}"
    )


def _require_comparable(*tensors: Tensor, label: str = "") -> None:
    shapes = [list(tensor.shape) for tensor in tensors]
    assert all(shape == shapes[-1] for shape in shapes), f"{label}shapes differ: {shapes}"
    assert tensors[-1].numel(), f"{label}nothing to compare: shape {shapes[-1]}"
    assert tensors[-1].dtype == torch.float64, f"{label}the measure must be float64, got {tensors[-1].dtype}"
    for tensor in tensors:  # a non-finite reference is as useless as a non-finite result
        bad = int(torch.isfinite(tensor).logical_not().sum())
        assert not bad, f"{label}{bad} of {tensor.numel()} values are not finite"


def _largest(values: Tensor) -> float:
    return float(values.detach().abs().max())


def _distance(a: Tensor, b: Tensor) -> float:
    return float(_difference(a, b).max())


def _difference(a: Tensor, b: Tensor) -> Tensor:
    return (a.detach().cpu().double() - b.detach().cpu()).abs()


def _worst(a: Tensor, b: Tensor) -> tuple[int, ...]:
    return tuple(int(i) for i in torch.unravel_index(_difference(a, b).argmax(), b.shape))
