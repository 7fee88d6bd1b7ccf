"""General upsampling: transposed convolutions one after the other, as other projects have them; see `UpsampleStage`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import ConfigError

Weights = Literal["dense", "shared"]
Edges = Literal["zero", "repeat"]

MAX_STAGES = 24
MAX_STRIDE = 2**24
MAX_STAGE_TAPS = 2**16
MAX_BANDS = 1_023


@dataclasses.dataclass(frozen=True)
class UpsampleStage:
    """One transposed convolution: `stride` outputs for every input.

    dense:   y[n, e] = bias[e] + sum over i and c of weight[n + trim - i*stride, c, e] * x[i, c]
    shared:  y[n, c] = bias + sum over i and f of weight[n + trim - i*stride, f] * x[i, c + f - (bands-1)/2]

    where weight[k] is zero for k outside 0 .. taps-1, and x is zero for channels outside its own; with `phase_bias` the
    bias is bias[(n + trim) mod stride]. Then y is replaced by slope * y where it is negative. Before its first
    and behind its last input, x is zero or repeats the edge.
    A convolution over frames has stride 1. A sequence that is stretched by s and then convolved with 2s+1 taps is one
    stage of stride s with 3s taps and trim s.
    """

    stride: int
    taps: int
    trim: int = 0  # outputs that are cut off on the left
    weights: Weights = "dense"  # dense: a matrix for every tap; shared: the same few numbers for all channels
    bands: int = 1  # shared only: neighbouring channels that one output reads, an odd number
    bias: bool = False
    slope: float = 1.0  # of a leaky rectifier; 1 leaves values as they are, 0 is a plain rectifier
    edges: Edges = "zero"
    phase_bias: bool = False  # shared only: a bias of its own for each of the `stride` outputs of an input

    def __post_init__(self) -> None:
        for name, low, high in (("stride", 1, MAX_STRIDE), ("taps", 1, MAX_STAGE_TAPS), ("bands", 1, MAX_BANDS)):
            self._require(name, low, high)
        self._require("trim", 0, self.taps - 1)
        if self.weights not in get_args(Weights) or self.edges not in get_args(Edges):
            raise ConfigError(
                f"an upsample stage has weights dense or shared and edges zero or repeat, got "
                f"{str(self.weights)[:40]!r} and {str(self.edges)[:40]!r}."
            )
        if self.bands % 2 == 0 or (self.bands > 1 and self.weights == "dense"):
            raise ConfigError(f"an upsample stage has an odd number of bands, and 1 where dense; got {self.bands}.")
        if not isinstance(self.bias, bool):
            raise ConfigError(f"the bias of an upsample stage is true or false, got {str(self.bias)[:40]!r}.")
        if not isinstance(self.phase_bias, bool) or (self.phase_bias and not (self.bias and self.weights == "shared")):
            raise ConfigError(
                f"phase_bias of an upsample stage is true or false, and true with shared weights and a bias only; got "
                f"{str(self.phase_bias)[:40]!r}."
            )
        if isinstance(self.slope, bool) or not isinstance(self.slope, (int, float)) or not 0 <= self.slope <= 1:
            raise ConfigError(f"the slope of an upsample stage is a number 0..1, got {str(self.slope)[:40]!r}.")
        object.__setattr__(self, "slope", float(self.slope))

    def _require(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ConfigError(f"{name} of an upsample stage must be an integer {low}..{high}, got {str(value)[:40]!r}.")

    @classmethod
    def from_value(cls, value: object) -> UpsampleStage:
        """A stage, or the JSON object of one."""
        if isinstance(value, UpsampleStage):
            return value
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(value, Mapping) or not {"stride", "taps"} <= set(value) <= known:
            raise ConfigError(
                f"an upsample stage is an object with stride, taps and, where needed, "
                f"{', '.join(sorted(known - {'stride', 'taps'}))}; got {str(value)[:120]}."
            )
        return cls(**value)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values. `phase_bias` is left out where it is false, as in files from before it existed."""
        values = dataclasses.asdict(self)
        return values if self.phase_bias else {name: value for name, value in values.items() if name != "phase_bias"}

    def parameter_shapes(self, channels: int) -> dict[str, tuple[int, ...]]:
        """Shapes of `weight` and, where there is one, `bias`."""
        dense = self.weights == "dense"
        shapes: dict[str, tuple[int, ...]] = {
            "weight": (self.taps, channels, channels) if dense else (self.taps, self.bands)
        }
        if self.bias:
            shapes["bias"] = (channels,) if dense else (self.stride if self.phase_bias else 1,)
        return shapes


class StageWeights(NamedTuple):
    """The parameters of one stage."""

    weight: Tensor  # [taps, C, C], or shared [taps, bands]
    bias: Tensor | None  # [C], or shared [1], or with phase_bias [stride]


