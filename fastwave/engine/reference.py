"""Generation on the reference: every stream computed alone, sample by sample, by `reference.wavenet`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .. import conditioning, reference
from ..conditioning import Condition
from ..config import WaveNetConfig
from ..distributions import DRAWS, Sampling, sample
from ..errors import GenerationError
from ..philox import noise as philox_uniforms
from .state import State

BLOCK = 1024  # samples whose conditioning and noise are computed at once: memory does not grow with the length
GRID = 64  # conditioning is computed in stretches that begin at multiples of it, see ReferenceEngine.vectors
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


class ReferenceEngine:
    """Computes on one thread, one stream at a time, so that a sample's last bit cannot depend on its neighbours."""

    def __init__(self, config: WaveNetConfig, parameters: dict[str, Tensor], dtype: str) -> None:
        self.config = config
        self.parameters = {name: tensor.to(DTYPES[dtype], copy=True) for name, tensor in parameters.items()}
        self.like = self.parameters["front.weight"]  # has the dtype and the device of the state
        self.token_dtype = self.like.dtype if config.scalar_input else torch.int64

    def memory_shapes(self, batch: int) -> list[tuple[int, ...]]:
        """One tensor a layer: its last inputs, oldest first."""
        return [(batch, slots, self.config.residual_channels) for slots in self.config.history_slots]

    def begin(self, past: Tensor, length: int, condition: Condition) -> list[Tensor]:
        """The memory after `past` [B, field]: one receptive field of tokens, of which the last is sample length-1."""
        field = past.shape[1]
        kept = []
        with quiet_torch():
            for row in range(past.shape[0]):
                alone, first = condition.rows([row]), length - field
                c = self.vectors(alone, first, field - 1)
                e = conditioning.excitation(alone, self.like, first, field - 1)
                kept.append(self._forward(past[row : row + 1, :-1], c, e, None, None)[1])
        return [torch.cat(layer) for layer in zip(*kept, strict=True)]

    def run(
        self, state: State, samples: int, condition: Condition, seed: int, noise: Tensor | None, sampling: Sampling
    ) -> Tensor:
        """Draw samples of every stream: [B, samples], and advance the state."""
        rows, chosen = [], []
        with quiet_torch():
            for row in range(state.batch):
                stream = state.take([row])
                uniforms = None if noise is None else noise[row]
                chosen.append(self._run_stream(stream, samples, condition.rows([row]), seed, uniforms, sampling))
                rows.append(stream)
        state.become(rows[0].join(*rows[1:]))
        return torch.cat(chosen)

    def feed(self, state: State, tokens: Tensor, condition: Condition) -> Tensor:
        """tokens [B, n] -> what the model predicted for each, [B, n, O]; one parallel pass a stream."""
        count = tokens.shape[1]
        rows, outputs = [], []
        with quiet_torch():
            for row in range(state.batch):
                stream = state.take([row])
                known = torch.cat([stream.tokens, tokens[row : row + 1]], dim=1)
                alone, first = condition.rows([row]), int(stream.time) - 1
                c = self.vectors(alone, first, count)
                e = conditioning.excitation(alone, self.like, first, count)
                outputs.append(self._step(stream, known[:, -1 - count : -1], c, e))
                stream.tokens = known[:, -self.config.front_kernel :]
                rows.append(stream)
        state.become(rows[0].join(*rows[1:]))
        return torch.cat(outputs)

    def vectors(self, condition: Condition, first: int, count: int) -> Tensor | None:
        """The conditioning c at samples first .. first+count-1. The last bit of learned upsampling can depend on how
        many samples it computes together, so it always computes the same stretches, whatever part is asked for."""
        begin, end = first // GRID * GRID, -(-(first + count) // GRID) * GRID
        stretches = [
            conditioning.vectors(self.config, self.parameters, condition, at, GRID) for at in range(begin, end, GRID)
        ]
        present = [stretch for stretch in stretches if stretch is not None]
        return torch.cat(present, dim=1)[:, first - begin : first - begin + count] if present else None

    def _run_stream(
        self, stream: State, samples: int, condition: Condition, seed: int, noise: Tensor | None, sampling: Sampling
    ) -> Tensor:
        output, draws = self.config.output, DRAWS[self.config.output]
        chosen = []
        for begin in range(0, samples, BLOCK):
            count, first = min(BLOCK, samples - begin), int(stream.time)
            if noise is None:
                uniforms = philox_uniforms(seed, int(stream.streams), first, count, draws)
            else:
                uniforms = noise[begin : begin + count]
            c = self.vectors(condition, first - 1, count)
            e = conditioning.excitation(condition, self.like, first - 1, count)
            for step in range(count):
                # a list, not a slice: for the strides of a slice torch chooses a product that rounds differently
                c_now, e_now = (None if part is None else part[:, [step]] for part in (c, e))
                out = self._step(stream, stream.tokens[:, -1:], c_now, e_now)
                token = sample(output, out[:, 0], uniforms[step : step + 1], sampling)
                stream.tokens = torch.cat([stream.tokens[:, 1:], token[:, None].to(self.token_dtype)], dim=1)
                chosen.append(token)
        if not chosen:
            return torch.empty(1, 0, dtype=torch.int64 if output == "categorical" else torch.float32)
        return torch.stack(chosen, dim=1)

    def _step(self, stream: State, inputs: Tensor, condition: Tensor | None, excitation: Tensor | None) -> Tensor:
        """Feed inputs [1, n], of which the first is the newest token, and advance time and memory."""
        out, stream.memory = self._forward(inputs, condition, excitation, stream.tokens[:, :-1], stream.memory)
        finite = torch.isfinite(out)
        if not finite.all():
            step = int(stream.time) + int(finite.all(dim=-1)[0].logical_not().nonzero()[0])
            raise GenerationError(
                f"the output for sample {step} of stream {int(stream.streams)} is not finite. "
                "Weights or conditioning are broken, or the activations overflow."
            )
        stream.time = stream.time + inputs.shape[1]
        return out

    def _forward(
        self,
        inputs: Tensor,
        condition: Tensor | None,
        excitation: Tensor | None,
        last: Tensor | None,
        memory: list[Tensor] | None,
    ) -> tuple[Tensor, list[Tensor]]:
        config = self.config
        more: dict[str, Any] = {"excitation": excitation, "front_activation": config.front_activation}
        return reference.wavenet(self.parameters, config.dilations, inputs, condition, last, memory, **more)


@contextlib.contextmanager
def quiet_torch() -> Iterator[None]:
    """No autograd, and one thread: the order of a sum, and so its last bit, may depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)
