"""Generation by a native engine: weights packed once, many samples a call, a state updated in place."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..conditioning import Condition, excitation
from ..config import WaveNetConfig
from ..distributions import Sampling
from ..runtime import library
from .projection import Projector
from .reference import ReferenceEngine, quiet_torch
from .state import State

PAD = 16  # floats: the native engine pads rows to a multiple of it, whatever the instruction set
CALL_SECONDS = 0.02  # length of a native call: Ctrl-C acts soon, and the overhead of a call is a thousandth of it
FIRST_CALL_FLOP = 4e8  # length of the first call, before the speed of this machine is known

Fields = dict[str, Any]  # fields of fw_run_t, with tensors in place of pointers to their data


class NativeEngine:
    """What the engines of csrc/ share. The memory of a stream is one row of floats with a ring buffer for each layer;
    csrc/fastwave.h has the layout. A subclass packs the weights, and runs on the device of `parameters`.
    """

    def __init__(self, config: WaveNetConfig, parameters: dict[str, Tensor]) -> None:
        self.config = config
        # Computes the state after the silence or the prime in one parallel pass, in float32 for every dtype.
        self._reference = ReferenceEngine(config, parameters, "float32")
        self.like = self._reference.like  # has the dtype and the device of the state
        self._scalar = config.scalar_input
        self.token_dtype = self._reference.token_dtype
        self._padded_residual, padded_gate = (
            -(-n // PAD) * PAD for n in (config.residual_channels, config.gate_channels)
        )
        self._projector = Projector(self._reference, padded_gate)
        weight = self._reference.parameters.get("excitation.weight")  # [E, R]
        if weight is not None:
            weight = F.pad(weight, (0, self._padded_residual - config.residual_channels))
        self._excitation_weight = weight
        self._rate = FIRST_CALL_FLOP / config.flop_per_sample / CALL_SECONDS  # samples a second over all streams

    def memory_shapes(self, batch: int) -> list[tuple[int, ...]]:
        """One tensor for all layers."""
        return [(batch, sum(self.config.history_slots) * self._padded_residual)]

    def begin(self, past: Tensor, length: int, condition: Condition) -> list[Tensor]:
        """The memory after `past` [B, field]: one receptive field of tokens, of which the last is sample length-1."""
        r = self.config.residual_channels
        rings = []
        for layer in self._reference.begin(past, length, condition):  # [B, slots, R], oldest first
            slots = layer.shape[1]
            # sample t has slot t % slots; these are samples length-1-slots .. length-2
            rows = (torch.arange(slots, device=self.like.device) + length - 1) % slots
            ring = self.like.new_zeros(past.shape[0], slots, self._padded_residual)
            ring[:, rows, :r] = layer
            rings.append(ring.flatten(1))
        return [torch.cat(rings, dim=1)]

    def run(
        self, state: State, samples: int, condition: Condition, seed: int, noise: Tensor | None, sampling: Sampling
    ) -> Tensor:
        """Draw samples of every stream: [B, samples]. The state is updated in place; after a failure it is unusable."""
        name, dtype = ("drawn_values", torch.float32) if self._scalar else ("drawn_classes", torch.int64)
        batch, device = state.batch, self.like.device
        settings: Fields = {
            "seed": seed,
            "temperature": sampling.temperature,
            "top_k": min(sampling.top_k or 0, self.config.classes),  # an int32 in fw_run_t
            "top_p": max(sampling.top_p or 1.0, 1e-37),  # above 0 as a float, too
        }

        def fields_of_call(first: int, count: int) -> tuple[Tensor, Fields]:
            drawn = torch.empty(batch, count, dtype=dtype, device=device)
            fields = {**settings, name: drawn}
            if noise is not None:
                fields["noise"] = noise[:, first : first + count].to(self.like).contiguous()
            return drawn, fields

        return self._in_calls(state, samples, condition, fields_of_call)

    def feed(self, state: State, tokens: Tensor, condition: Condition) -> Tensor:
        """tokens [B, n] -> what the model predicted for each, [B, n, O]. The state is updated as in `run`."""
        name = "given_values" if self._scalar else "given_classes"

        def fields_of_call(first: int, count: int) -> tuple[Tensor, Fields]:
            outputs = self.like.new_empty(state.batch, count, self.config.output_channels)
            known = tokens[:, first : first + count].contiguous()
            return outputs, {name: known, "outputs": outputs, "temperature": 1.0, "top_p": 1.0}

        return self._in_calls(state, tokens.shape[1], condition, fields_of_call)

    def _in_calls(
        self,
        state: State,
        samples: int,
        condition: Condition,
        fields_of_call: Callable[[int, int], tuple[Tensor, Fields]],
    ) -> Tensor:
        """Make native calls of some 20 ms, and join what they wrote in time.

        fields_of_call(first, count) makes the tensor that a call fills, and the fields of fw_run_t that go with it.
        """
        if not samples:
            return fields_of_call(0, 0)[0]
        parts, batch = [], state.batch
        block = self._projector.block or samples
        for begin in range(0, samples, block):
            end = min(samples, begin + block)
            projected = self._projector.fields(state, condition, end - begin)
            first = begin
            while first < end:
                count = min(end - first, max(1, int(CALL_SECONDS * self._rate / batch)))
                part, fields = fields_of_call(first, count)
                begun = time.perf_counter()
                fields |= self._excitation_field(state, condition, count)
                self._call(state, streams=batch, samples=count, **fields, **projected)
                self._rate = count * batch / (time.perf_counter() - begun)
                parts.append(part)
                first += count
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _excitation_field(self, state: State, condition: Condition, count: int) -> Fields:
        """The field of a run that carries the excitation of samples time-1 .. time+count-2 of each stream.

        Products are added one channel after the other: a product of matrices may round a sample of a longer run
        differently.
        """
        weight = self._excitation_weight
        if weight is None:
            return {}
        begins = [now - 1 for now in state.time.tolist()]
        parts = [condition] if len(set(begins)) == 1 else [condition.rows([row]) for row in range(len(begins))]
        with quiet_torch():
            known = [excitation(part, weight, begin, count) for part, begin in zip(parts, begins, strict=False)]
            e = torch.cat([part for part in known if part is not None])
            rows = e[..., :1] * weight[0]
            for channel in range(1, len(weight)):
                rows = rows + e[..., channel : channel + 1] * weight[channel]
        return {"excitation": rows}

    def _call(self, state: State, **fields: Any) -> None:
        """One native run over the state's own tensors, in place."""
        fields["times"], fields["ids"], fields["memory"] = state.time, state.streams, state.memory[0]
        fields["last_values" if self._scalar else "last_classes"] = state.tokens
        for name, value in fields.items():
            if isinstance(value, Tensor):
                fields[name] = value.data_ptr()
        self._run_native(**fields)

    def _run_native(self, **fields: Any) -> None:
        """Make one native call with these fields of fw_run_t."""
        raise NotImplementedError

    def _pointers(self) -> dict[str, int]:
        """The addresses of the weights, valid as long as this engine exists."""
        assert all(p.is_contiguous() for p in self._reference.parameters.values())
        return {name: p.data_ptr() for name, p in self._reference.parameters.items()}


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
        "front_activation": library.FRONT_ACTIVATIONS.index(config.front_activation),
    }
