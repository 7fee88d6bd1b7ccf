"""Conditioning for the native engines: projected at frame rate here, interpolated between frames inside them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..conditioning import Condition, rows_of
from ..config import WaveNetConfig
from .reference import GRID, ReferenceEngine, quiet_torch
from .state import State

FRAME_GRID = 8  # frames projected together, always the same ones: as GRID, for conditioning at frame rate
BLOCK = 1024  # samples whose conditioning is projected together,
BLOCK_BYTES = 1 << 25  # or fewer where it has sample rate, so that memory stays flat
KEPT_GRIDS = 4  # a state keeps no more than so many for the next call: a long call gains nothing from them
ALWAYS = 1 << 40  # the hop of conditioning that does not change


@dataclasses.dataclass(frozen=True)
class Projections:
    """Projected frames of every stream of a state: those of stream b are starts[b] .. starts[b] + frames - 1."""

    condition: Condition
    starts: list[int]
    frames: int
    projected: Tensor  # [B, frames, L * 2 * padded G]
    fields: dict[str, Any]  # of fw_run_t

    def covers(self, spans: list[tuple[int, int]]) -> bool:
        """Whether all frames of these spans, one a stream, are here."""
        pairs = zip(self.starts, spans, strict=True)
        return all(start <= low and high <= start + self.frames for start, (low, high) in pairs)

    def stretch(self, row: int, first: int, count: int) -> Tensor | None:
        """Frames first .. first+count-1 of one stream, where all of them are here."""
        begin = first - self.starts[row]
        return self.projected[row, begin : begin + count] if 0 <= begin <= self.frames - count else None


class Projector:
    """The product of conditioning and its weights, in stretches that begin at multiples of a grid: so a frame's last
    bit does not depend on where a run begins.
    """

    def __init__(self, reference: ReferenceEngine, padded_gate: int) -> None:
        self.config: WaveNetConfig = reference.config
        self._reference = reference
        self._learned = self.config.upsampling in ("learned", "stages")  # computed at sample rate
        self._grid = GRID if self._learned else FRAME_GRID
        self._hop = 1 if self._learned else self.config.hop if self.config.local_channels else ALWAYS
        self._weight_and_bias = self._pad(padded_gate) if self.config.condition_channels else None
        self.block: int | None = BLOCK if self.config.condition_channels else None  # samples at once; None: all
        if self._learned:
            row = 8 * self.config.layers * padded_gate
            self.block = max(GRID, min(BLOCK, BLOCK_BYTES // row // GRID * GRID))

    def fields(self, state: State, condition: Condition, count: int) -> dict[str, Any]:
        """The fields of a native run that carry the conditioning of samples time-1 .. time+count-2 of each stream.

        A state that is advanced in place keeps what was projected for the next call with the same condition.
        """
        if self._weight_and_bias is None:
            return {}
        kept = state.projections
        if not isinstance(kept, Projections) or kept.condition is not condition:
            kept = None
        hop, grid = self._hop, self._grid
        # of the frames that are needed: the first, and behind the last one more to interpolate with
        needed = [((now - 1) // hop, (now + count - 2) // hop + 2) for now in state.time.tolist()]
        if kept is not None and kept.covers(needed):
            return kept.fields
        starts = [low // grid * grid for low, _ in needed]
        frames = max((high - 1) // grid * grid + grid - start for start, (_, high) in zip(starts, needed, strict=True))
        with quiet_torch():
            rows = [self._project(condition, kept, row, start, frames) for row, start in enumerate(starts)]
        projected = torch.stack(rows)
        fields = {
            "projected": projected,
            "first_frame": torch.tensor(starts, device=projected.device),
            "frames": frames,
            "hop": hop,
            "linear": int(self.config.local_channels > 0 and self.config.upsampling == "linear"),
        }
        few = frames <= KEPT_GRIDS * grid
        state.projections = Projections(condition, starts, frames, projected, fields) if few else None
        return fields

    def _project(self, condition: Condition, kept: Projections | None, row: int, start: int, frames: int) -> Tensor:
        """Frames start .. start+frames-1 of one stream, a grid at a time -> [frames, L * 2 * padded G]"""
        parts = []
        for first in range(start, start + frames, self._grid):
            part = None if kept is None else kept.stretch(row, first, self._grid)
            parts.append(self._product(condition.rows([row]), first) if part is None else part)
        return torch.cat(parts)

    def _product(self, condition: Condition, first: int) -> Tensor:
        """One grid of frames of one stream."""
        assert self._weight_and_bias is not None
        weight, bias = self._weight_and_bias
        if self._learned:
            vectors = self._reference.vectors(condition, first, self._grid)
        else:
            vectors = rows_of(self.config, self._reference.parameters, condition, first, self._grid)
        assert vectors is not None
        return vectors[0] @ weight + bias

    def _pad(self, padded_gate: int) -> tuple[Tensor, Tensor]:
        """(weight [C, L * 2 * padded G], bias [L * 2 * padded G]): the padding comes out as zeros."""
        parameters, gate = self._reference.parameters, self.config.gate_channels
        padding = (0, padded_gate - gate)
        weight = parameters["condition.weight"].reshape(self.config.layers, -1, 2, gate)
        bias = parameters["dilated.bias"].reshape(self.config.layers, 2, gate)
        return F.pad(weight, padding).transpose(0, 1).flatten(1), F.pad(bias, padding).flatten()
