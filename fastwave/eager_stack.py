"""The residual stack with its backward written out in plain PyTorch: what the kernels compute, step by step.

Any float dtype, any device. It keeps the input of every layer, and computes the rest again on the way back.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import reference


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
) -> tuple[Tensor, Tensor, Tensor]:
    """Arguments as `reference.residual_stack` has them -> skip sum [B, T, S], the input of every layer [L, B, T, R],
    and z of every layer [L, B, T, G], empty with `recompute`. `products` is the dtype of all.
    """
    skip_sum = skip_bias.expand(*x.shape[:2], -1)
    streams, gates = [], []
    for layer, dilation in enumerate(dilations):
        streams.append(x)
        z = reference.gate(
            _sums(x, dilated_weight[layer], dilated_bias[layer], dilation, condition, condition_weight, layer)
        )
        gates.append(z)
        skip_sum = skip_sum + z @ skip_weight[layer]
        if layer + 1 < len(dilations):
            x = x + z @ residual_weight[layer] + residual_bias[layer]
    return skip_sum, torch.stack(streams), x.new_empty(0) if recompute else torch.stack(gates)


def _sums(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    dilation: int,
    condition: Tensor | None,
    c_weight: Tensor | None,
    layer: int,
) -> Tensor:
    """What the gates of a layer take: [B, T, 2G]"""
    a = bias + reference.dilated_convolution(
        reference.extend(x, (weight.shape[0] - 1) * dilation, None), weight, dilation
    )
    return a if condition is None or c_weight is None else a + condition @ c_weight[layer]


def _later(values: Tensor, steps: int) -> Tensor:
    """values[t + steps], and zeros beyond the end: [B, T, N] -> [B, T, N]"""
    kept = values[:, steps:]
    return torch.cat([kept, values.new_zeros(values.shape[0], values.shape[1] - kept.shape[1], values.shape[2])], dim=1)


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
) -> tuple[Tensor, ...]:
    """From the gradient of the skip sum -> those of x and of the eight tensors, in the order of the arguments; empty
    where not wanted.
    """
    layers, taps, r, sums = dilated_weight.shape
    dx = torch.zeros_like(streams[0])
    d_dilated, d_bias = torch.zeros_like(dilated_weight), torch.zeros_like(dilated_bias)
    d_residual, d_residual_bias = torch.zeros_like(residual_weight), torch.zeros_like(residual_bias)
    d_skip = torch.zeros_like(skip_weight)
    d_condition = None if condition is None else torch.zeros_like(condition)
    d_condition_weight = None if condition_weight is None else torch.zeros_like(condition_weight)
    for layer in reversed(range(layers)):
        x, weight, dilation = streams[layer], dilated_weight[layer], dilations[layer]
        a = _sums(x, weight, dilated_bias[layer], dilation, condition, condition_weight, layer)
        t, s = torch.tanh(a[..., : sums // 2]), torch.sigmoid(a[..., sums // 2 :])
        z, dz = t * s, grad @ skip_weight[layer].T
        d_skip[layer] = _over_time(z, grad)
        if layer + 1 < layers:
            dz = dz + dx @ residual_weight[layer].T
            d_residual[layer], d_residual_bias[layer] = _over_time(z, dx), dx.sum((0, 1))
        da = torch.cat([dz * s * (1 - t * t), dz * t * s * (1 - s)], dim=-1)
        d_bias[layer] = da.sum((0, 1))
        for tap in range(taps):
            later = _later(da, (taps - 1 - tap) * dilation)
            dx = dx + later @ weight[tap].T
            d_dilated[layer, tap] = _over_time(x, later)
        if d_condition is not None and d_condition_weight is not None:
            assert condition is not None and condition_weight is not None
            d_condition = d_condition + da @ condition_weight[layer].T
            d_condition_weight[layer] = _over_time(condition, da)
    made = (
        dx,
        d_dilated,
        d_bias,
        d_residual,
        d_residual_bias,
        d_skip,
        grad.sum((0, 1)),
        d_condition,
        d_condition_weight,
    )
    return tuple(
        grad.new_empty(0) if each is None or not asked else each for each, asked in zip(made, wanted, strict=True)
    )


def _over_time(left: Tensor, right: Tensor) -> Tensor:
    """sum over batch and time of left^T right: [B, T, M], [B, T, N] -> [M, N]"""
    return left.flatten(0, 1).T @ right.flatten(0, 1)
