"""From layers as other projects keep them to the stacked parameters of a WaveNet, with scales folded in float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Layer:
    """One residual layer. Convolutions have the shapes of torch: [out, in, taps]."""

    dilated: Tensor  # [2G, R, K], filter half then gate half
    dilated_bias: Tensor  # [2G], those of the conditioning included
    residual: Tensor  # [R, G, 1]
    residual_bias: Tensor  # [R]
    skip: Tensor  # [S, G, 1]
    skip_bias: Tensor  # [S]
    condition: Tensor | None = None  # [2G, C, 1], local channels then those of the speaker


def fold_layers(
    layers: Sequence[Layer], residual_scale: float = 1.0, skip_scales: Sequence[float] = ()
) -> dict[str, Tensor]:
    """The parameters of the residual stack.

    Where every layer gives x' = scale * (x + residual(z)), x is kept divided by scale^layer, so that no scale is left.
    `skip_scales` has the factor of each layer's skip in the sum; empty: 1.
    """
    scales = [residual_scale**number for number in range(len(layers))]
    skips = list(skip_scales) or [1.0] * len(layers)
    inner = list(zip(layers, scales, strict=True))[:-1]  # nothing reads the residual of the last layer
    gate, residual = layers[0].residual.shape[1], layers[0].residual.shape[0]
    parameters = {
        "dilated.weight": _stack([layer.dilated.permute(2, 1, 0) * s for layer, s in zip(layers, scales, strict=True)]),
        "dilated.bias": _stack([layer.dilated_bias for layer in layers]),
        "residual.weight": _stack([layer.residual[:, :, 0].T / s for layer, s in inner], (0, gate, residual)),
        "residual.bias": _stack([layer.residual_bias / s for layer, s in inner], (0, residual)),
        "skip.weight": _stack([layer.skip[:, :, 0].T * s for layer, s in zip(layers, skips, strict=True)]),
        "skip.bias": _stack([layer.skip_bias * s for layer, s in zip(layers, skips, strict=True)]).sum(dim=0),
    }
    if layers[0].condition is not None:
        conditions = [layer.condition for layer in layers if layer.condition is not None]
        parameters["condition.weight"] = _stack([weight[:, :, 0].T for weight in conditions])
    return parameters


def fold_head(first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor) -> dict[str, Tensor]:
    """The parameters of the head, of two convolutions with one tap."""
    return {
        "head.0.weight": first[:, :, 0].T,
        "head.0.bias": first_bias,
        "head.1.weight": second[:, :, 0].T,
        "head.1.bias": second_bias,
    }


def fold_front(front: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """The first convolution [R, A, K0], over one-hot classes or, where A is 1, over samples."""
    if front.shape[1] > 1:
        return fold_classes(front, bias)
    return {"front.weight": front.permute(2, 1, 0), "front.bias": bias}


def fold_classes(front: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """The embeddings of a convolution [R, A, K0] over one-hot classes. Its bias goes to those of the newest tap, which
    is there at every time, also where older taps lie before the start.
    """
    tables = front.permute(2, 1, 0).clone()
    tables[-1] += bias
    return {"front.weight": tables}


def _stack(tensors: Sequence[Tensor], empty: tuple[int, ...] = ()) -> Tensor:
    return torch.stack(list(tensors)) if tensors else torch.empty(empty, dtype=torch.float64)
