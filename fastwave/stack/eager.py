"""The residual stack with its backward written out in plain PyTorch: what the kernels compute, step by step.

Any float dtype, any device. It saves the input of every layer, and computes the rest again in the backward pass. The
operator runs it as backend "reference"; a model of that backend runs `reference.residual_stack` under autograd instead.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from .. import reference
from ..reference import StackWeights
from .sizes import Saved, StackSizes


def saved(sizes: StackSizes, dtype: torch.dtype, products: str, recompute: bool) -> Saved:
    """Shape and dtype of what `forward` saves: layer_inputs, and no activations."""
    return ((sizes.layers, sizes.batch, sizes.time, sizes.residual), dtype), ((0,), dtype)


def saved_by_autograd(sizes: StackSizes, dtype: torch.dtype) -> Saved:
    """The same of `reference.residual_stack` under autograd: layer_inputs; and tanh, sigmoid and z of every layer."""
    steps = (sizes.layers, sizes.batch, sizes.time)
    return ((*steps, sizes.residual), dtype), ((*steps, 3, sizes.gate), dtype)


def forward(
    x: Tensor,
    weights: StackWeights,
    condition: Tensor | None,
    dilations: Sequence[int],
    products: str,
    recompute: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Arguments as `reference.residual_stack` has them -> skip sum [B, T, S], the input of every layer [L, B, T, R],
    and an empty tensor. `products` is the dtype of all.
    """
    skip_sum = weights.skip_bias.expand(*x.shape[:2], -1)
    layer_inputs = []
    for layer, dilation in enumerate(dilations):
        layer_inputs.append(x)
        z = reference.gate(_preactivation(x, weights, condition, layer, dilation))
        skip_sum = skip_sum + z @ weights.skip_weight[layer]
        if layer + 1 < len(dilations):
            x = x + z @ weights.residual_weight[layer] + weights.residual_bias[layer]
    return skip_sum, torch.stack(layer_inputs), x.new_empty(0)


def backward(
    grad: Tensor,
    layer_inputs: Tensor,
    activations: Tensor,
    weights: StackWeights,
    condition: Tensor | None,
    dilations: Sequence[int],
    products: str,
    needed: Collection[str],
) -> dict[str, Tensor]:
    """From the gradient of the skip sum -> those of x, the weights and the condition that `needed` names."""
    layers, taps = weights.dilated_weight.shape[:2]
    half = weights.skip_weight.shape[1]
    present = {**weights._asdict(), "condition": condition}
    d = {name: torch.zeros_like(tensor) for name, tensor in present.items() if tensor is not None}
    d["skip_bias"].copy_(grad.sum((0, 1)))
    dx = torch.zeros_like(layer_inputs[0])
    for layer in reversed(range(layers)):
        x, weight, dilation = layer_inputs[layer], weights.dilated_weight[layer], dilations[layer]
        a = _preactivation(x, weights, condition, layer, dilation)
        t, s = torch.tanh(a[..., :half]), torch.sigmoid(a[..., half:])
        z, dz = t * s, grad @ weights.skip_weight[layer].T
        d["skip_weight"][layer] = _sum_over_time(z, grad)
        if layer + 1 < layers:
            dz = dz + dx @ weights.residual_weight[layer].T
            d["residual_weight"][layer], d["residual_bias"][layer] = _sum_over_time(z, dx), dx.sum((0, 1))
        da = torch.cat([dz * s * (1 - t * t), dz * t * s * (1 - s)], dim=-1)
        d["dilated_bias"][layer] = da.sum((0, 1))
        for tap in range(taps):
            ahead = _shift_back(da, (taps - 1 - tap) * dilation)
            dx = dx + ahead @ weight[tap].T
            d["dilated_weight"][layer, tap] = _sum_over_time(x, ahead)
        if condition is not None and weights.condition_weight is not None:
            d["condition"] += da @ weights.condition_weight[layer].T
            d["condition_weight"][layer] = _sum_over_time(condition, da)
    d["x"] = dx
    return {name: gradient for name, gradient in d.items() if name in needed}


def _preactivation(x: Tensor, weights: StackWeights, condition: Tensor | None, layer: int, dilation: int) -> Tensor:
    """a of a layer: [B, T, 2G]"""
    weight = weights.dilated_weight[layer]
    extended = reference.extend(x, (weight.shape[0] - 1) * dilation, None)
    a = weights.dilated_bias[layer] + reference.dilated_convolution(extended, weight, dilation)
    if condition is None or weights.condition_weight is None:  # operator.py refuses a condition without its weight
        return a
    return a + condition @ weights.condition_weight[layer]


def _shift_back(values: Tensor, steps: int) -> Tensor:
    """values[t + steps], and zeros beyond the end: [B, T, N] -> [B, T, N]"""
    shifted = values[:, steps:]
    missing = values.shape[1] - shifted.shape[1]
    return torch.cat([shifted, values.new_zeros(values.shape[0], missing, values.shape[2])], dim=1)


def _sum_over_time(left: Tensor, right: Tensor) -> Tensor:
    """sum over batch and time of left^T right: [B, T, M], [B, T, N] -> [M, N]"""
    return left.flatten(0, 1).T @ right.flatten(0, 1)
