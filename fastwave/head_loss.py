"""The head and the loss together, some rows at a time: outputs of a whole batch are never there at once.

Equivalent to `(weight * negative_log_likelihood(output, reference.head(skip_sum, ...), target)).sum()`. The gradients
are made on the way there, so that four tensors as wide as the head need not be kept for the way back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import reference
from .distributions import negative_log_likelihood

ROWS = {"cpu": 512}  # half a megabyte a tensor at width 256: all of a chunk stay in the second-level cache
MOST_ROWS = 16_384  # elsewhere


def head_loss(output: str, skip_sum: Tensor, head: tuple[Tensor, ...], target: Tensor, weight: Tensor) -> Tensor:
    """skip_sum [B, T, S]; head as the last arguments of `reference.head`; target [B, T]; weight [B, T] -> scalar"""
    keep = torch.is_grad_enabled()  # inside, it never is
    total: Tensor = _HeadLoss.apply(output, keep, skip_sum, *head, target, weight)  # type: ignore[no-untyped-call]
    return total


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: str, keep: bool, skip_sum: Tensor, *rest: Tensor) -> Tensor:
        *head, target, weight = rest
        wanted = [keep and asked for asked in ctx.needs_input_grad[2 : 3 + len(head)]]
        rows = ROWS.get(skip_sum.device.type, MOST_ROWS)
        flat, targets, weights = skip_sum.detach().flatten(0, 1), target.flatten(), weight.flatten()
        total = torch.zeros(
            (), dtype=torch.float64 if flat.dtype == torch.float64 else torch.float32, device=flat.device
        )
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
        ctx.shape = skip_sum.shape
        ctx.save_for_backward(skip_gradient, *gradients)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        one = grad.device.type == "cpu" and float(grad) == 1  # the usual case needs no copy
        made = [each if each is None or one else each * grad.to(each.dtype) for each in ctx.saved_tensors]
        skip_gradient = None if made[0] is None else made[0].view(ctx.shape)
        return None, None, skip_gradient, *made[1:], None, None
