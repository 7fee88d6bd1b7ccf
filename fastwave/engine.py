"""The engine: a model's weights made ready for one backend, and generation state that the caller holds.

Time has one axis. Sample 0 is the first one after the silence before the start; a prime occupies 0 .. P-1, and
noise and conditioning are indexed by the same number, so a run continued from its own output is the same run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from . import conditioning, reference
from .backends import choose
from .checkpoint import read_tensors, write_tensors
from .conditioning import Condition
from .config import WaveNetConfig
from .distributions import DRAWS, check_options, sample
from .errors import CheckpointError, GenerationError, InputError
from .model import WaveNet, check_tokens
from .noise import noise as philox_uniforms

BLOCK = 1024  # samples for which conditioning and noise are laid out at once: memory stays flat on any run
GRID = 64  # conditioning is computed in stretches that begin at multiples of it, see Engine._vectors
REFERENCE_DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@dataclasses.dataclass
class State:
    """Everything generation remembers between two calls; every tensor has one row a stream.

    time [B] counts samples since the start; streams [B] says which noise a row draws; tokens [B, K0] are the last
    ones, the newest not yet fed to the network; history holds L tensors [B, (K-1)*d, R], oldest first.
    """

    time: Tensor
    streams: Tensor
    tokens: Tensor
    history: list[Tensor]
    fingerprint: str  # of the weights, backend and dtype it belongs to

    @property
    def batch(self) -> int:
        """How many streams."""
        return int(self.time.shape[0])

    def copy(self) -> State:
        """An independent state: fork one past into many continuations."""
        return self.take(range(self.batch))

    def take(self, rows: Sequence[int]) -> State:
        """The given rows as a new state. A row may be left out (its stream has ended) or repeated (forked)."""
        for row in rows:
            self._check_row(row)
        index = torch.tensor(list(rows), dtype=torch.int64, device=self.time.device)
        return self._from_tensors([tensor[index] for tensor in self._tensors()])

    def join(self, *others: State) -> State:
        """One state with the streams of all, in order."""
        if any(other.fingerprint != self.fingerprint for other in others):
            raise InputError("states of different engines cannot be joined: weights, backend or dtype differ.")
        columns = zip(self._tensors(), *(other._tensors() for other in others), strict=True)
        return self._from_tensors([torch.cat(column) for column in columns])

    def put(self, row: int, other: State) -> None:
        """Give one row's place in the batch to the only stream of another state."""
        self._check_row(row)
        if other.batch != 1:
            raise InputError(f"put takes a state of one stream, got {other.batch}.")
        rows = [self.batch if index == row else index for index in range(self.batch)]
        self.become(self.join(other).take(rows))

    def become(self, other: State) -> None:
        """Take over all of another state's contents."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(other, field.name))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file that `Engine.load_state` reads, for the same model, backend and dtype."""
        names = ["time", "streams", "tokens", *(f"history.{layer}" for layer in range(len(self.history)))]
        tensors = dict(zip(names, self._tensors(), strict=True))
        try:
            write_tensors(Path(path), tensors, {"fingerprint": self.fingerprint, "batch": str(self.batch)})
        except OSError as error:
            raise CheckpointError(f"cannot save the state to {path}: {error.strerror or error}.") from error

    def _tensors(self) -> list[Tensor]:
        return [self.time, self.streams, self.tokens, *self.history]

    def _from_tensors(self, tensors: list[Tensor]) -> State:
        time, streams, tokens, *history = tensors
        return State(time, streams, tokens, history, self.fingerprint)

    def _check_row(self, row: int) -> None:
        if not 0 <= row < self.batch:
            raise InputError(f"row {row} of a state with {self.batch} streams: rows are 0..{self.batch - 1}.")


