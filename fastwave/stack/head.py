"""The head and the loss together, some rows at a time: outputs of a whole batch are never there at once.

Equivalent to `(weight * negative_log_likelihood(output, reference.head(skip_sum, ...), target)).sum()`. The gradients
are made on the way there, so that four tensors as wide as the head need not be kept for the way back. In C++ where the
residual stack is, if it can: a categorical output in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import reference
from ..distributions import negative_log_likelihood
from . import head_cpu

ROWS = {"cpu": 512}  # half a megabyte a tensor at width 256: all of a chunk stay in the second-level cache
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
    """skip_sum [B, T, S]; head as the last arguments of `reference.head`; target [B, T]; weight [B, T]; backend and
    products as the residual stack has them -> scalar
    """
    keep = torch.is_grad_enabled()  # inside, it never is
    single = all(each.dtype == torch.float32 for each in (skip_sum, *head, weight))
    native = products if backend == "cpu" and output == "categorical" and single else None
    total: Tensor = _HeadLoss.apply(output, keep, native, skip_sum, *head, target, weight)  # type: ignore[no-untyped-call]
    return total


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: str, keep: bool, native: str | None, skip_sum: Tensor, *rest: Tensor) -> Tensor:
        *head, target, weight = rest
        wanted = [keep and asked for asked in ctx.needs_input_grad[3 : 4 + len(head)]]
        flat, targets, weights = skip_sum.detach().flatten(0, 1), target.flatten(), weight.flatten()
        if native is None:
            total, gradients = _in_pieces(output, flat, head, targets, weights, wanted)
        else:
            total, gradients = head_cpu.loss(flat, head, targets, weights, native, wanted)
        ctx.shape = skip_sum.shape
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        one = grad.device.type == "cpu" and float(grad) == 1  # the usual case needs no copy
        made = [each if each is None or one else each * grad.to(each.dtype) for each in ctx.saved_tensors]
        skip_gradient = None if made[0] is None else made[0].view(ctx.shape)
        return None, None, None, skip_gradient, *made[1:], None, None


def _in_pieces(
    output: str, flat: Tensor, head: Sequence[Tensor], targets: Tensor, weights: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor, list[Tensor | None]]:
    """The loss, and the gradients of the skip sum [N, S] and the head where wanted, by PyTorch."""
    rows = ROWS.get(flat.device.type, MOST_ROWS)
    total = torch.zeros((), dtype=torch.float64 if flat.dtype == torch.float64 else torch.float32, device=flat.device)
    parameters = [p.detach().requires_grad_(asked) for p, asked in zip(head, wanted[1:], strict=True)]
    gradients = [torch.zeros_like(p) if asked else None for p, asked in zip(head, wanted[1:], strict=True)]
    skip_gradient = torch.empty_like(flat) if wanted[0] else None
    for first in range(0, flat.shape[0], rows):
        here = slice(first, first + rows)
        with torch.set_grad_enabled(any(wanted)):
            part = flat[here].requires_grad_(wanted[0])
            out = reference.head(part, *parameters)
            nats = (negative_log_likelihood(output, out, targets[here]) * weights[here]).sum()
        total += nats.detach()
        asked = [each for each in (part, *parameters) if each.requires_grad]
        if not asked:
            continue
        made = iter(torch.autograd.grad(nats, asked))
        if skip_gradient is not None:
            skip_gradient[here] = next(made)
        for gradient in gradients:
            if gradient is not None:
                gradient += next(made)
    return total, [skip_gradient, *gradients]
