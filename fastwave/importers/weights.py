"""The tensors of a checkpoint as a mapping takes them: by name and shape, in float64, each used or named as dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..errors import CheckpointError
from .notes import Notes

Shape = Sequence[int | None]  # None: any size
_MOST_INDICES = 4096


class Weights:
    """Tensors by name. Whatever is neither taken nor dropped is refused by `finish`."""

    def __init__(self, tensors: Mapping[str, Tensor], name: str, notes: Notes) -> None:
        self._tensors, self._name, self._notes = tensors, name, notes
        self._used: set[str] = set()

    def rename(self, renamed: Callable[[str], str]) -> None:
        """Other names for all tensors, from now on; two that get the same are refused."""
        names: dict[str, str] = {}
        for name in self._tensors:
            short = renamed(name)
            if short in names:
                raise CheckpointError(f"{self._name} holds two tensors {short}: {names[short][:80]} and {name[:80]}.")
            names[short] = name
        self._tensors = {short: self._tensors[name] for short, name in names.items()}

    def has(self, name: str) -> bool:
        """Whether there is such a tensor."""
        return name in self._tensors

    def shape(self, name: str, dimensions: int | None = None) -> tuple[int, ...]:
        """The shape of a tensor that must be there, with so many dimensions."""
        shape = tuple(self._require(name).shape)
        if dimensions is not None and len(shape) != dimensions:
            raise CheckpointError(f"{self._name}: {name[:80]} has shape {list(shape)}, not {dimensions} dimensions.")
        return shape

    def indices(self, pattern: str) -> int:
        """How many tensors `pattern` names with 0, 1, 2, ... in place of {}; one behind a gap is refused."""
        every = (index for index in range(_MOST_INDICES) if pattern.format(index) not in self._tensors)
        count = next(every, _MOST_INDICES)
        start, _, end = pattern.partition("{}")
        for name in self._tensors:
            index = name[len(start) : len(name) - len(end)] if name.startswith(start) and name.endswith(end) else ""
            if index.isdecimal() and int(index) >= count:
                raise CheckpointError(
                    f"{self._name} has {name[:80]}, but lacks {pattern.format(count)}: it is incomplete."
                )
        return count

    def raw(self, name: str) -> Tensor:
        """A tensor in float64 that is looked at only: it still waits to be taken or dropped."""
        return self._require(name).to(torch.float64)

    def take(self, name: str, shape: Shape) -> Tensor:
        """A tensor of the expected shape, in float64."""
        tensor = self._require(name)
        if len(tensor.shape) != len(shape) or any(b is not None and a != b for a, b in zip(tensor.shape, shape)):  # noqa: B905
            expected = ", ".join("any" if size is None else str(size) for size in shape)
            raise CheckpointError(
                f"{self._name}: {name[:80]} has shape {str(list(tensor.shape))[:80]}, where the other tensors and the "
                f"hyper-parameters ask for [{expected}]."
            )
        if not tensor.is_floating_point():
            raise CheckpointError(f"{self._name}: {name[:80]} holds {tensor.dtype}, not numbers with a fraction.")
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{self._name}: {name[:80]} contains NaN or infinity: take an earlier checkpoint.")
        self._used.add(name)
        return tensor.to(torch.float64)

    def take_optional(self, name: str, shape: Shape) -> Tensor | None:
        """The same, or None where there is no such tensor."""
        return self.take(name, shape) if self.has(name) else None

    def take_normed(self, prefix: str, shape: Shape) -> Tensor:
        """`prefix`.weight, or what weight normalisation makes of a magnitude and direction for each first index."""
        names = [(f"{prefix}.weight_g", f"{prefix}.weight_v")]
        names += [(f"{prefix}.parametrizations.weight.original0", f"{prefix}.parametrizations.weight.original1")]
        for magnitude, direction in names:
            if self.has(direction):
                v = self.take(direction, shape)
                g = self.take(magnitude, (v.shape[0], *[1] * (v.dim() - 1)))
                length = v.flatten(1).square().sum(dim=1).sqrt().reshape(g.shape)
                if not bool((length > 0).all()):
                    raise CheckpointError(f"{self._name}: a row of {direction[:80]} is zero, which has no direction.")
                self._notes.folded("weight normalisation into the weights, in float64")
                return v * (g / length)
        return self.take(f"{prefix}.weight", shape)

    def drop(self, name: str, why: str) -> None:
        """Leave a tensor out, and say why."""
        self._require(name)
        self._used.add(name)
        self._notes.drop(f"{name}: {why}")

    def finish(self) -> None:
        """Refuse tensors that were neither taken nor dropped."""
        left = sorted(self._tensors.keys() - self._used)
        if left:
            raise CheckpointError(
                f"{self._name} holds tensors that this layout does not have: {', '.join(left[:4])[:300]} "
                f"({len(left)} in all). It is another version or a changed model, which would sound wrong without them."
            )

    def _require(self, name: str) -> Tensor:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise CheckpointError(f"{self._name} lacks the tensor {name}, which its layout needs.")
        return tensor