class Engine:
    """A copy of a model's weights, ready to generate on one backend. Later changes to the model do not reach it.

    `start` makes a state, `run` draws samples from it, `feed` gives it known ones. On the reference backend every
    stream is computed alone and on one thread, so that a sample's last bit cannot depend on its neighbours.
    """

    def __init__(
        self, model: WaveNet, backend: str = "auto", dtype: str = "float32", threads: int | None = None
    ) -> None:
        if not isinstance(model, WaveNet):
            raise InputError(f"Engine needs a WaveNet, got {type(model).__name__}.")
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise InputError(f"threads must be an integer >= 1 or None, got {threads!r}.")
        self.choice = choose("generation", backend)
        self.backend = self.choice.name
        if dtype not in REFERENCE_DTYPES:
            raise InputError(
                f"dtype {dtype!r} does not run on the {self.backend} backend; "
                f"choose one of {', '.join(REFERENCE_DTYPES)}."
            )
        self.config: WaveNetConfig = model.config
        self.dtype = dtype
        self._float = REFERENCE_DTYPES[dtype]
        self._parameters = {
            name: parameter.detach().to(self._float, copy=True) for name, parameter in model.named_parameters()
        }
        self._device = self._parameters["front.weight"].device

    @functools.cached_property
    def fingerprint(self) -> str:
        """A digest of weights, config, backend and dtype: which states belong to this engine."""
        digest = hashlib.sha256(f"{self.backend} {self.dtype} {self.config.to_json()}".encode())
        for tensor in self._parameters.values():
            digest.update(tensor.cpu().contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def prepare(self, condition: object, speaker: object, batch: int, samples: int) -> Condition:
        """Check and convert conditioning for samples 0 .. samples-1 once, to be given as condition= many times."""
        prepared = conditioning.prepare(self.config, condition, speaker, batch, samples)
        return prepared.to(self._parameters["front.weight"])

    def start(
        self,
        batch: int = 1,
        *,
        prime: Tensor | None = None,
        condition: object = None,
        speaker: object = None,
        streams: Sequence[int] | None = None,
    ) -> State:
        """A state that has heard silence, then the prime, in one parallel pass over one receptive field.

        prime [B, P] tokens; condition and speaker as for `WaveNet.forward`, from sample 0 on (before it, the first
        frame repeats); streams names the noise of each row, 0 .. B-1 by default.
        """
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise InputError(f"batch must be an integer >= 1, got {batch!r}.")
        names = list(range(batch)) if streams is None else list(streams)
        if len(names) != batch or any(not 0 <= name < 2**32 for name in names):
            raise InputError(f"streams must be {batch} numbers in 0..2^32-1, got {names[:8]}.")
        field = self.config.receptive_field
        silence = self.config.codec_object.silence
        past = torch.full((batch, field), silence, dtype=self._token_dtype, device=self._device)
        length = 0
        if prime is not None:
            prime = self._tokens(prime, batch)
            length = prime.shape[1]
            past = torch.cat([past, prime], dim=1)[:, -field:]
        given = self.prepare(condition, speaker, batch, length)
        kept: list[list[Tensor]] = []
        with _quiet_torch():
            for row in range(batch):
                c = self._vectors(given.rows([row]), length - field, field - 1)
                kept.append(self._forward(past[row : row + 1, :-1], c, None, None)[1])
        return State(
            torch.full((batch,), length, dtype=torch.int64, device=self._device),
            torch.tensor(names, dtype=torch.int64, device=self._device),
            past[:, -self.config.front_kernel :].clone(),
            [torch.cat(layer) for layer in zip(*kept, strict=True)],
            self.fingerprint,
        )

    def run(
        self,
        state: State,
        samples: int,
        *,
        seed: int = 0,
        noise: Tensor | None = None,
        condition: object = None,
        speaker: object = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Tensor:
        """Draw the next samples of every stream and move the state on: [B, samples].

        One call equals any split into calls, bit for bit. `noise` [B, samples, draws] replaces the uniforms of
        `seed`. When an error is raised the state stays as it was.
        """
        check_options(self.config.output, temperature, top_k, top_p)
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 0:
            raise InputError(f"samples must be an integer >= 0, got {samples!r}.")
        self._check_state(state)
        draws = DRAWS[self.config.output]
        if noise is not None and noise.shape != (state.batch, samples, draws):
            raise InputError(f"noise must have shape {[state.batch, samples, draws]}, got {list(noise.shape)}.")
        if noise is not None and not bool(((noise >= 0) & (noise < 1)).all()):
            raise InputError("noise must lie in [0, 1).")
        given = self.prepare(condition, speaker, state.batch, self._end(state, samples))
        options = (temperature, top_k, top_p)
        rows, chosen = [], []
        with _quiet_torch():
            for row in range(state.batch):
                stream = state.take([row])
                drawn = None if noise is None else noise[row]
                chosen.append(self._run_stream(stream, samples, seed, drawn, given.rows([row]), options))
                rows.append(stream)
        state.become(rows[0].join(*rows[1:]))
        return torch.cat(chosen)

    def feed(self, state: State, tokens: Tensor, *, condition: object = None, speaker: object = None) -> Tensor:
        """Give the next samples of every stream instead of drawing them (teacher forcing), and move the state on.

        tokens [B, n] -> outputs [B, n, O]; outputs[:, i] is what the model predicted for tokens[:, i].
        """
        self._check_state(state)
        tokens = self._tokens(tokens, state.batch)
        count = tokens.shape[1]
        given = self.prepare(condition, speaker, state.batch, self._end(state, count))
        rows, outputs = [], []
        with _quiet_torch():
            for row in range(state.batch):
                stream = state.take([row])
                known = torch.cat([stream.tokens, tokens[row : row + 1]], dim=1)
                c = self._vectors(given.rows([row]), int(stream.time) - 1, count)
                out = self._step(stream, known[:, -1 - count : -1], c)
                stream.tokens = known[:, -self.config.front_kernel :]
                rows.append(stream)
                outputs.append(out)
        state.become(rows[0].join(*rows[1:]))
        return torch.cat(outputs)

    def load_state(self, path: str | os.PathLike[str]) -> State:
        """The state that `State.save` wrote. A file of other weights, another backend or dtype is refused."""
        source = Path(path)

        def shapes(metadata: dict[str, str]) -> dict[str, tuple[int, ...]]:
            batch = metadata.get("batch", "")
            if metadata.get("fingerprint") != self.fingerprint or not batch.isdecimal() or len(batch) > 7:
                raise CheckpointError(f"{source} is not a state of this model, backend and dtype.")
            return self._state_shapes(int(batch))

        integers = {"time", "streams"} if self.config.scalar_input else {"time", "streams", "tokens"}
        tensors, _ = read_tensors(source, shapes, frozenset(integers))
        history = [tensors[f"history.{layer}"].to(self._device) for layer in range(self.config.layers)]
        time, streams, tokens = (tensors[name].to(self._device) for name in ("time", "streams", "tokens"))
        if history[0].dtype != self._float or (time < 0).any() or (streams < 0).any() or (streams >= 2**32).any():
            raise CheckpointError(f"{source} is damaged: its times, stream numbers or types are impossible.")
        try:
            check_tokens(self.config, tokens)
        except InputError as error:
            raise CheckpointError(f"{source} is damaged: {error}") from error
        return State(time, streams, tokens, history, self.fingerprint)

    # One stream

    def _run_stream(
        self,
        stream: State,
        samples: int,
        seed: int,
        noise: Tensor | None,
        condition: Condition,
        options: tuple[float, int | None, float | None],
    ) -> Tensor:
        output, draws = self.config.output, DRAWS[self.config.output]
        chosen = []
        for begin in range(0, samples, BLOCK):
            count, first = min(BLOCK, samples - begin), int(stream.time)
            if noise is None:
                drawn = philox_uniforms(seed, int(stream.streams), first, count, draws)
            else:
                drawn = noise[begin : begin + count]
            c = self._vectors(condition, first - 1, count)
            for step in range(count):
                # gathered, not sliced: with the strides of a slice torch takes another product, with other last bits
                now = None if c is None else c[:, [step]]
                out = self._step(stream, stream.tokens[:, -1:], now)
                token = sample(output, out[:, 0], drawn[step : step + 1], *options)
                stream.tokens = torch.cat([stream.tokens[:, 1:], token[:, None].to(self._token_dtype)], dim=1)
                chosen.append(token)
        if not chosen:
            return torch.empty(1, 0, dtype=torch.int64 if output == "categorical" else torch.float32)
        return torch.stack(chosen, dim=1)

    def _step(self, stream: State, inputs: Tensor, condition: Tensor | None) -> Tensor:
        """Feed inputs [1, n], of which the first is the newest token, and advance time and history."""
        out, stream.history = self._forward(inputs, condition, stream.tokens[:, :-1], stream.history)
        finite = torch.isfinite(out)
        if not finite.all():
            step = int(stream.time) + int(finite.all(dim=-1)[0].logical_not().nonzero()[0])
            raise GenerationError(
                f"the network's output for sample {step} of stream {int(stream.streams)} is not finite. "
                "Weights or conditioning are broken, or the activations overflow."
            )
        stream.time = stream.time + inputs.shape[1]
        return out

    def _forward(
        self, inputs: Tensor, condition: Tensor | None, last: Tensor | None, history: list[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]]:
        return reference.wavenet(self._parameters, self.config.dilations, inputs, condition, last, history)

    def _vectors(self, condition: Condition, first: int, count: int) -> Tensor | None:
        """c at samples first .. first+count-1. The last bit of learned upsampling can depend on how many samples it
        computes together, so it always computes the same stretches, whatever part of them is asked for."""
        begin, end = first // GRID * GRID, -(-(first + count) // GRID) * GRID
        stretches = [
            conditioning.vectors(self.config, self._parameters, condition, at, GRID) for at in range(begin, end, GRID)
        ]
        known = [stretch for stretch in stretches if stretch is not None]
        return torch.cat(known, dim=1)[:, first - begin : first - begin + count] if known else None

    # Checks

    @property
    def _token_dtype(self) -> torch.dtype:
        return self._float if self.config.scalar_input else torch.int64

    def _tokens(self, tokens: Tensor, batch: int) -> Tensor:
        tokens = check_tokens(self.config, tokens)
        if tokens.shape[0] != batch:
            raise InputError(f"tokens must have {batch} rows, one a stream, got {tokens.shape[0]}.")
        if self.config.scalar_input and not torch.isfinite(tokens).all():
            raise InputError("tokens contain NaN or infinity.")
        return tokens.to(self._device, self._token_dtype)

    def _check_state(self, state: State) -> None:
        if not isinstance(state, State) or state.fingerprint != self.fingerprint:
            raise InputError("this state is not of this engine: weights, backend or dtype differ. Use Engine.start.")

    def _end(self, state: State, count: int) -> int:
        return int(state.time.max()) + count

    def _state_shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        config = self.config
        shapes: dict[str, tuple[int, ...]] = {
            "time": (batch,),
            "streams": (batch,),
            "tokens": (batch, config.front_kernel),
        }
        for layer, slots in enumerate(config.history_slots):
            shapes[f"history.{layer}"] = (batch, slots, config.residual_channels)
        return shapes


@contextlib.contextmanager
def _quiet_torch() -> Iterator[None]:
    """No autograd, and one thread: the order of a sum, and so its last bit, may follow the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)
