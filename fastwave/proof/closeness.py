"""The rule by which every kernel is judged, with its one table of tolerances; tests and benches use it too.

A result of some dtype is judged by its distance from float64, next to the distance of plain eager PyTorch in the
same dtype: at most twice as far, plus a floor. The floor is there because eager can be exact by luck on a small
tensor, while any other order of summation is not.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import FastwaveError

# Two epsilons of the largest value, that is 2 to 4 of its units in the last place, depending on where in its binade
# it lies. A correct result whose sums run in another order may differ from a lucky eager one by the rounding of the
# stored value (half a unit), of the last sum before it (half), and of one activation (a tanh good to one or two).
FLOORS = {dtype: 2 * torch.finfo(dtype).eps for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}


class NotProved(FastwaveError):
    """A kernel computes something else than the reference."""


class Comparison(NamedTuple):
    """The figures of a comparison in one line, and what is wrong; `fault` is empty where nothing is."""

    figures: str
    fault: str
    share: float  # the distance as a share of its limit; 0 where the tensors cannot be compared


def compare(actual: Tensor, eager: Tensor, exact: Tensor) -> Comparison:
    """Whether `actual` is at most twice as far from `exact` (float64) as `eager` of the same dtype, plus a floor.

    Distance is the largest absolute difference.
    """
    if actual.dtype != eager.dtype:
        return Comparison("", f"{actual.dtype} beside eager's {eager.dtype}: compare like with like", 0.0)
    if fault := incomparable(actual, eager, exact):
        return Comparison("", fault, 0.0)
    far, eager_far = distance(actual, exact), distance(eager, exact)
    floor = FLOORS[eager.dtype] * largest(exact)
    limit = 2 * eager_far + floor
    figures = (
        f"{str(eager.dtype).removeprefix('torch.')}: error {far:.3g}, eager's {eager_far:.3g}, "
        f"floor {floor:.3g}, limit {limit:.3g}"
    )
    if far <= limit:
        return Comparison(figures, "", far / limit if limit else 0.0)
    return Comparison(figures, f"{figures}; worst at index {worst(actual, exact)} of {list(exact.shape)}", far / limit)


def incomparable(*tensors: Tensor) -> str:
    """Why these cannot be compared with the last of them, or nothing where they can."""
    shapes = [list(tensor.shape) for tensor in tensors]
    if any(shape != shapes[-1] for shape in shapes):
        return f"shapes differ: {shapes}"
    if not tensors[-1].numel():
        return f"nothing to compare: shape {shapes[-1]}"
    if tensors[-1].dtype != torch.float64:
        return f"the measure must be float64, got {tensors[-1].dtype}"
    for tensor in tensors:  # a non-finite reference is as useless as a non-finite result
        if bad := int(torch.isfinite(tensor).logical_not().sum()):
            return f"{bad} of {tensor.numel()} values are not finite"
    return ""


def largest(values: Tensor) -> float:
    """The largest absolute value."""
    return float(values.detach().abs().max())


def distance(a: Tensor, b: Tensor) -> float:
    """The largest absolute difference, computed in float64."""
    return float(_difference(a, b).max())


def worst(a: Tensor, b: Tensor) -> tuple[int, ...]:
    """The index of the largest difference."""
    return tuple(int(i) for i in torch.unravel_index(_difference(a, b).argmax(), b.shape))


def _difference(a: Tensor, b: Tensor) -> Tensor:
    return (a.detach().cpu().double() - b.detach().cpu()).abs()
