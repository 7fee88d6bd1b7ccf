"""The head and its loss in C++ (csrc/cpu), with all gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError
from ..runtime import library
from ..runtime.threads import native
from . import buffers


def loss(
    output: str,
    skip_sum: Tensor,
    head: Sequence[Tensor],
    target: Tensor,
    weight: Tensor,
    products: str,
    needed: Sequence[bool],
    instruction_set: str | None = None,
) -> tuple[Tensor, list[Tensor | None]]:
    """skip_sum [N, S] and head (the last arguments of `reference.head`), float32; target [N]; weight [N]; `products` is
    the dtype of the matrix products -> the weighted sum of nats, and the gradients of skip_sum and head where needed.
    """
    inputs = [each.detach().contiguous() for each in (skip_sum, *head)]
    for tensor in inputs:
        if tensor.dtype != torch.float32:
            raise InputError(f"the head in C++ takes a skip sum and weights of float32, got {tensor.dtype}.")
    rows = {"weights": weight.detach().float().contiguous()}
    if output == "categorical":
        rows["target_classes"] = target.contiguous()
    else:
        rows["target_values"] = target.detach().float().contiguous()
    gradients = [
        buffers.empty(each.shape) if is_needed else None for each, is_needed in zip(inputs, needed, strict=True)
    ]
    if not skip_sum.numel():
        return torch.zeros(()), [each if each is None else each.zero_() for each in gradients]
    names = ("skip_sum", *library.HEAD_WEIGHTS)
    nats = library.head_loss(
        output,
        {"rows": len(skip_sum), "skip": head[0].shape[0], "head": head[0].shape[1], "outputs": head[2].shape[1]},
        {name: None if each is None else each.data_ptr() for name, each in zip(names, gradients, strict=True)},
        products,
        native(),
        instruction_set,
        **{name: each.data_ptr() for name, each in zip(names, inputs, strict=True)},
        **{name: each.data_ptr() for name, each in rows.items()},
    )
    return torch.tensor(nats, dtype=torch.float32), gradients