def stages_of(values: object) -> tuple[UpsampleStage, ...]:
    """Stages, or the JSON objects of some."""
    if not isinstance(values, (list, tuple)) or len(values) > MAX_STAGES:
        raise ConfigError(f"upsample_stages must be a list of at most {MAX_STAGES} stages, got {str(values)[:80]}.")
    return tuple(UpsampleStage.from_value(value) for value in values)


def hop_of(stages: Sequence[UpsampleStage]) -> int:
    """Samples a frame."""
    return math.prod(stage.stride for stage in stages)


def frames_ahead(stages: Sequence[UpsampleStage]) -> int:
    """How many frames behind its own a sample reads, at most."""
    low, high = 0, hop_of(stages)
    for stage in reversed(stages):
        low, high = _inputs_of(stage, low, high)
    return high - 1


def run_stages(
    frames: Tensor, first: int, count: int, stages: Sequence[UpsampleStage], weights: Sequence[StageWeights]
) -> Tensor:
    """Samples first .. first+count-1 of upsampled frames. Before sample 0 sample 0 is repeated, behind the last one the
    last one.

    frames [B, F, C] -> [B, count, C]
    """
    lengths = [frames.shape[1]]  # of the input of each stage, and of the last output
    for stage in stages:
        lengths.append(lengths[-1] * stage.stride)
    low, high = _clamped(first, first + count, lengths[-1])
    spans = [(low, high)]  # from the last stage to the first: what each must compute for the one after it
    for stage, length in zip(reversed(stages), reversed(lengths[:-1]), strict=True):
        low, high = _clamped(*_inputs_of(stage, low, high), length)
        spans.append((low, high))
    low, high = spans.pop()
    x = frames[:, low:high]
    for stage, of_stage, length in zip(stages, weights, lengths, strict=False):
        span = spans.pop()
        x = _run_stage(x, low, length, stage, of_stage, *span)
        low, high = span
    index = torch.arange(first, first + count, device=frames.device).clamp(0, lengths[-1] - 1)
    return x[:, index - low]


def _clamped(low: int, high: int, length: int) -> tuple[int, int]:
    """The part of low .. high-1 that exists, never empty: of what lies outside, the nearest."""
    return min(max(low, 0), length - 1), max(min(high, length), 1)


def _inputs_of(stage: UpsampleStage, low: int, high: int) -> tuple[int, int]:
    """The inputs that outputs low .. high-1 read: whole groups of `stride` taps at a time."""
    groups = -(-stage.taps // stage.stride)
    return (low + stage.trim) // stage.stride - (groups - 1), (high - 1 + stage.trim) // stage.stride + 1


def _run_stage(
    known: Tensor, begin: int, length: int, stage: UpsampleStage, weights: StageWeights, low: int, high: int
) -> Tensor:
    """Outputs low .. high-1. known [B, n, C] holds inputs begin .. begin+n-1 of `length` -> [B, high-low, C]"""
    start, end = _inputs_of(stage, low, high)
    index = torch.arange(start, end, device=known.device)
    x = known[:, (index - begin).clamp(0, known.shape[1] - 1)]
    if stage.edges == "zero":
        x = x * ((index >= 0) & (index < length)).to(x.dtype)[:, None]
    groups = -(-stage.taps // stage.stride)
    weight = F.pad(weights.weight, (0, 0) * (weights.weight.dim() - 1) + (0, groups * stage.stride - stage.taps))
    if stage.weights == "shared":
        margin = (stage.bands - 1) // 2
        x = F.pad(x, (margin, margin)).unfold(2, stage.bands, 1)  # [B, n, C, bands]
    product = "bfc,kcd->bfkd" if stage.weights == "dense" else "bfcp,kp->bfkc"
    count = end - start - (groups - 1)  # groups of outputs
    total = None
    for group in range(groups):  # group 0 holds the newest input's first taps
        taps = weight[group * stage.stride : (group + 1) * stage.stride]
        inputs = x[:, groups - 1 - group : groups - 1 - group + count]
        part = torch.einsum(product, inputs, taps)
        total = part if total is None else total + part
    assert total is not None
    if weights.bias is not None:
        total = total + (weights.bias[:, None] if stage.phase_bias else weights.bias)
    if stage.slope != 1:
        total = F.leaky_relu(total, stage.slope)
    dense = total.flatten(1, 2)  # begins at output (start + groups - 1) * stride - trim
    offset = low - ((start + groups - 1) * stage.stride - stage.trim)
    return dense[:, offset : offset + high - low]


def starting_weight(stage: UpsampleStage, channels: int) -> Tensor:
    """The weight with which a stage starts: every output is the mean of the inputs it reads, channel by channel."""
    share = 1 / max(1.0, stage.taps / stage.stride)
    if stage.weights == "dense":
        return torch.eye(channels).expand(stage.taps, -1, -1) * share
    return torch.full((stage.taps, stage.bands), share / stage.bands)
