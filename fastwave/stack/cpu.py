"""The residual stack in C++ (csrc/cpu), forward and backward."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from ..reference import StackWeights
from ..runtime import library
from ..runtime.threads import native
from . import buffers
from .sizes import Saved, StackSizes

# What layer_inputs and tanh_sigmoid are saved in, by the dtype of products. Both factors lie between -1 and 1: as
# integers of 16 bits, 32767 is 1.
SAVED_DTYPES = {"float32": (torch.float32, torch.float32), "bfloat16": (torch.bfloat16, torch.int16)}


def saved(sizes: StackSizes, dtype: torch.dtype, products: str, recompute: bool) -> Saved:
    """Shape and dtype of what `forward` saves: layer_inputs, and tanh_sigmoid unless `recompute`.

    Without tanh_sigmoid a step at `ref` takes 5% longer, and half the memory.
    """
    inputs_dtype, tanh_sigmoid_dtype = SAVED_DTYPES[products]
    steps = (sizes.layers, sizes.batch, sizes.time)
    tanh_sigmoid_shape = (0,) if recompute else (*steps, 2, sizes.gate)
    return ((*steps, sizes.residual), inputs_dtype), (tanh_sigmoid_shape, tanh_sigmoid_dtype)


def forward(
    x: Tensor,
    weights: StackWeights,
    condition: Tensor | None,
    dilations: Sequence[int],
    products: str,
    recompute: bool,
    instruction_set: str | None = None,
    first: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Arguments as `reference.residual_stack` has them -> skip sum [B, T - first, S], layer_inputs [L, B, T, R] and
    tanh_sigmoid [L, B, T, tanh | sigmoid, G], empty with `recompute`. What no skip sum from step `first` on depends on
    is not computed.
    """
    batch, time = x.shape[:2]
    stack = _Stack((batch, time), weights, condition, dilations, products, instruction_set, first=first)
    skip_sum = buffers.empty((batch, time - first, stack.sizes.skip))
    layer_inputs, tanh_sigmoid = (
        buffers.empty(shape, dtype) for shape, dtype in saved(stack.sizes, x.dtype, products, recompute)
    )
    first_input = _float32(x)
    if x.numel():
        stack.native.forward(
            skip_sum.data_ptr(),
            **stack.pointers,
            input=first_input.data_ptr(),
            layer_inputs=layer_inputs.data_ptr(),
            tanh_sigmoid=_pointer(tanh_sigmoid),
        )
    return skip_sum.to(x.dtype), layer_inputs, tanh_sigmoid


def infer(
    x: Tensor,
    weights: StackWeights,
    condition: Tensor | None,
    dilations: Sequence[int],
    history: Sequence[Tensor] | None,
    threads: int | None = None,
    products: str = "float32",
    instruction_set: str | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """The skip sum in float32, and the history that the next call continues from; what layers compute is not kept."""
    stack = _Stack(x.shape[:2], weights, condition, dilations, products, instruction_set, threads)
    sizes, steps, first_input = stack.sizes, x.shape[1], _float32(x)
    stored = SAVED_DTYPES[products][0]
    past = None if history is None else torch.cat([each.detach().to(stored).flatten() for each in history])
    skip_sum = torch.empty(*x.shape[:2], sizes.skip)
    layer_inputs = torch.empty(sizes.layers, *x.shape, dtype=stored)
    stack.native.forward(
        skip_sum.data_ptr(),
        **stack.pointers,
        input=first_input.data_ptr(),
        layer_inputs=layer_inputs.data_ptr(),
        tanh_sigmoid=None,
        history=None if past is None else _pointer(past),
    )
    following = []
    for layer, dilation in enumerate(dilations):
        slots = (sizes.taps - 1) * dilation
        kept = slots - min(steps, slots)  # of the history before
        newest = layer_inputs[layer, :, max(0, steps - slots) :]
        older = newest.new_zeros(len(x), kept, x.shape[2]) if history is None else history[layer][:, slots - kept :]
        following.append(torch.cat([older, newest], dim=1))
    return skip_sum, following


def backward(
    grad: Tensor,
    layer_inputs: Tensor,
    tanh_sigmoid: Tensor,
    weights: StackWeights,
    condition: Tensor | None,
    dilations: Sequence[int],
    products: str,
    needed: Collection[str],
    instruction_set: str | None = None,
    first: int = 0,
) -> dict[str, Tensor]:
    """From the gradient of the skip sum -> those of x, the weights and the condition that `needed` names."""
    stack = _Stack(layer_inputs.shape[1:3], weights, condition, dilations, products, instruction_set, first=first)
    skip_gradient = _float32(grad)
    tensors = {**weights._asdict(), "condition": condition}
    present = {name: tensor for name, tensor in tensors.items() if tensor is not None and name in needed}
    gradients = {name: torch.zeros(tensor.shape) for name, tensor in present.items()}
    x_gradient = buffers.empty(layer_inputs.shape[1:])
    if layer_inputs.numel():
        destinations = {_FIELDS[name]: _pointer(gradients.get(name)) for name in tensors}
        stack.native.backward(
            skip_gradient.data_ptr(),
            {"input": x_gradient.data_ptr(), **destinations},
            **stack.pointers,
            layer_inputs=layer_inputs.data_ptr(),
            tanh_sigmoid=_pointer(tanh_sigmoid),
        )
    rounded = {name: gradient.to(present[name].dtype) for name, gradient in gradients.items()}
    return {"x": x_gradient.to(grad.dtype), **rounded} if "x" in needed else rounded


# The native fields that hold a tensor or its gradient.
_FIELDS = {**dict(zip(StackWeights._fields, library.STACK_WEIGHTS, strict=True)), "condition": "conditioning"}


class _Stack:
    """The native stack for some tensors, and those tensors as it reads them."""

    def __init__(
        self,
        batch_and_time: Sequence[int],
        weights: StackWeights,
        condition: Tensor | None,
        dilations: Sequence[int],
        products: str,
        instruction_set: str | None,
        threads: int | None = None,
        first: int = 0,
    ) -> None:
        if condition is None:
            weights = weights._replace(condition_weight=None)
        self.sizes = StackSizes.of(batch_and_time, weights, first)
        tensors = {**weights._asdict(), "condition": condition}
        self._tensors = {name: None if each is None else _float32(each) for name, each in tensors.items()}
        self.pointers = {_FIELDS[name]: _pointer(tensor) for name, tensor in self._tensors.items()}
        self.native = library.ResidualStack(
            self.sizes._asdict(), dilations, products, threads or native(), instruction_set
        )


def _float32(tensor: Tensor) -> Tensor:
    """Contiguous, as the native code reads it."""
    return tensor.detach().float().contiguous()


def _pointer(tensor: Tensor | None) -> int | None:
    return tensor.data_ptr() if tensor is not None and tensor.numel() else None
