"""`fastwave::residual_stack`: all residual layers as one operator with a backward of its own, on any training backend.

Equivalent to `reference.residual_stack` without history. Autograd would save four tensors a layer for the backward
pass. The operator saves the input of each layer, and the backend's activations beside it unless `recompute`: z in
Triton, tanh and sigmoid in C++, nothing in plain PyTorch. Each backend is a module with three functions:

forward(x, weights, condition, dilations, products, recompute) -> skip sum, layer_inputs, activations
backward(grad, layer_inputs, activations, weights, condition, dilations, products, needed)
    -> the gradients of the tensors that `needed` names, by those names
saved(sizes, dtype, products, recompute) -> shape and dtype of layer_inputs and of activations; dtype is that of x

A window of training begins with steps that have no target, and only give the others their past. C++ takes `first` for
them, and leaves out what no skip sum from there on depends on; the other backends compute it, and it is dropped here.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..reference import StackWeights
from . import cpu
from .sizes import StackSizes

DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float64: "float64", torch.float16: "float16"}
TENSORS = ("x", *StackWeights._fields[:-1], "condition", "condition_weight")  # in the order of the operator's schema


def residual_stack(
    x: Tensor,
    weights: StackWeights,
    dilations: Sequence[int],
    condition: Tensor | None = None,
    *,
    backend: str,
    recompute: bool = False,
    first: int = 0,
) -> Tensor:
    """Arguments as `reference.residual_stack` has them -> skip sum of steps first, first + 1, ...: [B, T - first, S].

    Products are of the dtype of x, or of bfloat16 under autocast to it; sums are float32 at least.
    """
    check(x, weights, dilations, condition)
    if first and not 0 <= first < x.shape[1]:
        raise InputError(f"first must lie in 0..{x.shape[1] - 1}, a step of x, got {first}.")
    condition_weight = weights.condition_weight
    if condition is None:
        condition_weight = None
    elif condition.dtype != x.dtype:  # features may come as they were stored
        condition = condition.to(x.dtype)
    skip_sum: Tensor = torch.ops.fastwave.residual_stack(
        x, *weights[:-1], condition, condition_weight, list(dilations), backend, products_of(x), recompute, first
    )[0]
    return skip_sum


def products_of(x: Tensor) -> str:
    """The type of the multiplicands for this x, here and now: autocast and torch's switch for tf32 have a say."""
    device = x.device.type
    if x.dtype == torch.float32 and torch.is_autocast_enabled(device):
        return dtype_name(torch.get_autocast_dtype(device))
    if x.dtype == torch.float32 and device == "cuda" and torch.backends.cuda.matmul.allow_tf32:
        return "tf32"
    return dtype_name(x.dtype)


def dtype_name(dtype: torch.dtype) -> str:
    """Its name in the tables of `runtime.dispatch`."""
    return DTYPES.get(dtype, str(dtype))


def kernels(backend: str) -> ModuleType:
    """The module of a backend, with the functions that the top of this file lists."""
    if backend == "cpu":
        return cpu
    if backend == "triton":
        from ..kernels import residual_stack as triton

        module: ModuleType = triton
    elif backend == "reference":
        from . import eager as module
    else:
        raise InputError(f"backend {backend!r} has no residual stack; choose reference, cpu or triton.")
    return module


_OPTIONAL = ("condition", "condition_weight")
_TENSORS = ", ".join(f"Tensor{'?' if name in _OPTIONAL else ''} {name}" for name in TENSORS[1:])
_OPTIONS = "int[] dilations, str backend, str products"


def _weights_and_condition(tensors: Sequence[Any]) -> tuple[StackWeights, Tensor | None]:
    """From the tensors of the schema that follow x."""
    *always, condition, condition_weight = tensors
    return StackWeights._make([*always, condition_weight]), condition


@torch.library.custom_op(
    "fastwave::residual_stack",
    mutates_args=(),
    schema=f"(Tensor x, {_TENSORS}, {_OPTIONS}, bool recompute, int first) -> (Tensor, Tensor, Tensor)",
)
def _forward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """-> skip sum, layer_inputs, activations"""
    x, *tensors, dilations, backend, products, recompute, first = arguments
    weights, condition = _weights_and_condition(tensors)
    options = (x, weights, condition, dilations, products, recompute)
    if backend == "cpu":
        return cpu.forward(*options, first=first)
    skip_sum, layer_inputs, activations = kernels(backend).forward(*options)
    return skip_sum[:, first:].contiguous(), layer_inputs, activations


@_forward.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    x, *tensors, _, backend, products, recompute, first = arguments
    sizes = StackSizes.of(x.shape[:2], _weights_and_condition(tensors)[0], first)
    layer_inputs, activations = (
        x.new_empty(shape, dtype=dtype) for shape, dtype in kernels(backend).saved(sizes, x.dtype, products, recompute)
    )
    return x.new_empty(sizes.batch, sizes.time - first, sizes.skip), layer_inputs, activations


