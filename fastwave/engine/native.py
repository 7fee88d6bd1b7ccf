"""Generation by a native engine: weights packed once, many samples a call, a state in and out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..conditioning import Condition, rows_of
from ..config import WaveNetConfig
from ..distributions import Options
from ..runtime import library
from .reference import GRID, ReferenceEngine, quiet_torch
from .state import State

PAD = 16  # floats: the native engine fills rows up to a multiple of it, for every instruction set the same
FRAME_GRID = 8  # frames projected together, always the same ones: as GRID, for conditioning at frame rate
BLOCK = 1024  # samples whose conditioning is projected together,
BLOCK_BYTES = 1 << 25  # or fewer where it has sample rate, so that memory stays flat
CALL_SECONDS = 0.02  # of a native call: Ctrl-C is heard at once, and a call costs a thousandth of it
FIRST_CALL_FLOP = 4e8  # while the rate is not known
ALWAYS = 1 << 40  # the hop of conditioning that does not change


class NativeEngine:
    """What the engines of csrc/ share. The memory of a stream is one row of floats: a ring a layer, as csrc/fastwave.h
    says. A child packs the weights and runs them, where the parameters it hands over are.
    """

    def __init__(self, config: WaveNetConfig, parameters: dict[str, Tensor]) -> None:
        self.config = config
        # The silence and the prime are heard in one parallel pass of the reference, in float32 for every dtype.
        self._reference = ReferenceEngine(config, parameters, "float32")
        self.like = self._reference.like
        self.token_dtype = self._reference.token_dtype
        self._padded = {width: -(-width // PAD) * PAD for width in (config.residual_channels, config.gate_channels)}
        self._projection = self._make_projection()
        self._block: int | None = BLOCK if config.condition_channels else None
        if config.upsampling == "learned":
            row = 8 * config.layers * self._padded[config.gate_channels]
            self._block = max(GRID, min(BLOCK, BLOCK_BYTES // row // GRID * GRID))
        self._rate = FIRST_CALL_FLOP / config.flop_per_sample / CALL_SECONDS  # samples a second over all streams

    def memory_shapes(self, batch: int) -> list[tuple[int, ...]]:
        """One tensor for all layers."""
        return [(batch, sum(self.config.history_slots) * self._padded[self.config.residual_channels])]

    def begin(self, past: Tensor, length: int, condition: Condition) -> list[Tensor]:
        """The memory after one receptive field of tokens, past [B, field], of which the last is sample length-1."""
        r = self.config.residual_channels
        rings = []
        for layer in self._reference.begin(past, length, condition):  # [B, slots, R], oldest first
            slots = layer.shape[1]
            # where samples length-1-slots .. length-2 belong
            rows = (torch.arange(slots, device=self.like.device) + length - 1) % slots
            ring = self.like.new_zeros(past.shape[0], slots, self._padded[r])
            ring[:, rows, :r] = layer
            rings.append(ring.flatten(1))
        return [torch.cat(rings, dim=1)]

    def run(
        self, state: State, samples: int, condition: Condition, seed: int, noise: Tensor | None, options: Options
    ) -> Tensor:
        """Draw samples of every stream, and move the state on only when all went well."""
        scalar = self.config.scalar_input
        name, dtype = ("drawn_values", torch.float32) if scalar else ("drawn_classes", torch.int64)
        temperature, top_k, top_p = options
        top_k = min(top_k or 0, self.config.classes)  # an int32 there
        fields = {"seed": seed, "temperature": temperature, "top_k": top_k, "top_p": max(top_p or 1.0, 1e-37)}

        def call(first: int, count: int) -> tuple[Tensor, dict[str, Any]]:
            drawn = self.like.new_empty(state.batch, count, dtype=dtype)
            given = None if noise is None else noise[:, first : first + count].to(self.like).contiguous()
            return drawn, {**fields, name: drawn, "noise": given}

        return self._in_calls(state, samples, condition, call, self.like.new_empty(state.batch, 0, dtype=dtype))

    def feed(self, state: State, tokens: Tensor, condition: Condition) -> Tensor:
        """tokens [B, n] -> what the model predicted for each, [B, n, O]."""
        name = "given_values" if self.config.scalar_input else "given_classes"

        def call(first: int, count: int) -> tuple[Tensor, dict[str, Any]]:
            outputs = self.like.new_empty(state.batch, count, self.config.output_channels)
            given = tokens[:, first : first + count].contiguous()
            return outputs, {name: given, "outputs": outputs, "temperature": 1.0, "top_p": 1.0}

        nothing = self.like.new_empty(state.batch, 0, self.config.output_channels)
        return self._in_calls(state, tokens.shape[1], condition, call, nothing)

    def _in_calls(
        self,
        state: State,
        samples: int,
        condition: Condition,
        fields_of: Callable[[int, int], tuple[Tensor, dict[str, Any]]],
        nothing: Tensor,
    ) -> Tensor:
        """Native calls of some 20 ms on a copy of the state, which becomes the state when all went well.

        fields_of(first, count) gives the tensor that a call fills, and the fields of fw_run_t that are its own.
        """
        work, parts = state.copy(), [nothing]
        block = self._block or max(1, samples)
        for begin in range(0, samples, block):
            end = min(samples, begin + block)
            projected = self._projected(condition, work.time.tolist(), end - begin)
            first = begin
            while first < end:
                count = min(end - first, max(1, int(CALL_SECONDS * self._rate / state.batch)))
                result, fields = fields_of(first, count)
                begun = time.perf_counter()
                self._call(work, count, {**fields, **projected})
                self._rate = count * state.batch / (time.perf_counter() - begun)
                parts.append(result)
                first += count
        state.become(work)
        return torch.cat(parts, dim=1)

    def _call(self, state: State, count: int, fields: dict[str, Any]) -> None:
        """One native run over the state's own tensors, in place."""
        fields |= {"times": state.time, "ids": state.streams.to(torch.int64), "memory": state.memory[0]}
        fields["last_values" if self.config.scalar_input else "last_classes"] = state.tokens
        given = {name: value.data_ptr() if isinstance(value, Tensor) else value for name, value in fields.items()}
        given |= {"streams": state.batch, "samples": count}
        self._run_native(**{name: value for name, value in given.items() if value is not None})

    def _run_native(self, **fields: Any) -> None:
        """One fw_run_t."""
        raise NotImplementedError

    def _pointers(self) -> dict[str, int]:
        """Where the weights begin; good as long as this engine."""
        assert all(p.is_contiguous() for p in self._reference.parameters.values())
        return {name: p.data_ptr() for name, p in self._reference.parameters.items()}

    # Conditioning, projected at frame rate and interpolated inside

    def _make_projection(self) -> tuple[Tensor, Tensor] | None:
        """(weight [C, L * 2 * padded G], bias [L * 2 * padded G]): the padding comes out as zeros."""
        if not self.config.condition_channels:
            return None
        p, g = self._reference.parameters, self.config.gate_channels
        wide = self._padded[g] - g
        weight = p["condition.weight"].reshape(self.config.layers, -1, 2, g)
        bias = p["dilated.bias"].reshape(self.config.layers, 2, g)
        return F.pad(weight, (0, wide)).transpose(0, 1).flatten(1), F.pad(bias, (0, wide)).flatten()

    def _projected(self, condition: Condition, times: list[int], count: int) -> dict[str, Any]:
        """The fields of a native run that carry the conditioning of samples time-1 .. time+count-2 of each stream."""
        if self._projection is None:
            return {}
        learned, local = self.config.upsampling == "learned", self.config.local_channels
        hop = 1 if learned else self.config.hop if local else ALWAYS
        grid = GRID if learned else FRAME_GRID
        spans = []
        for now in times:
            low, high = (now - 1) // hop, (now + count - 2) // hop + 1  # and one to interpolate with
            spans.append((low // grid * grid, high // grid * grid + grid))
        frames = max(high - low for low, high in spans)
        with quiet_torch():
            rows = [
                self._project(condition.rows([row]), low, low + frames, learned, grid)
                for row, (low, _) in enumerate(spans)
            ]
        return {
            "projected": torch.stack(rows),
            "first_frame": torch.tensor([low for low, _ in spans], device=self.like.device),
            "frames": frames,
            "hop": hop,
            "linear": int(local > 0 and self.config.upsampling == "linear"),
        }

    def _project(self, condition: Condition, low: int, high: int, learned: bool, grid: int) -> Tensor:
        """Frames low .. high-1 of one stream, `grid` at a time -> [high-low, L * 2 * padded G]"""
        assert self._projection is not None
        weight, bias = self._projection
        parts = []
        for first in range(low, high, grid):
            if learned:
                c = self._reference.vectors(condition, first, grid)
            else:
                c = rows_of(self.config, self._reference.parameters, condition, first, grid)
            assert c is not None
            parts.append(c[0] @ weight + bias)
        return torch.cat(parts)


def sizes_of(config: WaveNetConfig) -> dict[str, int]:
    """The sizes of fw_model_t."""
    return {
        "residual": config.residual_channels,
        "gate": config.gate_channels,
        "skip": config.skip_channels,
        "head": config.head_channels,
        "outputs": config.output_channels,
        "taps": config.kernel_size,
        "front_taps": config.front_kernel,
        "layers": config.layers,
        "classes": config.classes,
        "output": library.OUTPUTS.index(config.output),
    }
