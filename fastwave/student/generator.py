"""A student ready to make sound, behind the protocol of generation.

Everything is computed in blocks of `BLOCK` frames that begin at multiples of it, each stream's excitation and filters
alone and in the same shape: so a stream's samples depend on the seed, its number and its conditioning, and on nothing
else. A frame's filter reaches one hop back, so a block of excitation gives a block of the wave that ends one hop before
it. What a run has computed and was not asked for waits in the state.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..codec import Pcm
from ..distributions import Sampling
from ..errors import GenerationError, InputError
from ..runtime.dispatch import choose
from ..sound import features
from ..stack import inference
from ..vocoder import periods
from . import precision
from .network import ParallelWaveNet
from .prior import REACH, Prior, normal

DTYPES = ("float32", "bfloat16")
BLOCK = 15  # frames, 188 ms of speech: 375 steps are two tiles of 192 of the C++ stack, whose weights are packed anew


@dataclasses.dataclass(frozen=True)
class Followed:
    """Checked frames of every stream [B, F, width], and the phase of their F0 [B, F]."""

    frames: npt.NDArray[np.float32]
    phase: npt.NDArray[np.float64]

    def rows(self, rows: Sequence[int]) -> Followed:
        """The conditioning of these streams, in this order."""
        return Followed(self.frames[list(rows)], self.phase[list(rows)])


@dataclasses.dataclass
class StudentState:
    """What a student remembers of every stream; each tensor has one row a stream."""

    streams: Tensor  # [B], the numbers that name their noise
    blocks: Tensor  # [B], computed so far
    left: Tensor  # [B], samples of the last block that nobody has asked for yet
    ready: Tensor  # [B, block], the samples of the last block
    excitation: Tensor  # [B, hop], the last hop of it, refined
    tail: Tensor  # [B, n], what rings on in the wave, float64
    history: list[Tensor]  # a layer each, [B, (K-1)*d, R], in the generator's dtype

    def take(self, rows: Sequence[int]) -> StudentState:
        """The streams of these rows, in this order."""
        index = torch.tensor(list(rows), dtype=torch.int64)
        streams, blocks, left, ready, excitation, tail = (each[index] for each in self._tensors())
        return StudentState(streams, blocks, left, ready, excitation, tail, [each[index] for each in self.history])

    def put(self, rows: Sequence[int], other: StudentState) -> None:
        """Give these rows the contents of another state's, in place."""
        index = torch.tensor(list(rows), dtype=torch.int64)
        for mine, its in zip([*self._tensors(), *self.history], [*other._tensors(), *other.history], strict=True):
            mine[index] = its

    def become(self, other: StudentState) -> None:
        """Take over all of another state's contents."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(other, field.name))

    def _tensors(self) -> list[Tensor]:
        return [self.streams, self.blocks, self.left, self.ready, self.excitation, self.tail]


class StudentGenerator:
    """A copy of a student's weights that keeps the `Generator` protocol, on the CPU.

    `backend` is auto, cpu or reference. `dtype` is that of the network's products: "auto" is bfloat16 where the
    processor multiplies it fast and it changes this student's sound next to nothing, else float32; `why_dtype` says
    which and why. `threads` share the streams of a batch (default: those of torch): two that share a stream's block
    take longer than one. Samples do not depend on them.
    """

    def __init__(
        self, model: ParallelWaveNet, backend: str = "auto", dtype: str = "auto", threads: int | None = None
    ) -> None:
        if not isinstance(model, ParallelWaveNet):
            raise InputError(f"StudentGenerator needs a ParallelWaveNet, got {type(model).__name__}.")
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise InputError(f"threads must be an integer >= 1 or None, got {threads!r}.")
        if dtype not in ("auto", *DTYPES):
            raise InputError(f"a student computes in {' or '.join(DTYPES)}, not in {dtype!r}: leave dtype out.")
        self.config, self.threads = model.config, threads
        self.backend = choose("training", backend, "float32" if dtype == "auto" else dtype, "cpu").name
        self._model = ParallelWaveNet(model.config, "reference")
        self._model.load_state_dict({name: value.detach().float().cpu() for name, value in model.state_dict().items()})
        config = self.config
        self._prior = Prior(config.frames, config.squeeze, config.flow, config.voiced_to)
        self._native = self.backend == "cpu"
        if dtype == "bfloat16" and not self._native:
            raise InputError("on the reference a student computes in float32: leave dtype out, or backend.")
        self.dtype, self.why_dtype = ("float32" if dtype == "auto" else dtype), "asked for"
        if dtype == "auto":
            self.dtype, self.why_dtype = precision.chosen(
                model, self.backend, lambda each: StudentGenerator(model, backend, each, threads)
            )

    @property
    def codec(self) -> Pcm:
        """The samples are the waveform."""
        return self.config.codec_object

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self.config.sample_rate

    @property
    def block(self) -> int:
        """Samples that are computed together."""
        return BLOCK * self.config.frames.hop

    def check_sampling(self, sampling: Sampling) -> None:
        """Refuse what chooses among classes, which a student has none of."""
        sampling.check("gaussian")

    def read_condition(self, condition: object) -> object:
        """Frames of a recording, or of a .npy array, where a path is given; anything else as it is."""
        if not isinstance(condition, (str, os.PathLike)):
            return condition
        config, layout = self.config, self.config.frames
        return features.read(condition, config.features, layout.width, layout.sample_rate, layout.hop, config.normalize)

    def length_of(self, condition: object) -> int | None:
        """How many samples frames [F, width] or [B, F, width] last."""
        frames = condition.frames if isinstance(condition, Followed) else condition
        shape: tuple[int, ...] = getattr(frames, "shape", ())
        return int(shape[-2]) * self.config.frames.hop if len(shape) > 1 else None

    def prepare(self, condition: object, speaker: object, batch: int, samples: int) -> Followed:
        """Check frames for samples 0 .. samples-1 of so many streams."""
        if speaker is not None:
            raise InputError("a student has one voice, that of its training data: leave speaker out.")
        if isinstance(condition, Followed):
            if len(condition.frames) != batch:
                raise InputError(f"the conditioning is that of {len(condition.frames)} streams, not {batch}.")
            return condition
        layout = self.config.frames
        if condition is None:
            raise InputError(
                f"a student follows frames: give condition=, a recording or an array [frames, {layout.width}]."
            )
        frames = np.asarray(torch.as_tensor(condition).detach().cpu().float())
        frames = frames[None] if frames.ndim == 2 else frames
        if frames.ndim != 3 or frames.shape[2] != layout.width or frames.shape[0] not in (1, batch):
            raise InputError(f"condition must be [frames, {layout.width}] or [{batch}, ...], got {list(frames.shape)}.")
        if not np.isfinite(frames).all():
            raise InputError("the frames hold NaN or infinity.")
        if frames.shape[1] * layout.hop < samples:
            raise InputError(
                f"{frames.shape[1]} frames last {frames.shape[1] * layout.hop:,} samples, but {samples:,} are wanted."
            )
        if len(frames) and not frames.shape[1]:
            raise InputError("the condition holds no frame.")
        phase = np.stack([periods.running(each[:, layout.log_f0], layout) for each in frames])
        return Followed(
            np.broadcast_to(frames, (batch, *frames.shape[1:])), np.broadcast_to(phase, (batch, phase.shape[1]))
        )

    def start(
        self,
        batch: int = 1,
        *,
        prime: Tensor | None = None,
        condition: object = None,
        streams: Sequence[int] | None = None,
    ) -> StudentState:
        """The state before the first sample. `streams` names the noise of each row, 0 .. B-1 by default."""
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise InputError(f"batch must be an integer >= 1, got {batch!r}.")
        if prime is not None:
            raise InputError("a student makes all samples from frames and continues no sound: leave the prime out.")
        names = list(range(batch)) if streams is None else list(streams)
        if len(names) != batch or any(not 0 <= name < 2**32 for name in names):
            raise InputError(f"streams must be {batch} numbers in 0..2^32-1, got {names[:8]}.")
        return StudentState(
            streams=torch.tensor(names),
            blocks=torch.zeros(batch, dtype=torch.int64),
            left=torch.zeros(batch, dtype=torch.int64),
            ready=torch.zeros(batch, self.block),
            excitation=torch.zeros(batch, self.config.frames.hop),
            tail=torch.zeros(batch, self._prior.tail, dtype=torch.float64),
            history=inference.empty_history(batch, self._model.weights, self.config.dilations, self.dtype),
        )

    def run(
        self,
        state: StudentState,
        samples: int,
        *,
        seed: int = 0,
        condition: object = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        in_place: bool = False,
    ) -> Tensor:
        """The next samples of every stream, [B, samples]. `temperature` is a factor on the noise of the prior."""
        self.check_sampling(Sampling(temperature, top_k, top_p))
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 0:
            raise InputError(f"samples must be an integer >= 0, got {samples!r}.")
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise InputError(f"seed must be an integer 0..2^64-1, got {seed!r}.")
        batch = len(state.streams)
        followed = self.prepare(condition, None, batch, 0)
        work = state if in_place else state.take(range(batch))
        made = torch.zeros(batch, samples)
        threads = self.threads or torch.get_num_threads()
        groups = [range(first, batch, threads) for first in range(min(threads, batch))]

        def finish(rows: Sequence[int]) -> None:
            part = work if len(groups) == 1 else work.take(rows)
            made[list(rows)] = self._made(part, samples, followed.rows(rows), seed, temperature)
            if len(groups) > 1:
                work.put(rows, part)

        if len(groups) == 1:
            finish(groups[0])
        else:  # while one thread is in the network, which takes most of the time, another one can be in Python
            with concurrent.futures.ThreadPoolExecutor(len(groups)) as pool:
                list(pool.map(finish, groups))
        if not in_place:
            state.become(work)
        return made

    def _made(self, state: StudentState, samples: int, followed: Followed, seed: int, temperature: float) -> Tensor:
        """The next samples of these streams, on one thread; the state is changed."""
        batch = len(state.streams)
        made = torch.zeros(batch, samples)
        done = torch.zeros(batch, dtype=torch.int64)
        while True:
            for row in range(batch):
                left = int(state.left[row])
                count = min(left, samples - int(done[row]))
                first = self.block - left
                made[row, int(done[row]) : int(done[row]) + count] = state.ready[row, first : first + count]
                state.left[row] -= count
                done[row] += count
            rows = [row for row in range(batch) if done[row] < samples]
            if not rows:
                return made
            part = state if len(rows) == batch else state.take(rows)
            self._advance(part, followed.rows(rows), seed, temperature)
            if part is not state:
                state.put(rows, part)

    def _advance(self, state: StudentState, followed: Followed, seed: int, temperature: float) -> None:
        """Compute the next block of every stream; the state is changed."""
        blocks, streams = state.blocks.tolist(), state.streams.tolist()
        heard = [followed.rows([row]) for row in range(len(blocks))]
        parts = [
            self._excitation(one, block, seed, stream, temperature)
            for one, block, stream in zip(heard, blocks, streams, strict=True)
        ]
        excitation, conditions = (torch.from_numpy(np.stack(each)) for each in zip(*parts, strict=True))
        refined, state.history = self._refined(excitation, conditions, state.history)
        if not bool(torch.isfinite(refined).all()):
            raise GenerationError(f"the student's output is not finite in block {min(blocks)} or later.")
        whole = torch.cat([state.excitation, refined], dim=1).numpy()
        ready, tails = state.ready.numpy(), state.tail.numpy()
        for row, one in enumerate(heard):
            index, _ = self._frames(one, blocks[row])
            filters = self._prior.filters(one.frames[0, index[:BLOCK]])
            wave, tails[row] = self._prior.shaped(whole[row], filters, tails[row])
            ready[row] = wave.clip(-1, 1)
        state.excitation = refined[:, -self.config.frames.hop :].clone()
        # the first block begins one hop before the first sample
        state.left = torch.where(state.blocks > 0, self.block, self.block - self.config.frames.hop)
        state.blocks = state.blocks + 1

    def _frames(self, followed: Followed, block: int) -> tuple[npt.NDArray[np.int64], int]:
        """The frames at both ends of every hop of a block; beyond the end the last one repeats."""
        index = np.arange(block * BLOCK, (block + 1) * BLOCK + 1)
        return np.minimum(index, followed.frames.shape[1] - 1), block * self.block

    def _excitation(
        self, followed: Followed, block: int, seed: int, stream: int, temperature: float
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """What the network refines in a block of one stream, and its conditions."""
        index, first = self._frames(followed, block)
        noise = normal(seed, stream, first, self.block + 2 * REACH, self._native)
        if temperature != 1:
            noise = noise * np.float32(temperature)
        rows, last = followed.frames[0, index], followed.frames.shape[1] - 1
        around = np.clip(np.arange(block * BLOCK - 1, (block + 1) * BLOCK + 2), 0, last)
        return self._prior.inputs(rows, followed.phase[0, around], noise), self._prior.conditions(rows)

    def _refined(self, excitation: Tensor, conditions: Tensor, history: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """On the C++ stack all streams at once; products of torch depend on the batch, so there one after another."""
        if self._native:
            return self._model.refine(excitation, conditions, history, self.backend, 1, self.dtype)
        rows = range(len(excitation))
        parts = [
            self._model.refine(
                excitation[row : row + 1],
                conditions[row : row + 1],
                [each[row : row + 1] for each in history],
                self.backend,
            )
            for row in rows
        ]
        return torch.cat([wave for wave, _ in parts]), [
            torch.cat(each) for each in zip(*(past for _, past in parts), strict=True)
        ]
