"""The engine: a model's weights made ready for one backend, and the verbs that move a state: start, run, feed.

Time has one axis. Sample 0 is the first one after the silence before the start; a prime occupies 0 .. P-1, and
noise and conditioning are indexed by the same number, so a run continued from its own output is the same run.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .. import conditioning
from ..checkpoint import read_tensors
from ..codec import Codec
from ..conditioning import Condition
from ..config import WaveNetConfig
from ..distributions import DRAWS, Sampling
from ..errors import BackendUnavailable, CheckpointError, InputError
from ..model import WaveNet, check_tokens
from ..runtime import library
from ..runtime.dispatch import choose
from .cpu import CpuEngine
from .cuda import CudaEngine
from .precision import choose_dtype
from .reference import ReferenceEngine
from .state import State


class Engine:
    """A copy of a model's weights, ready to generate on one backend. Later changes to the model do not reach it.

    `start` makes a state, `run` draws samples from it, `feed` gives it known ones. `dtype` "auto" is the cheapest of
    int8, bfloat16 and float32 that costs this model at most 0.002 bits a sample; `why_dtype` says what each costs. On
    the CPU `threads` share the streams of a batch, or two of them one network (default: all cores); samples do not
    depend on it. `instruction_set` forces one of `library.cpu_features()`. With CUDA, states and samples are on the
    model's GPU, or on torch's current one, and `kernel` forces one of `library.KERNELS`; `plan` says which runs.

    An engine keeps the `Generator` protocol: `fastwave.generate` and `fastwave.stream` take it in place of a model.
    """

    def __init__(
        self,
        model: WaveNet,
        backend: str = "auto",
        dtype: str = "auto",
        threads: int | None = None,
        instruction_set: str | None = None,
        kernel: str = "auto",
    ) -> None:
        if not isinstance(model, WaveNet):
            raise InputError(f"Engine needs a WaveNet, got {type(model).__name__}.")
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise InputError(f"threads must be an integer >= 1 or None, got {threads!r}.")
        # every backend computes in bfloat16, and a GPU is met in it before the model's own dtype is known
        self.choice = choose("generation", backend, "bfloat16" if dtype == "auto" else dtype)
        self.backend = self.choice.name
        if kernel != "auto" and self.backend != "cuda":
            raise InputError(f"kernel={kernel!r} chooses a CUDA kernel, but this engine runs on {self.backend}.")
        self.config: WaveNetConfig = model.config
        self._parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
        self.dtype, self.why_dtype = dtype, "asked for"
        if dtype == "auto":
            verdict = choose_dtype(
                self.backend,
                self._digest(),
                lambda each: Engine(model, self.backend, each, threads, instruction_set, kernel),
            )
            self.dtype, self.why_dtype = verdict.dtype, verdict.explain()
            self.choice = choose("generation", backend, self.dtype)
            self.backend = self.choice.name
        self._driver = self._make_driver(self.dtype, threads, instruction_set, kernel)
        self.fingerprint = self._digest()
        self._parameters = {}
        self._device = self._driver.like.device

    def _make_driver(
        self, dtype: str, threads: int | None, instruction_set: str | None, kernel: str
    ) -> ReferenceEngine | CpuEngine | CudaEngine:
        """What runs on the chosen backend."""
        if self.backend == "cpu":
            return CpuEngine(self.config, self._parameters, dtype, threads, instruction_set)
        if self.backend == "reference":
            return ReferenceEngine(self.config, self._parameters, dtype)
        try:
            return CudaEngine(self.config, self._parameters, dtype, self.choice.kernel if kernel == "auto" else kernel)
        except BackendUnavailable as error:
            if kernel != "auto" or self.choice.kernel != "cluster":
                raise
            # auto would use the cluster kernel alone, which holds no model of this size
            self.choice = choose("generation", "auto", dtype, passed_over=("cuda", str(error)))
            self.backend = self.choice.name
            return self._make_driver(dtype, threads, instruction_set, kernel)

    @property
    def codec(self) -> Codec:
        """What the tokens of `run` mean."""
        return self.config.codec_object

    @property
    def sample_rate(self) -> int:
        """Samples a second; 0 for text."""
        return self.config.sample_rate

    def plan(self, batch: int) -> library.CudaPlan:
        """How so many streams are launched on a GPU: the kernel and why it is that one, blocks, memory."""
        if not isinstance(self._driver, CudaEngine):
            raise InputError(f"only the cuda backend plans launches; this engine runs on {self.backend}.")
        return self._driver.plan(batch)

    def check_sampling(self, sampling: Sampling) -> None:
        """Refuse what means nothing for the output of this model."""
        sampling.check(self.config.output)

    def read_condition(self, condition: object) -> object:
        """Frames from the path of a recording or array, made as the model's features say; anything else as it is."""
        return conditioning.read(self.config, condition)

    def length_of(self, condition: object) -> int | None:
        """How many samples frames [F, C] or [B, F, C] last, or prepared excitation; None where there are none."""
        frames = condition
        if isinstance(condition, Condition):
            frames = condition.frames
            if frames is None and isinstance(condition.excitation, Tensor):
                return condition.excitation.shape[1]
        shape: tuple[int, ...] = getattr(frames, "shape", ())
        return int(shape[-2]) * self.config.hop if self.config.local_channels and len(shape) > 1 else None

    def prepare(
        self, condition: object, speaker: object, batch: int, samples: int, excitation: object = None
    ) -> Condition:
        """Check and convert conditioning for samples 0 .. samples-1 once, to be given as condition= many times.

        Frames and excitation are not copied where they already have the right type and place: leave them unchanged
        from then on.
        """
        prepared = conditioning.prepare(self.config, condition, speaker, batch, samples, excitation)
        return prepared.to(self._driver.like)

    def start(
        self,
        batch: int = 1,
        *,
        prime: Tensor | None = None,
        condition: object = None,
        speaker: object = None,
        excitation: object = None,
        streams: Sequence[int] | None = None,
    ) -> State:
        """A state that has heard silence, then the prime, in one parallel pass over one receptive field.

        prime [B, P] tokens; condition, speaker and excitation as for `WaveNet.forward`, from sample 0 on (before it,
        the first frame repeats, and the excitation is zero); streams names the noise of each row, 0 .. B-1 by default.
        """
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise InputError(f"batch must be an integer >= 1, got {batch!r}.")
        names = list(range(batch)) if streams is None else list(streams)
        if len(names) != batch or any(not 0 <= name < 2**32 for name in names):
            raise InputError(f"streams must be {batch} numbers in 0..2^32-1, got {names[:8]}.")
        field = self.config.receptive_field
        silence = self.config.codec_object.silence
        past = torch.full((batch, field), silence, dtype=self._driver.token_dtype, device=self._device)
        length = 0
        if prime is not None:
            prime = self._tokens(prime, batch)
            length = prime.shape[1]
            past = torch.cat([past, prime], dim=1)[:, -field:]
        prepared = self.prepare(condition, speaker, batch, length, excitation)
        alike = prime is None and prepared.frames is None and prepared.speaker is None
        memory = self._driver.begin(past[:1] if alike else past, length, prepared.rows([0]) if alike else prepared)
        return State(
            torch.full((batch,), length, dtype=torch.int64, device=self._device),
            torch.tensor(names, dtype=torch.int64, device=self._device),
            past[:, -self.config.front_kernel :].clone(),
            [each.expand(batch, *each.shape[1:]).clone() for each in memory] if alike else memory,
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
        excitation: object = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        in_place: bool = False,
    ) -> Tensor:
        """Draw the next samples of every stream and move the state on: [B, samples].

        One call equals any split into calls, bit for bit. `noise` [B, samples, draws] replaces the uniforms of
        `seed`. When an error is raised the state stays as it was.

        For that the state is copied, which costs as much as some samples. `in_place` saves the copy, for small chunks
        of a stream that is played as it is made: then a run that fails leaves the state unusable, and it says so.
        """
        sampling = Sampling(temperature, top_k, top_p)
        sampling.check(self.config.output)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise InputError(f"seed must be an integer 0..2^64-1, got {seed!r}.")
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 0:
            raise InputError(f"samples must be an integer >= 0, got {samples!r}.")
        self._check_state(state)
        draws = DRAWS[self.config.output]
        if noise is not None and noise.shape != (state.batch, samples, draws):
            raise InputError(f"noise must have shape {[state.batch, samples, draws]}, got {list(noise.shape)}.")
        if noise is not None and not bool(((noise >= 0) & (noise < 1)).all()):
            raise InputError("noise must lie in [0, 1).")
        prepared = self._prepare_for(state, condition, speaker, excitation, samples)
        return self._advance(
            state, in_place, lambda work: self._driver.run(work, samples, prepared, seed, noise, sampling)
        )

    def feed(
        self,
        state: State,
        tokens: Tensor,
        *,
        condition: object = None,
        speaker: object = None,
        excitation: object = None,
        in_place: bool = False,
    ) -> Tensor:
        """Give the next samples of every stream instead of drawing them (teacher forcing), and move the state on.

        tokens [B, n] -> outputs [B, n, O]; outputs[:, i] is what the model predicted for tokens[:, i]. `in_place` as
        for `run`.
        """
        self._check_state(state)
        tokens = self._tokens(tokens, state.batch)
        prepared = self._prepare_for(state, condition, speaker, excitation, tokens.shape[1])
        return self._advance(state, in_place, lambda work: self._driver.feed(work, tokens, prepared))

    def settle(
        self,
        state: State,
        *,
        condition: object = None,
        speaker: object = None,
        excitation: object = None,
        samples: int = 256,
        seconds: float = 0.3,
    ) -> None:
        """Measure for so many seconds how as many streams as this state has run fastest here, and keep to that.

        A CPU engine with several threads tries its ways of sharing the work again and again as it runs, and a slow try
        would be heard in live playback: a settled engine tries none. Where later batches have another size, it takes
        one thread, or spread streams where they are many. Samples do not depend on any of this, and the state stays
        where it is: the runs measured are of `samples` samples, which the conditioning must cover, on copies.
        """
        self._check_state(state)
        if not isinstance(self._driver, CpuEngine):
            return
        prepared = self._prepare_for(state, condition, speaker, excitation, samples)
        self._driver.settle(False)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.run(state.copy(), samples, condition=prepared, in_place=True)
        self._driver.settle(True)

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
        count = len(self._driver.memory_shapes(1))
        memory = [tensors[f"memory.{index}"].to(self._device) for index in range(count)]
        time, streams, tokens = (tensors[name].to(self._device) for name in ("time", "streams", "tokens"))
        state = State(time, streams, tokens, memory, self.fingerprint)
        fault = self._fault_of(state)
        if fault:
            raise CheckpointError(f"{source} is damaged: {fault}.")
        return state

    def _advance(self, state: State, in_place: bool, step: Callable[[State], Tensor]) -> Tensor:
        """What `step` makes of a state that it moves on: of a copy, which becomes the state when all went well; or of
        the state itself, which is unusable when something did not.
        """
        if in_place:
            try:
                return step(state)
            except BaseException as error:
                state.spoil(error)
                raise
        work = state.copy()
        result = step(work)
        state.become(work)
        state.remember_check()
        return result

    # Checks

    def _digest(self) -> str:
        """Which states belong to this engine: those of the same weights, config, backend and dtype."""
        digest = hashlib.blake2b(f"{self.backend} {self.dtype} {self.config.to_json()}".encode(), digest_size=16)
        for tensor in self._parameters.values():
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def _tokens(self, tokens: Tensor, batch: int) -> Tensor:
        tokens = check_tokens(self.config, tokens)
        if tokens.shape[0] != batch:
            raise InputError(f"tokens must have {batch} rows, one a stream, got {tokens.shape[0]}.")
        if self.config.scalar_input and not torch.isfinite(tokens).all():
            raise InputError("tokens contain NaN or infinity.")
        return tokens.to(self._device, self._driver.token_dtype)

    def _check_state(self, state: State) -> None:
        if not isinstance(state, State) or state.fingerprint != self.fingerprint:
            raise InputError("this state is not of this engine: weights, backend or dtype differ. Use Engine.start.")
        if state.is_checked():
            return
        fault = self._fault_of(state)
        if fault:
            raise InputError(f"this state cannot be run: {fault}. States come from Engine.start, take, join and put.")
        for name in ("time", "streams", "tokens"):  # a native engine reads and writes rows that lie one after the other
            setattr(state, name, getattr(state, name).contiguous())
        state.memory = [tensor.contiguous() for tensor in state.memory]
        state.remember_check()

    def _fault_of(self, state: State) -> str:
        """What is impossible about a state, or nothing. A native engine would read past tensors of a wrong shape."""
        if not state.batch:
            return "it has no streams"
        names = self._state_shapes(state.batch)
        types = [torch.int64, torch.int64, self._driver.token_dtype] + [self._driver.like.dtype] * (len(names) - 3)
        tensors = state.tensors()
        if len(tensors) != len(names):
            return f"it has {len(tensors)} tensors, not {len(names)}"
        for (name, shape), dtype, tensor in zip(names.items(), types, tensors, strict=True):
            if tensor.shape != shape or tensor.dtype != dtype:
                return f"{name} is {list(tensor.shape)} of {tensor.dtype}, not {list(shape)} of {dtype}"
            if tensor.device != self._device:
                return f"{name} is on {tensor.device}, not on {self._device}"
        if bool((state.time < 0).any() or (state.streams < 0).any() or (state.streams >= 2**32).any()):
            return "a time or a stream number is out of range"
        try:
            check_tokens(self.config, state.tokens)
        except InputError as error:
            return str(error)
        return ""

    def _prepare_for(
        self, state: State, condition: object, speaker: object, excitation: object, count: int
    ) -> Condition:
        """Conditioning for the next samples of every stream; only frames and excitation must reach as far as these."""
        channels = self.config.condition_channels + self.config.excitation_channels
        if condition is None and speaker is None and excitation is None and not channels:
            return Condition(state.batch)
        timed = self.config.local_channels + self.config.excitation_channels
        end = int(state.time.max()) + count if timed else count
        return self.prepare(condition, speaker, state.batch, end, excitation)

    def _state_shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {
            "time": (batch,),
            "streams": (batch,),
            "tokens": (batch, self.config.front_kernel),
        }
        return shapes | {f"memory.{index}": shape for index, shape in enumerate(self._driver.memory_shapes(batch))}
