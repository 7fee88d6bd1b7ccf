"""THE SPEC: what a WaveNet computes, in plain PyTorch. When a kernel and this page disagree, the kernel is wrong.

Pure functions of tensors, differentiable, any float dtype. Channels last, time second. Letters: B batch, T time,
R residual, G one gate half, S skip, H head, O output, A classes, C condition, E excitation, K taps, K0 front taps,
L layers.

Every causal function takes a `history`, the inputs that came just before. None means that nothing came before:
zeros, the model's own left padding. Whole sequences, chunks and single samples are therefore the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class StackWeights(NamedTuple):
    """The weights of all residual layers, stacked over layers."""

    dilated_weight: Tensor  # [L, K, R, 2G], filter half then gate half
    dilated_bias: Tensor  # [L, 2G]
    residual_weight: Tensor  # [L-1, G, R]: the last layer has no residual
    residual_bias: Tensor  # [L-1, R]
    skip_weight: Tensor  # [L, G, S]
    skip_bias: Tensor  # [S], one for all layers
    condition_weight: Tensor | None = None  # [L, C, 2G]; None of a model without conditioning


def wavenet(
    parameters: Mapping[str, Tensor],
    dilations: Sequence[int],
    tokens: Tensor,
    condition: Tensor | None = None,
    last_tokens: Tensor | None = None,
    history: Sequence[Tensor] | None = None,
    stack: Callable[..., tuple[Tensor, list[Tensor]]] | None = None,
    excitation: Tensor | None = None,
    front_activation: str = "none",
) -> tuple[Tensor, list[Tensor]]:
    """The whole model. out[:, t] sees tokens up to t and predicts token t+1.

    parameters by their names in SPEC; tokens [B, T]; condition [B, T, C]; last_tokens [B, K0-1] and history are what
    came before, or None; `stack` computes the residual stack in place of `residual_stack` below; excitation [B, T, E];
    front_activation as in `front`
    -> out [B, T, O], and the history that the next call continues from
    """
    p = parameters
    more = p.get("excitation.weight"), p.get("front.bias"), front_activation
    x = front(tokens, p["front.weight"], last_tokens, excitation, *more)
    skip_sum, history = (stack or residual_stack)(x, stack_weights(p), dilations, condition, history)
    return head(skip_sum, p["head.0.weight"], p["head.0.bias"], p["head.1.weight"], p["head.1.bias"]), history


def stack_weights(parameters: Mapping[str, Tensor]) -> StackWeights:
    """The weights of the residual stack among the parameters of a model."""
    p = parameters
    return StackWeights(
        p["dilated.weight"],
        p["dilated.bias"],
        p["residual.weight"],
        p["residual.bias"],
        p["skip.weight"],
        p["skip.bias"],
        p.get("condition.weight"),
    )


def front(
    tokens: Tensor,
    weight: Tensor,
    history: Tensor | None = None,
    excitation: Tensor | None = None,
    excitation_weight: Tensor | None = None,
    bias: Tensor | None = None,
    activation: str = "none",
) -> Tensor:
    """The first causal layer: the activation of the sum of the bias and of one embedding per tap, and the excitation of
    the sample. Tokens before the start contribute nothing.

    tokens [B, T] int64 classes, or float for scalar input; weight [K0, A, R], or [K0, 1, R] for scalar input;
    history [B, K0-1], oldest first, or None; excitation [B, T, E], or None; excitation_weight [E, R]; bias [R],
    or None; activation: none, relu or tanh -> [B, T, R]
    """
    taps = weight.shape[0]
    known = tokens if history is None else torch.cat([history, tokens], dim=1)
    absent = taps - 1 if history is None else 0
    steps = tokens.shape[1]
    total = weight.new_zeros(*tokens.shape, weight.shape[2])
    if bias is not None:
        total = total + bias
    for tap in range(taps):  # output t reads token t - (K0-1-tap), which stands at `tap + t - absent` in `known`
        rows = known[:, max(tap - absent, 0) : max(tap - absent + steps, 0)]
        embedded = rows[..., None].to(weight.dtype) * weight[tap] if weight.shape[1] == 1 else weight[tap][rows]
        padding = weight.new_zeros(tokens.shape[0], steps - embedded.shape[1], weight.shape[2])
        total = total + torch.cat([padding, embedded], dim=1)
    if activation != "none":
        total = torch.relu(total) if activation == "relu" else torch.tanh(total)
    if excitation is not None:
        if excitation_weight is None:
            raise ValueError("an excitation needs its weight")
        total = total + excitation @ excitation_weight
    return total


def extend(x: Tensor, slots: int, history: Tensor | None) -> Tensor:
    """x [B, T, R] with the `slots` inputs before it in front, zeros where nothing came before -> [B, slots+T, R]"""
    if history is None:
        history = x.new_zeros(x.shape[0], slots, x.shape[2])
    return torch.cat([history, x], dim=1)


def dilated_convolution(extended: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """out[t] = sum_k weight[k]^T x[t - (K-1-k)*dilation]

    extended [B, (K-1)*dilation + T, R], oldest first; weight [K, R, N] -> [B, T, N]
    """
    taps = weight.shape[0]
    steps = extended.shape[1] - (taps - 1) * dilation
    total = extended[:, :steps] @ weight[0]
    for tap in range(1, taps):
        total = total + extended[:, tap * dilation : tap * dilation + steps] @ weight[tap]
    return total


def gate(a: Tensor) -> Tensor:
    """a [B, T, 2G], filter half then gate half -> [B, T, G]"""
    filter_half, gate_half = a.chunk(2, dim=-1)
    return torch.tanh(filter_half) * torch.sigmoid(gate_half)


def residual_stack(
    x: Tensor,
    weights: StackWeights,
    dilations: Sequence[int],
    condition: Tensor | None = None,
    history: Sequence[Tensor] | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """All L gated residual layers.

    x [B, T, R]; condition [B, T, C], or None; history: L tensors [B, (K-1)*d, R], oldest first, or None
    -> skip sum [B, T, S], and the history that the next call continues from
    """
    layers, taps = weights.dilated_weight.shape[:2]
    skip_sum = weights.skip_bias.expand(*x.shape[:2], -1)
    next_history = []
    for layer, dilation in zip(range(layers), dilations, strict=True):
        extended = extend(x, (taps - 1) * dilation, None if history is None else history[layer])
        next_history.append(extended[:, x.shape[1] :])
        a = weights.dilated_bias[layer] + dilated_convolution(extended, weights.dilated_weight[layer], dilation)
        if condition is not None:
            if weights.condition_weight is None:
                raise ValueError("a condition needs its weight")
            a = a + condition @ weights.condition_weight[layer]
        z = gate(a)
        skip_sum = skip_sum + z @ weights.skip_weight[layer]
        if layer < layers - 1:
            x = x + z @ weights.residual_weight[layer] + weights.residual_bias[layer]
    return skip_sum, next_history


def head(skip_sum: Tensor, weight0: Tensor, bias0: Tensor, weight1: Tensor, bias1: Tensor) -> Tensor:
    """skip_sum [B, T, S]; weight0 [S, H], bias0 [H]; weight1 [H, O], bias1 [O] -> [B, T, O]"""
    hidden = torch.relu(torch.relu(skip_sum) @ weight0 + bias0)
    return hidden @ weight1 + bias1


def time_to_batch(x: Tensor, dilation: int) -> Tensor:
    """Every `dilation`-th step becomes one sequence: [B, T, R] -> [B*dilation, T/dilation, R]. T divides evenly.

    With `batch_to_time`, the second way to write a dilated convolution: reshape, convolve plainly, reshape back.
    """
    batch, steps, channels = x.shape
    columns = x.reshape(batch, steps // dilation, dilation, channels)
    return columns.transpose(1, 2).reshape(batch * dilation, steps // dilation, channels)


def batch_to_time(x: Tensor, dilation: int) -> Tensor:
    """The inverse of `time_to_batch`: [B*dilation, T/dilation, R] -> [B, T, R]"""
    rows, steps, channels = x.shape
    columns = x.reshape(rows // dilation, dilation, steps, channels)
    return columns.transpose(1, 2).reshape(rows // dilation, steps * dilation, channels)
