"""Where the time of a sample goes in the cluster kernel: a tail, its layers, and hops from block to block."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch


@dataclasses.dataclass(frozen=True)
class Terms:
    """Seconds of a sample = tail + layer * layers + hop * (layer_blocks - 1)."""

    tail: float  # the last skip, the head, the draw and the embedding; and what a call costs, over its samples
    layer: float
    hop: float  # more, from a layer to one in the next block
    residual: float  # root mean square of what the three leave


def terms_of(layers: Sequence[int], layer_blocks: Sequence[int], seconds: Sequence[float]) -> Terms:
    """The least squares of networks that differ in their layers alone, one of each argument a network."""
    known = torch.tensor([[1, count, blocks - 1] for count, blocks in zip(layers, layer_blocks, strict=True)]).double()
    if int(torch.linalg.matrix_rank(known)) < 3:
        raise ValueError(f"{list(layers)} layers in {list(layer_blocks)} blocks do not tell layer, hop and tail apart.")
    measured = torch.tensor(seconds, dtype=torch.float64)
    solution = torch.linalg.lstsq(known, measured).solution
    residual = (known @ solution - measured).square().mean().sqrt()
    return Terms(*solution.tolist(), residual=float(residual))
