"""`fastwave::residual_stack`: all residual layers as one operator with a backward of its own, on any training backend.

Equivalent to `reference.residual_stack` without history. Where autograd keeps four tensors a layer, it keeps the input
of each layer, and z too unless `recompute`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError

DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float64: "float64"}


def residual_stack(
    x: Tensor,
    dilated_weight: Tensor,
    dilated_bias: Tensor,
    residual_weight: Tensor,
    residual_bias: Tensor,
    skip_weight: Tensor,
    skip_bias: Tensor,
    dilations: Sequence[int],
    condition: Tensor | None = None,
    condition_weight: Tensor | None = None,
    *,
    backend: str,
    recompute: bool = False,
) -> Tensor:
    """Arguments as `reference.residual_stack` has them -> skip sum [B, T, S].

    Products are of the dtype of x, or of bfloat16 under autocast to it; sums are float32 at least.
    """
    _check(x, dilated_weight, dilated_bias, residual_weight, residual_bias, skip_weight, skip_bias, dilations)
    _check_condition(x, dilated_weight, condition, condition_weight)
    if condition is None:
        condition_weight = None
    elif condition.dtype != x.dtype:  # features may come as they were stored
        condition = condition.to(x.dtype)
    skip_sum: Tensor = torch.ops.fastwave.residual_stack(
        x, dilated_weight, dilated_bias, residual_weight, residual_bias, skip_weight, skip_bias,
        condition, condition_weight, list(dilations), backend, products_of(x), recompute,
    )[0]  # fmt: skip
    return skip_sum


def products_of(x: Tensor) -> str:
    """The type of the multiplicands for this x, here and now: autocast and torch's switch for tf32 have a say."""
    kind = x.device.type
    if x.dtype == torch.float32 and torch.is_autocast_enabled(kind):
        return DTYPES.get(torch.get_autocast_dtype(kind), str(torch.get_autocast_dtype(kind)))
    if x.dtype == torch.float32 and kind == "cuda" and torch.backends.cuda.matmul.allow_tf32:
        return "tf32"
    return DTYPES.get(x.dtype, str(x.dtype))


def _kernels(backend: str) -> ModuleType:
    if backend == "cpu":
        from . import cpu as kernels
    elif backend == "triton":
        from ..kernels import residual_layer as kernels  # type: ignore[no-redef]
    elif backend == "reference":
        from . import eager as kernels  # type: ignore[no-redef]
    else:
        raise InputError(f"backend {backend!r} has no residual stack; choose reference, cpu or triton.")
    return kernels


_TENSORS = (
    "Tensor dilated_weight, Tensor dilated_bias, Tensor residual_weight, Tensor residual_bias, Tensor skip_weight, "
    "Tensor skip_bias, Tensor? condition, Tensor? condition_weight, int[] dilations, str backend, str products"
)