@torch.library.custom_op(
    "fastwave::residual_stack_backward",
    mutates_args=(),
    schema=f"(Tensor grad, Tensor layer_inputs, Tensor activations, {_TENSORS}, {_OPTIONS}, bool[] needed, int first)"
    " -> Tensor[]",
)
def _backward(*arguments: Any) -> list[Tensor]:
    """-> the gradients of TENSORS in their order; empty where not needed."""
    grad, layer_inputs, activations, *tensors, dilations, backend, products, needed, first = arguments
    weights, condition = _weights_and_condition(tensors)
    names = {name for name, is_needed in zip(TENSORS, needed, strict=True) if is_needed}
    options = (layer_inputs, activations, weights, condition, dilations, products, names)
    if backend == "cpu":
        gradients = cpu.backward(grad, *options, first=first)
    else:
        gradients = kernels(backend).backward(torch.nn.functional.pad(grad, (0, 0, first, 0)), *options)
    return [gradients[name] if name in gradients else grad.new_empty(0) for name in TENSORS]


@_backward.register_fake
def _(*arguments: Any) -> list[Tensor]:
    grad, layer_inputs, _, *tensors, _, _, _, needed, _ = arguments
    x = grad.new_empty(layer_inputs.shape[1:])
    return [
        torch.empty_like(tensor) if is_needed and tensor is not None else grad.new_empty(0)
        for tensor, is_needed in zip((x, *tensors), needed, strict=True)
    ]


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _, *tensors, ctx.dilations, ctx.backend, ctx.products, _, ctx.first = inputs
    _, layer_inputs, activations = output
    ctx.save_for_backward(layer_inputs, activations, *tensors)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    no_gradients = (None,) * 5  # of the arguments that are no tensors
    needed = list(ctx.needs_input_grad[: len(TENSORS)])
    if grad is None:
        return (None,) * len(TENSORS) + no_gradients
    gradients = torch.ops.fastwave.residual_stack_backward(
        grad, *ctx.saved_tensors, ctx.dilations, ctx.backend, ctx.products, needed, ctx.first
    )
    return (*(each if is_needed else None for each, is_needed in zip(gradients, needed, strict=True)), *no_gradients)


_forward.register_autograd(_differentiate, setup_context=_save_for_backward)


def check(x: Tensor, weights: StackWeights, dilations: Sequence[int], condition: Tensor | None) -> None:
    """Refuse tensors that do not fit together."""
    _check_weights(x, weights, dilations)
    _check_condition(x, weights, condition)


def _check_weights(x: Tensor, weights: StackWeights, dilations: Sequence[int]) -> None:
    dilated_weight = weights.dilated_weight
    if dilated_weight.dim() != 4 or dilated_weight.shape[1] < 2 or dilated_weight.shape[3] % 2:
        raise InputError(f"dilated_weight must be [L, K, R, 2G] with K >= 2, got {list(dilated_weight.shape)}.")
    layers, _, residual, both_halves = dilated_weight.shape
    gate, skip = both_halves // 2, weights.skip_weight.shape[-1]
    expected = {
        "dilated_bias": (layers, both_halves),
        "residual_weight": (layers - 1, gate, residual),
        "residual_bias": (layers - 1, residual),
        "skip_weight": (layers, gate, skip),
        "skip_bias": (skip,),
        "dilated_weight": dilated_weight.shape,
    }
    _check_tensor("x", x, (*x.shape[:2], residual), x)
    for name, shape in expected.items():
        _check_tensor(name, getattr(weights, name), shape, x)
    if len(dilations) != layers or any(dilation < 1 for dilation in dilations):
        raise InputError(f"dilations must be {layers} positive integers, one a layer, got {list(dilations)}.")


def _check_condition(x: Tensor, weights: StackWeights, condition: Tensor | None) -> None:
    weight = weights.condition_weight
    if condition is None:
        return
    if weight is None:
        raise InputError("a condition needs condition_weight, [L, C, 2G].")
    if condition.dim() != 3:
        raise InputError(f"condition must be [B, T, C], got {list(condition.shape)}.")
    layers, both_halves = weights.dilated_weight.shape[0], weights.dilated_weight.shape[3]
    _check_tensor("condition", condition, (*x.shape[:2], weight.shape[1]), x)
    _check_tensor("condition_weight", weight, (layers, condition.shape[2], both_halves), x)


def _check_tensor(name: str, tensor: Tensor, shape: Sequence[int], x: Tensor) -> None:
    if tensor.dim() != len(shape) or tuple(tensor.shape) != tuple(shape):
        raise InputError(f"{name} must be {list(shape)}, got {list(tensor.shape)}.")
    if tensor.device != x.device:
        raise InputError(f"{name} is on {tensor.device}, x on {x.device}: move them to one device.")
    if not tensor.is_floating_point():
        raise InputError(f"{name} must be of a float dtype, got {tensor.dtype}.")
