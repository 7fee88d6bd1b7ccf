"""The residual stack in C++ (csrc/cpu/residual_layer.cpp), forward and backward."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..runtime import library
from . import buffers

# What is kept for backward, by the type of products: streams, and gates, between -1 and 1, where 32767 is 1 of integers
STORED = {"float32": (torch.float32, torch.float32), "bfloat16": (torch.bfloat16, torch.int16)}


def forward(
    x: Tensor,
    dilated_weight: Tensor,
    dilated_bias: Tensor,
    residual_weight: Tensor,
    residual_bias: Tensor,
    skip_weight: Tensor,
    skip_bias: Tensor,
    condition: Tensor | None,
    condition_weight: Tensor | None,
    dilations: Sequence[int],
    products: str,
    recompute: bool,
    instruction_set: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Arguments as `reference.residual_stack` has them -> skip sum [B, T, S]; and for backward the streams
    [L, B, T, R] and the gates [L, B, T, tanh | sigmoid, G], the latter empty with `recompute`. Without them a step at
    `ref` takes 5% longer, and half the memory.
    """
    weights = (dilated_weight, dilated_bias, residual_weight, residual_bias, skip_weight, skip_bias, condition_weight)
    stack = _Stack(x.shape[:2], weights, condition, dilations, products, instruction_set)
    stream_kind, gate_kind = STORED[products]
    skip_sum = buffers.empty((*x.shape[:2], skip_bias.shape[0]))
    streams = buffers.empty((len(dilations), *x.shape), stream_kind)
    gates = buffers.empty((0,) if recompute else (len(dilations), *x.shape[:2], 2, skip_weight.shape[1]), gate_kind)
    held = _plain(x)
    if x.numel():
        stack.native.forward(
            skip_sum.data_ptr(),
            **stack.pointers,
            input=held.data_ptr(),
            layer_inputs=streams.data_ptr(),
            tanh_sigmoid=_pointer(gates),
        )
    return skip_sum.to(x.dtype), streams, gates


def backward(
    grad: Tensor,
    streams: Tensor,
    gates: Tensor,
    dilated_weight: Tensor,
    dilated_bias: Tensor,
    residual_weight: Tensor,
    residual_bias: Tensor,
    skip_weight: Tensor,
    skip_bias: Tensor,
    condition: Tensor | None,
    condition_weight: Tensor | None,
    dilations: Sequence[int],
    products: str,
    wanted: Sequence[bool],
    instruction_set: str | None = None,
) -> tuple[Tensor, ...]:
    """From the gradient of the skip sum -> those of x and of the eight tensors, in the order of the arguments; empty
    where not wanted.
    """
    weights = (dilated_weight, dilated_bias, residual_weight, residual_bias, skip_weight, skip_bias, condition_weight)
    stack = _Stack(grad.shape[:2], weights, condition, dilations, products, instruction_set)
    held = _plain(grad)
    inputs = (dilated_weight, dilated_bias, residual_weight, residual_bias, skip_weight, skip_bias)
    x_grad = buffers.empty(streams.shape[1:])
    made = [x_grad] + [
        torch.zeros(0 if tensor is None or not asked else tensor.shape)
        for tensor, asked in zip((*inputs, condition, condition_weight), wanted[1:], strict=True)
    ]
    if streams.numel():
        fields = (*library.STACK_WEIGHTS[:6], "conditioning", library.STACK_WEIGHTS[6])
        stack.native.backward(
            held.data_ptr(),
            {"input": x_grad.data_ptr(), **{name: _pointer(g) for name, g in zip(fields, made[1:], strict=True)}},
            **stack.pointers,
            layer_inputs=streams.data_ptr(),
            tanh_sigmoid=_pointer(gates),
        )
    kinds = (grad, *inputs, condition, condition_weight)
    return tuple(g if tensor is None else g.to(tensor.dtype) for g, tensor in zip(made, kinds, strict=True))


class _Stack:
    """The native stack for some tensors, and those tensors as it reads them."""

    def __init__(
        self,
        shape: Sequence[int],
        weights: Sequence[Tensor | None],
        condition: Tensor | None,
        dilations: Sequence[int],
        products: str,
        instruction_set: str | None,
    ) -> None:
        self._held = [
            None if tensor is None or (condition is None and i == 6) else _plain(tensor)
            for i, tensor in enumerate(weights)
        ]
        self._condition = None if condition is None else _plain(condition)
        self.pointers = {name: _pointer(t) for name, t in zip(library.STACK_WEIGHTS, self._held, strict=True)}
        self.pointers["conditioning"] = _pointer(self._condition)
        dilated, skip = weights[0], weights[4]
        assert dilated is not None and skip is not None
        sizes = {
            "batch": shape[0],
            "time": shape[1],
            "residual": dilated.shape[2],
            "gate": skip.shape[1],
            "skip": skip.shape[2],
            "condition": 0 if condition is None else condition.shape[2],
            "taps": dilated.shape[1],
            "layers": dilated.shape[0],
        }
        self.native = library.ResidualStack(sizes, dilations, products, torch.get_num_threads(), instruction_set)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().float().contiguous()


def _pointer(tensor: Tensor | None) -> int | None:
    return tensor.data_ptr() if tensor is not None and tensor.numel() else None
