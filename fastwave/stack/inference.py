"""The residual stack over a part of a sequence, without gradients: it goes on from a history, and keeps nothing else.

Equivalent to `reference.residual_stack`. A sequence in parts has the same bits as the whole on the C++ backend, for any
parts, batch and number of threads: a row of a product does not depend on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import reference
from ..errors import InputError
from ..reference import StackWeights
from . import cpu
from .operator import check

BLOCK = 1536  # steps at a time, whose layers are in memory together: eight tiles of the C++ stack


@torch.no_grad()
def residual_stack(
    x: Tensor,
    weights: StackWeights,
    dilations: Sequence[int],
    condition: Tensor | None = None,
    history: Sequence[Tensor] | None = None,
    *,
    backend: str,
    threads: int | None = None,
    products: str = "float32",
) -> tuple[Tensor, list[Tensor]]:
    """Arguments and results as `reference.residual_stack` has them; `backend` is cpu or reference. `threads` (default:
    those of torch) and `products`, float32 or bfloat16, are those of the C++ stack; its histories are of that dtype.
    """
    check(x, weights, dilations, condition)
    if not x.shape[1]:
        raise InputError("the residual stack needs a part of at least one step, got none.")
    if history is not None:
        _check_history(x, weights, dilations, history)
    if backend != "cpu":
        return reference.residual_stack(x, weights, dilations, condition, history)
    sums, past = [], history
    for first in range(0, x.shape[1], BLOCK):
        part = slice(first, first + BLOCK)
        of_part = None if condition is None else condition[:, part]
        skip_sum, past = cpu.infer(x[:, part], weights, of_part, dilations, past, threads, products)
        sums.append(skip_sum)
    assert past is not None
    return torch.cat(sums, dim=1), list(past)


def empty_history(
    batch: int, weights: StackWeights, dilations: Sequence[int], products: str = "float32"
) -> list[Tensor]:
    """What stands before the first step: zeros."""
    _, taps, residual, _ = weights.dilated_weight.shape
    dtype = torch.bfloat16 if products == "bfloat16" else weights.dilated_weight.dtype
    return [
        weights.dilated_weight.new_zeros(batch, (taps - 1) * dilation, residual, dtype=dtype) for dilation in dilations
    ]


def _check_history(x: Tensor, weights: StackWeights, dilations: Sequence[int], history: Sequence[Tensor]) -> None:
    taps = weights.dilated_weight.shape[1]
    expected = [(x.shape[0], (taps - 1) * dilation, x.shape[2]) for dilation in dilations]
    if [tuple(each.shape) for each in history] != expected:
        shapes = [list(each.shape) for each in history]
        raise InputError(f"history must be one tensor a layer, {[list(each) for each in expected]}, got {shapes}.")