@torch.library.custom_op(
    "fastwave::residual_stack",
    mutates_args=(),
    schema=f"(Tensor x, {_TENSORS}, bool recompute) -> (Tensor, Tensor, Tensor)",
)
def _forward(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
    """-> skip sum, and what backward reads: the streams and, unless `recompute`, the gates."""
    *tensors, dilations, backend, products, recompute = given
    made: tuple[Tensor, Tensor, Tensor] = _kernels(backend).forward(*tensors, dilations, products, recompute)
    return made


@_forward.register_fake
def _(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
    x, _, _, _, _, skip_weight, *_, backend, products, recompute = given
    batch, steps, _ = x.shape
    layers, gate, skip = skip_weight.shape
    kept = torch.bfloat16 if products == "bfloat16" else x.dtype
    gates: dict[str, tuple[tuple[int, ...], torch.dtype]] = {  # z, or tanh and sigmoid, of which it is the product
        "reference": ((layers, batch, steps, gate), kept),
        "triton": ((batch, steps, layers * gate), kept),
        "cpu": ((layers, batch, steps, 2, gate), torch.int16 if kept == torch.bfloat16 else kept),
    }
    shape, kind = gates[backend]
    return (
        x.new_empty(batch, steps, skip),
        x.new_empty(layers, *x.shape, dtype=kept),
        x.new_empty(0 if recompute else shape, dtype=kind),
    )


@torch.library.custom_op(
    "fastwave::residual_stack_backward",
    mutates_args=(),
    schema=f"(Tensor grad, Tensor streams, Tensor gates, {_TENSORS}, bool[] wanted) -> Tensor[]",
)
def _backward(*given: Any) -> list[Tensor]:
    """-> nine gradients, of x and of the eight tensors in their order; empty where not wanted."""
    *tensors, dilations, backend, products, wanted = given
    return list(_kernels(backend).backward(*tensors, dilations, products, wanted))


@_backward.register_fake
def _(*given: Any) -> list[Tensor]:
    grad, streams, _, *tensors, _, _, _, wanted = given
    x = grad.new_empty(streams.shape[1:])
    return [
        torch.empty_like(tensor) if asked and tensor is not None else grad.new_empty(0)
        for tensor, asked in zip((x, *tensors), wanted, strict=True)
    ]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _, *tensors, dilations, backend, products, _ = inputs
    ctx.how = (dilations, backend, products)
    ctx.save_for_backward(output[1], output[2], *tensors)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    wanted = list(ctx.needs_input_grad[:9])
    if grad is None:
        return (None,) * 13
    made = torch.ops.fastwave.residual_stack_backward(grad, *ctx.saved_tensors, *ctx.how, wanted)
    return (*(each if asked else None for each, asked in zip(made, wanted, strict=True)), None, None, None, None)


_forward.register_autograd(_differentiate, setup_context=_keep)


def _check(
    x: Tensor,
    dilated_weight: Tensor,
    dilated_bias: Tensor,
    residual_weight: Tensor,
    residual_bias: Tensor,
    skip_weight: Tensor,
    skip_bias: Tensor,
    dilations: Sequence[int],
) -> None:
    if dilated_weight.dim() != 4 or dilated_weight.shape[1] < 2 or dilated_weight.shape[3] % 2:
        raise InputError(f"dilated_weight must be [L, K, R, 2G] with K >= 2, got {list(dilated_weight.shape)}.")
    layers, _, r, sums = dilated_weight.shape
    skip = skip_weight.shape[-1]
    expected = {
        "x": (x, (*x.shape[:2], r)),
        "dilated_bias": (dilated_bias, (layers, sums)),
        "residual_weight": (residual_weight, (layers - 1, sums // 2, r)),
        "residual_bias": (residual_bias, (layers - 1, r)),
        "skip_weight": (skip_weight, (layers, sums // 2, skip)),
        "skip_bias": (skip_bias, (skip,)),
    }
    for name, (tensor, shape) in expected.items():
        _same(name, tensor, shape, x)
    _same("dilated_weight", dilated_weight, dilated_weight.shape, x)
    if len(dilations) != layers or any(dilation < 1 for dilation in dilations):
        raise InputError(f"dilations must be {layers} positive integers, one a layer, got {list(dilations)}.")


def _check_condition(x: Tensor, dilated_weight: Tensor, condition: Tensor | None, weight: Tensor | None) -> None:
    if condition is None:
        return
    if weight is None:
        raise InputError("a condition needs condition_weight, [L, C, 2G].")
    if condition.dim() != 3:
        raise InputError(f"condition must be [B, T, C], got {list(condition.shape)}.")
    layers, sums = dilated_weight.shape[0], dilated_weight.shape[3]
    _same("condition", condition, (*x.shape[:2], weight.shape[1]), x)
    _same("condition_weight", weight, (layers, condition.shape[2], sums), x)


def _same(name: str, tensor: Tensor, shape: Sequence[int], x: Tensor) -> None:
    if tensor.dim() != len(shape) or tuple(tensor.shape) != tuple(shape):
        raise InputError(f"{name} must be {list(shape)}, got {list(tensor.shape)}.")
    if tensor.device != x.device:
        raise InputError(f"{name} is on {tensor.device}, x on {x.device}: move them to one device.")
    if not tensor.is_floating_point():
        raise InputError(f"{name} must be of a float dtype, got {tensor.dtype}.")
