"""The sizes of one call of the residual stack, and the form of what it saves for its backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from ..reference import StackWeights

Saved = tuple[tuple[tuple[int, ...], torch.dtype], tuple[tuple[int, ...], torch.dtype]]  # shape and dtype of each


class StackSizes(NamedTuple):
    """How long, wide and deep; the names are those of the integers of fw_stack_t."""

    batch: int
    time: int
    residual: int
    gate: int  # of one half
    skip: int
    condition: int  # 0 without conditioning
    taps: int
    layers: int
    first: int = 0  # the first step whose skip sum is wanted

    @classmethod
    def of(cls, batch_and_time: Sequence[int], weights: StackWeights, first: int = 0) -> StackSizes:
        """Those of these weights on x [batch, time, R]."""
        batch, time = batch_and_time
        layers, taps, residual, _ = weights.dilated_weight.shape
        _, gate, skip = weights.skip_weight.shape
        condition = 0 if weights.condition_weight is None else weights.condition_weight.shape[1]
        return cls(batch, time, residual, gate, skip, condition, taps, layers, first)
