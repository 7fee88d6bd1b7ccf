"""Waveforms and classes as checked tensors, converted a block at a time: what the codecs are built on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import InputError

BLOCK = 1 << 20  # samples converted at a time: an hour of audio never has whole float64 copies of itself


def waveform(wave: Any) -> Tensor:
    """A float tensor [...] without gradient, wherever it lives."""
    tensor = _tensor(wave, "a waveform")
    if not tensor.is_floating_point():
        raise InputError(
            f"a waveform is made of floats in [-1, 1], got {tensor.dtype}: "
            "divide integer samples by their full scale first (32768 for 16 bits)"
        )
    return tensor


def class_tensor(classes: Any, count: int) -> Tensor:
    """An int64 tensor [...] whose every element is in [0, count)."""
    tensor = _tensor(classes, "classes")
    if not tensor.numel():  # an empty list has no type, and decodes to nothing
        return tensor.to(torch.int64)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise InputError(f"classes are integers, got {tensor.dtype}")
    tensor = tensor.to(torch.int64)
    low, high = (int(bound) for bound in torch.aminmax(tensor))
    if low < 0 or high >= count:
        raise InputError(f"classes must lie in 0..{count - 1}, got {low}..{high}: were they made by another codec?")
    return tensor


def _tensor(values: Any, name: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiu":
            raise TypeError(f"it holds {array.dtype}")
        if array.dtype.kind == "f" and array.dtype.itemsize > 8:
            array = array.astype(np.float64)  # torch has no long double
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        return torch.from_numpy(np.require(native, requirements=["C", "W"]))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} must be a tensor, an array or a nested list of numbers: {error}") from error


def in_blocks(source: Tensor, dtype: torch.dtype, convert: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply `convert` (float64 block in, may be overwritten) to a block at a time -> `dtype`, same shape and device."""
    flat = source.reshape(-1)
    result = torch.empty(flat.shape, dtype=dtype, device=flat.device)
    # Apple's GPUs have no float64, in which all backends agree on the class of a sample near a bin's edge
    work = torch.device("cpu") if flat.device.type == "mps" else flat.device
    for first in range(0, flat.numel(), BLOCK):
        block = torch.empty_like(flat[first : first + BLOCK], dtype=torch.float64, device=work)
        block.copy_(flat[first : first + BLOCK])
        if not bool(torch.isfinite(block).all()):
            at = first + int(torch.isfinite(block).logical_not_().nonzero()[0])
            raise InputError(f"the waveform holds NaN or infinity, first at element {at}")
        result[first : first + BLOCK] = convert(block)
    return result.reshape(source.shape)


def along_time(
    source: Tensor, dtype: torch.dtype, past: Any, convert: Callable[[Tensor, float], tuple[Tensor, float]]
) -> tuple[Tensor, Tensor]:
    """`_in_blocks` for what filters along the last dimension: `convert` also takes and returns the memory of a row.

    source [..., T], past [...] or None for zeros -> (result [..., T], the memory after it: [...] float64)
    """
    if not source.dim():
        raise InputError("pre-emphasis filters along time: give [time] or [batch, time], not a single number.")
    shape = source.shape[:-1]
    rows = source.reshape(shape.numel(), source.shape[-1])
    memory = torch.zeros(shape, dtype=torch.float64).reshape(-1)
    if past is not None:
        memory[:] = torch.as_tensor(past, dtype=torch.float64).expand(shape).reshape(-1)
    result = torch.empty(rows.shape, dtype=dtype, device=rows.device)
    for row in range(len(rows)):

        def filtered(block: Tensor, row: int = row) -> Tensor:
            converted, memory[row] = convert(block, float(memory[row]))
            return converted

        result[row] = in_blocks(rows[row], dtype, filtered)
    return result.reshape(source.shape), memory.reshape(shape)
