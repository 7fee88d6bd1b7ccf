"""The head and the loss together, some rows at a time, so that the outputs of a whole batch never exist at once.

Equivalent to `(weight * negative_log_likelihood(output, reference.head(skip_sum, ...), target)).sum()`. The gradients
are computed in the forward pass, so that four tensors as wide as the head need not be saved for the backward pass.

`dispatch.HEADS` says what computes the head: on the backend "cpu" C++ computes a head of float32 weights, whatever
its output, and PyTorch one of bfloat16 weights. A head that the table lacks is refused, because a named backend never
falls back. `fastwave info` shows the entry for a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import reference
from ..distributions import negative_log_likelihood
from ..runtime.dispatch import head_computed_by
from . import head_cpu
from .operator import dtype_name

ROWS = {"cpu": 512}  # half a megabyte a tensor at width 256: all tensors of a piece stay in the second-level cache
MOST_ROWS = 16_384  # elsewhere


def head_loss(
    output: str,
    skip_sum: Tensor,
    head: tuple[Tensor, ...],
    target: Tensor,
    weight: Tensor,
    backend: str = "reference",
    products: str = "float32",
) -> Tensor:
    """skip_sum [B, T, S]; head as the last arguments of `reference.head`; target [B, T]; weight [B, T]; backend;
    products, the dtype of the matrix products, as for the residual stack -> scalar
    """
    with_gradients = torch.is_grad_enabled()  # read here: inside an autograd function it is always off
    computed_by = head_computed_by(backend, output, dtype_name(skip_sum.dtype))
    native_products = products if computed_by == "C++" else None
    total: Tensor = _HeadLoss.apply(  # type: ignore[no-untyped-call]
        output, with_gradients, native_products, skip_sum, *head, target, weight
    )
    return total


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, output: str, with_gradients: bool, native_products: str | None, skip_sum: Tensor, *tensors: Tensor
    ) -> Tensor:
        *head, target, weight = tensors
        needed = [with_gradients and needs_grad for needs_grad in ctx.needs_input_grad[3 : 4 + len(head)]]
        flat, targets, weights = skip_sum.detach().flatten(0, 1), target.flatten(), weight.flatten()
        if native_products is None:
            total, gradients = _in_pieces(output, flat, head, targets, weights, needed)
        else:
            total, gradients = head_cpu.loss(output, flat, head, targets, weights, native_products, needed)
        ctx.shape = skip_sum.shape
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        one = grad.device.type == "cpu" and float(grad) == 1  # the usual case needs no copy
        scaled = [each if each is None or one else each * grad.to(each.dtype) for each in ctx.saved_tensors]
        skip_gradient = None if scaled[0] is None else scaled[0].view(ctx.shape)
        return None, None, None, skip_gradient, *scaled[1:], None, None


def _in_pieces(
    output: str, flat: Tensor, head: Sequence[Tensor], targets: Tensor, weights: Tensor, needed: Sequence[bool]
) -> tuple[Tensor, list[Tensor | None]]:
    """The loss, and the gradients of the skip sum [N, S] and the head where needed, by PyTorch."""
    rows = ROWS.get(flat.device.type, MOST_ROWS)
    total = torch.zeros((), dtype=torch.float64 if flat.dtype == torch.float64 else torch.float32, device=flat.device)
    parameters = [p.detach().requires_grad_(is_needed) for p, is_needed in zip(head, needed[1:], strict=True)]
    gradients = [torch.zeros_like(p) if p.requires_grad else None for p in parameters]
    skip_gradient = torch.empty_like(flat) if needed[0] else None
    for first in range(0, flat.shape[0], rows):
        piece = slice(first, first + rows)
        with torch.set_grad_enabled(any(needed)):
            skip_piece = flat[piece].requires_grad_(needed[0])
            out = reference.head(skip_piece, *parameters)
            nats = (negative_log_likelihood(output, out, targets[piece]) * weights[piece]).sum()
        total += nats.detach()
        leaves = [each for each in (skip_piece, *parameters) if each.requires_grad]
        if not leaves:
            continue
        of_piece = iter(torch.autograd.grad(nats, leaves))
        if skip_gradient is not None:
            skip_gradient[piece] = next(of_piece)
        for gradient in gradients:
            if gradient is not None:
                gradient += next(of_piece)
    return total, [skip_gradient, *gradients]
