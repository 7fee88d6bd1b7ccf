"""The residual stack with its backward written out in plain PyTorch: what the kernels compute, step by step.

Any float dtype, any device. It keeps the input of every layer, and computes the rest again on the way back.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import reference


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
        a = _sums(x, dilated_weight[layer], dilated_bias[layer], dilation)
        z = reference.gate(a if condition is None else a + condition @ _there(condition_weight)[layer])
        gates.append(z)
        skip_sum = skip_sum + z @ skip_weight[layer]
        if layer + 1 < len(dilations):
            x = x + z @ residual_weight[layer] + residual_bias[layer]
    return skip_sum, torch.stack(streams), x.new_empty(0) if recompute else torch.stack(gates)


def _sums(x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
    """What the gates of a layer take, but for the condition: [B, T, 2G]"""
    extended = reference.extend(x, (weight.shape[0] - 1) * dilation, None)
    return bias + reference.dilated_convolution(extended, weight, dilation)


def _there(weight: Tensor | None) -> Tensor:
    assert weight is not None, "ops.py refuses a condition without its weight"
    return weight


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
    layers, taps = dilated_weight.shape[:2]
    half = skip_weight.shape[1]
    dx = torch.zeros_like(streams[0])
    weights = (dilated_weight, dilated_bias, residual_weight, residual_bias, skip_weight, skip_bias)
    made = [torch.zeros_like(each) for each in weights]
    d_dilated, d_bias, d_residual, d_residual_bias, d_skip, d_skip_bias = made
    conditional = [] if condition is None else [torch.zeros_like(condition), torch.zeros_like(_there(condition_weight))]
    d_skip_bias.copy_(grad.sum((0, 1)))
    for layer in reversed(range(layers)):
        x, weight, dilation = streams[layer], dilated_weight[layer], dilations[layer]
        a = _sums(x, weight, dilated_bias[layer], dilation)
        if condition is not None:
            a = a + condition @ _there(condition_weight)[layer]
        t, s = torch.tanh(a[..., :half]), torch.sigmoid(a[..., half:])
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
        if condition is not None:
            conditional[0] += da @ _there(condition_weight)[layer].T
            conditional[1][layer] = _over_time(condition, da)
    gradients = [dx, *made, *conditional, *[grad.new_empty(0)] * (2 - len(conditional))]
    return tuple(each if asked else grad.new_empty(0) for each, asked in zip(gradients, wanted, strict=True))


def _over_time(left: Tensor, right: Tensor) -> Tensor:
    """sum over batch and time of left^T right: [B, T, M], [B, T, N] -> [M, N]"""
    return left.flatten(0, 1).T @ right.flatten(0, 1)
