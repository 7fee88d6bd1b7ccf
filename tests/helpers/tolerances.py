"""The two comparisons of tests and benches. The rule and its one table are in `fastwave/proof/closeness.py`."""

from __future__ import annotations

import torch
from torch import Tensor

from fastwave.proof.closeness import FLOORS, compare, distance, incomparable, largest, worst

__all__ = ["EXACT", "FLOORS", "assert_as_close_as_eager", "assert_exact"]

# Float64 against float64, for values near 1. Rounding through a hundred layers of sums of a thousand terms stays
# below 1e-11 (1e5 roundings of 1e-16, all of one sign); a wrong tap, index or formula is far above.
EXACT = 1e-10


def assert_as_close_as_eager(actual: Tensor, eager: Tensor, exact: Tensor, what: str = "") -> str:
    """Fail unless `actual` is at most twice as far from `exact` (float64) as `eager` of the same dtype, plus a floor.

    Distance is the largest absolute difference. Returns the figures in one line, for a bench to print as its proof.
    A failure names `what`.
    """
    comparison = compare(actual, eager, exact)
    label = f"{what}: " if what else ""
    assert not comparison.fault, f"{label}{comparison.fault}"
    return comparison.figures


def assert_exact(actual: Tensor, expected: Tensor) -> None:
    """Fail unless two float64 tensors agree to `EXACT`, relative to the largest value where that exceeds 1."""
    assert actual.dtype == torch.float64, f"only float64 is exact, got {actual.dtype}"
    assert not (fault := incomparable(actual, expected)), fault
    far, limit = distance(actual, expected), EXACT * max(1.0, largest(expected))
    assert far <= limit, (
        f"differs by {far:.3g}, limit {limit:.3g}; worst at index {worst(actual, expected)} of {list(expected.shape)}"
    )
