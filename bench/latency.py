"""Where the time of a sample goes in the cluster kernel: a tail, its layers, and hops from block to block."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch


@dataclasses.dataclass(frozen=True)
class Terms:
    """Seconds of a sample = tail + layer * layers + hop * (layer_blocks - 1)."""

    tail: float  # the last skip, the head, the draw and the embedding; and a sample's share of the cost of a call
    layer: float
    hop: float  # extra, where the next layer is in the next block
    residual: float  # root mean square error of the fit


def terms_of(layers: Sequence[int], layer_blocks: Sequence[int], seconds: Sequence[float]) -> Terms:
    """Fit Terms by least squares to networks that differ only in their layers: one entry a network in each argument."""
    design = torch.tensor([[1, count, blocks - 1] for count, blocks in zip(layers, layer_blocks, strict=True)]).double()
    if int(torch.linalg.matrix_rank(design)) < 3:
        raise ValueError(f"{list(layers)} layers in {list(layer_blocks)} blocks do not tell layer, hop and tail apart.")
    measured = torch.tensor(seconds, dtype=torch.float64)
    solution = torch.linalg.lstsq(design, measured).solution
    residual = (design @ solution - measured).square().mean().sqrt()
    return Terms(*solution.tolist(), residual=float(residual))
