"""The head and its categorical loss in C++ (csrc/cpu/head_loss.cpp), with all gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..runtime import library
from . import buffers


def loss(
    skip_sum: Tensor,
    head: Sequence[Tensor],
    target: Tensor,
    weight: Tensor,
    products: str,
    wanted: Sequence[bool],
    instruction_set: str | None = None,
) -> tuple[Tensor, list[Tensor | None]]:
    """skip_sum [N, S], head as the last arguments of `reference.head`, target [N], weight [N], all float32 but the
    target -> the weighted sum of nats, and the gradients of the skip sum and the head where wanted.
    """
    inputs = [each.detach().contiguous() for each in (skip_sum, *head)]
    rows = {"targets": target.contiguous(), "weights": weight.detach().contiguous()}
    made = [buffers.empty(each.shape) if asked else None for each, asked in zip(inputs, wanted, strict=True)]
    if not skip_sum.numel():
        return torch.zeros(()), [each if each is None else each.zero_() for each in made]
    names = ("skip_sum", *library.HEAD_WEIGHTS)
    nats = library.head_loss(
        {"rows": len(skip_sum), "skip": head[0].shape[0], "head": head[0].shape[1], "outputs": head[2].shape[1]},
        {name: None if each is None else each.data_ptr() for name, each in zip(names, made, strict=True)},
        products,
        torch.get_num_threads(),
        instruction_set,
        **{name: each.data_ptr() for name, each in zip(names, inputs, strict=True)},
        **{name: each.data_ptr() for name, each in rows.items()},
    )
    return torch.tensor(nats, dtype=torch.float32), made
