"""From frames and speakers to the per-sample vector c: [local features | speaker vector]; and the excitation e.

Frame i of the local features belongs to sample i*hop. Before the first frame and after the last one the edge
frame is repeated, so c is defined at every sample position, negative ones too, and any stretch of it can be
computed alone: chunks, training windows and the silence before the start are all the same function.

The excitation has one row a sample and enters the first layer alone. Before sample 0 it is zero.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from .config import WaveNetConfig
from .errors import InputError, did_you_mean
from .sound import features
from .upsampling import StageWeights, run_stages


@dataclasses.dataclass(frozen=True)
class Condition:
    """Checked conditioning of a batch: frames [B, F, C_local], speaker ids [B] or vectors [B, C_speaker], and
    excitation [B, T, E] or its function.

    Each is None where the model has no such part. Every function that takes `condition=` takes this too, so that
    a long run checks its frames once.
    """

    batch: int
    frames: Tensor | None = None
    speaker: Tensor | None = None
    excitation: Tensor | ComputedExcitation | None = None

    def rows(self, rows: Sequence[int]) -> Condition:
        """The conditioning of some streams of the batch; of one stream it is a view, hours of frames are not copied."""
        index = slice(rows[0], rows[0] + 1) if len(rows) == 1 else list(rows)
        frames, speaker = (None if part is None else part[index] for part in (self.frames, self.speaker))
        excitation = self.excitation
        if excitation is not None:
            excitation = excitation[index] if isinstance(excitation, Tensor) else excitation.rows(rows)
        return Condition(len(rows), frames, speaker, excitation)

    def to(self, like: Tensor) -> Condition:
        """In the dtype and place of the parameters it will meet: converted once, not at every use."""
        frames = None if self.frames is None else self.frames.to(like)
        speaker = self.speaker
        if speaker is not None:
            speaker = speaker.to(like) if speaker.is_floating_point() else speaker.to(like.device)
        excitation = self.excitation.to(like) if isinstance(self.excitation, Tensor) else self.excitation
        if frames is self.frames and speaker is self.speaker and excitation is self.excitation:
            return self
        return Condition(self.batch, frames, speaker, excitation)


ExcitationFunction = Callable[[int, int], Tensor]
STRETCH = 1024  # samples that an excitation function computes together, always the same ones
KEPT_STRETCHES = 16  # for the calls that follow, and for streams of a batch at different times


class ComputedExcitation:
    """Excitation that `function(first, count)` computes as it is needed: [count, E] for all streams, or [B, count, E].

    The function is asked for whole stretches, which begin at multiples of STRETCH: a sample's last bit does not
    depend on how a run is split, even where that of a sine depends on its neighbours. So the last stretch may reach
    beyond the end of a piece; what is returned there is not used.
    """

    def __init__(self, function: ExcitationFunction, batch: int, channels: int) -> None:
        self._function, self._shape = function, (batch, STRETCH, channels)
        self._rows = list(range(batch))
        self._stretch = functools.lru_cache(KEPT_STRETCHES)(self._compute)

    def rows(self, rows: Sequence[int]) -> ComputedExcitation:
        """That of some streams of the batch. Stretches are kept for all of them together."""
        picked = copy.copy(self)
        picked._rows = [self._rows[row] for row in rows]
        return picked

    def samples(self, first: int, count: int) -> Tensor:
        """Samples first .. first+count-1, neither of them negative: [B, count, E]"""
        numbers = range(first // STRETCH, max(first // STRETCH, (first + count - 1) // STRETCH) + 1)
        whole = torch.cat([self._stretch(number) for number in numbers], dim=1)
        begin = first - numbers[0] * STRETCH
        return whole[self._rows, begin : begin + count]

    def _compute(self, number: int) -> Tensor:
        batch, count, channels = self._shape
        first = number * STRETCH
        name = f"the excitation of samples {first} to {first + count - 1}, which its function returned,"
        return _check_excitation(name, self._function(first, count), batch, channels, count)


def read(config: WaveNetConfig, condition: object) -> object:
    """Frames [F, C] from the path of a file, as the model's `features` make them; anything else comes back as it is."""
    if not isinstance(condition, (str, os.PathLike)):
        return condition
    rate, hop = config.sample_rate, config.hop
    return features.read(condition, config.features, config.local_channels, rate, hop, config.normalize)


def prepare(
    config: WaveNetConfig, condition: object, speaker: object, batch: int, samples: int, excitation: object = None
) -> Condition:
    """The arguments condition=, speaker= and excitation= of a caller -> a Condition that covers samples 0 .. samples-1.

    condition is frames, [F, C] or [batch, F, C], the path of a file to make them from, or a Condition; excitation is
    [T, E] or [batch, T, E], or a function as ComputedExcitation has it.
    """
    if isinstance(condition, Condition):
        _check_prepared(config, condition, batch, samples)
        for name, part in (("speaker", speaker), ("excitation", excitation)):
            if part is not None:
                raise InputError(f"prepared conditioning holds the {name} already: leave {name} out.")
        return condition
    frames = vectors_or_ids = None
    if config.local_channels or condition is not None:
        frames = _check_frames(read(config, condition), batch, config.local_channels, config.hop)
        _check_cover(frames, config.hop, samples)
    if config.speaker_channels or speaker is not None:
        numbers = _numbers_of(speaker, config)
        vectors_or_ids = _check_speaker(numbers, batch, config.speakers, config.speaker_channels)
    return Condition(batch, frames, vectors_or_ids, _prepare_excitation(config, excitation, batch, samples))


def excitation(condition: Condition, like: Tensor, first: int, count: int) -> Tensor | None:
    """e at samples first .. first+count-1 in the dtype and place of `like`, zero before sample 0: [B, count, E]; None
    where there is none.
    """
    whole = condition.excitation
    if whole is None:
        return None
    silent = min(max(-first, 0), count)
    begin, end = max(first, 0), max(first + count, 0)
    known = whole[:, begin:end] if isinstance(whole, Tensor) else whole.samples(begin, end - begin)
    known = known.to(like)
    return torch.cat([known.new_zeros(known.shape[0], silent, known.shape[2]), known], dim=1) if silent else known


def vectors(
    config: WaveNetConfig, parameters: Mapping[str, Tensor], condition: Condition, first: int, count: int
) -> Tensor | None:
    """c at samples first .. first+count-1, in the dtype and place of the parameters: [B, count, C] or None."""
    condition = condition.to(parameters["front.weight"])
    local = None
    if condition.frames is not None:
        local = _upsampled(config, parameters, condition.frames, first, count)
    return _with_speaker(config, parameters, condition, local, count)


def _upsampled(
    config: WaveNetConfig, parameters: Mapping[str, Tensor], frames: Tensor, first: int, count: int
) -> Tensor:
    """Local features at samples first .. first+count-1: frames [B, F, C] -> [B, count, C]"""
    if config.upsampling == "stages":
        pairs = [(f"upsample.{i}.weight", f"upsample.{i}.bias") for i in range(len(config.upsample_stages))]
        of_stages = [StageWeights(parameters[weight], parameters.get(bias)) for weight, bias in pairs]
        return run_stages(frames, first, count, config.upsample_stages, of_stages)
    stages = range(len(config.upsample_scales))
    weights = [(parameters[f"upsample.{i}.weight"], parameters[f"upsample.{i}.bias"]) for i in stages]
    return upsample(frames, first, count, config.hop, config.upsampling, config.upsample_scales, weights)


def rows_of(
    config: WaveNetConfig, parameters: Mapping[str, Tensor], condition: Condition, first: int, count: int
) -> Tensor | None:
    """c at frames first .. first+count-1, before any upsampling: [B, count, C] or None. The edge frames repeat."""
    condition = condition.to(parameters["front.weight"])
    local = None
    if condition.frames is not None:
        local = _rows(condition.frames, torch.arange(first, first + count, device=condition.frames.device))
    return _with_speaker(config, parameters, condition, local, count)


def _with_speaker(
    config: WaveNetConfig, parameters: Mapping[str, Tensor], condition: Condition, local: Tensor | None, count: int
) -> Tensor | None:
    """[local features | speaker vector]: [B, count, C], or None where there is neither."""
    parts = [] if local is None else [local]
    if condition.speaker is not None:
        vector = parameters["speaker.weight"][condition.speaker] if config.speakers else condition.speaker
        parts.append(vector[:, None, :].expand(-1, count, -1))
    return torch.cat(parts, dim=-1) if parts else None


def upsample(
    frames: Tensor,
    first: int,
    count: int,
    hop: int,
    method: str,
    scales: Sequence[int] = (),
    weights: Sequence[tuple[Tensor, Tensor]] = (),
) -> Tensor:
    """Local features at samples first .. first+count-1.

    frames [B, F, C]; for `learned`, `scales` multiply to the hop and weights holds one
    (weight [2*scale, C, C], bias [C]) a stage -> [B, count, C]
    """
    if count == 0:
        return frames.new_zeros(frames.shape[0], 0, frames.shape[2])
    if method == "repeat":
        return _rows(frames, torch.arange(first, first + count, device=frames.device) // hop)
    if method == "linear":
        return _interpolate(frames, first, count, hop)
    return _transposed_convolutions(frames, first, count, scales, weights)


def _rows(frames: Tensor, index: Tensor) -> Tensor:
    """frames[:, index], with the edges repeated."""
    return frames[:, index.clamp(0, frames.shape[1] - 1)]


def _interpolate(frames: Tensor, first: int, count: int, hop: int) -> Tensor:
    time = torch.arange(first, first + count, device=frames.device)
    index = time // hop
    share = ((time % hop).to(torch.float64) / hop).to(frames.dtype)[:, None]
    left, right = _rows(frames, index), _rows(frames, index + 1)
    return left + share * (right - left)


def _transposed_convolutions(
    frames: Tensor, first: int, count: int, scales: Sequence[int], weights: Sequence[tuple[Tensor, Tensor]]
) -> Tensor:
    """Stage by stage: sample i*scale + k reads its two neighbours, W[k]^T x[i] + W[scale+k]^T x[i+1] + bias."""
    # From the last stage to the first: the inputs (start, end) that each stage needs for its outputs
    start, end = first, first + count
    spans = []
    for scale in reversed(scales):
        spans.append((start, end))
        start, end = start // scale, (end - 1) // scale + 2  # one neighbour to the right
    x = _rows(frames, torch.arange(start, end, device=frames.device))
    for scale, (weight, bias), (low, high) in zip(scales, weights, reversed(spans), strict=True):
        left = torch.einsum("bfc,kcd->bfkd", x[:, :-1], weight[:scale])
        right = torch.einsum("bfc,kcd->bfkd", x[:, 1:], weight[scale:])
        dense = (left + right + bias).flatten(1, 2)  # begins at sample start*scale
        x = dense[:, low - start * scale : high - start * scale]
        start = low
    return x


def linear_interpolation_weight(scale: int, channels: int) -> Tensor:
    """The [2*scale, C, C] weight with which a learned stage starts out as exactly linear interpolation."""
    share = torch.arange(scale) / scale
    return torch.cat([1 - share, share])[:, None, None] * torch.eye(channels)


def _check_prepared(config: WaveNetConfig, condition: Condition, batch: int, samples: int) -> None:
    if condition.batch != batch:
        raise InputError(f"this prepared conditioning has {condition.batch} streams, {batch} are needed.")
    parts = tuple(part is not None for part in (condition.frames, condition.speaker, condition.excitation))
    if parts != (config.local_channels > 0, config.speaker_channels > 0, config.excitation_channels > 0):
        raise InputError("this conditioning was prepared for another model.")
    if condition.frames is not None:
        _check_cover(condition.frames, config.hop, samples)
    if isinstance(condition.excitation, Tensor):
        _check_samples("excitation", condition.excitation, samples)


def _prepare_excitation(
    config: WaveNetConfig, values: object, batch: int, samples: int
) -> Tensor | ComputedExcitation | None:
    channels = config.excitation_channels
    if not channels:
        if values is not None:
            raise InputError("this model takes no excitation (its excitation_channels is 0): leave excitation out.")
        return None
    if values is None:
        raise InputError(
            f"this model takes an excitation: give excitation= with shape [samples, {channels}] or "
            f"[{batch}, samples, {channels}], or a function of (first, count) that computes it."
        )
    if callable(values):
        return ComputedExcitation(values, batch, channels)
    return _check_excitation("excitation", values, batch, channels, samples)


def _check_excitation(name: str, values: object, batch: int, channels: int, samples: int) -> Tensor:
    """[T, E] for the whole batch, or [B, T, E], of at least so many samples -> [B, T, E]"""
    given = _as_tensor(name, values)
    if not given.is_floating_point():
        raise InputError(f"{name} must be floating point, got {given.dtype}.")
    rows = given.expand(batch, -1, -1) if given.dim() == 2 else given
    if rows.dim() != 3 or rows.shape[0] != batch or rows.shape[2] != channels:
        wanted = f"[samples, {channels}] or [{batch}, samples, {channels}]"
        raise InputError(f"{name} must have shape {wanted}, got {list(given.shape)}.")
    _check_samples(name, rows, samples)
    _require_finite(name, rows)
    return rows


def _check_samples(name: str, rows: Tensor, samples: int) -> None:
    if rows.shape[1] < samples:
        raise InputError(
            f"{name} has {rows.shape[1]} samples, but {samples} are needed, counted from sample 0: give as many."
        )


def _check_frames(condition: object, batch: int, channels: int, hop: int) -> Tensor:
    """[F, C] for the whole batch, or [B, F, C] -> [B, F, C]"""
    expected = f"[frames, {channels}] or [{batch}, frames, {channels}]"
    if condition is None:
        raise InputError(f"this model is conditioned: give condition= with shape {expected}, {hop} samples a frame.")
    if not channels:
        raise InputError("this model takes no local features (its local_channels is 0): leave condition out.")
    frames = _as_tensor("condition", condition)
    if not frames.is_floating_point():
        raise InputError(f"condition must be floating point, got {frames.dtype}.")
    if frames.dim() == 2:
        frames = frames.expand(batch, -1, -1)
    if frames.dim() != 3 or frames.shape[0] != batch or frames.shape[2] != channels:
        raise InputError(f"condition must have shape {expected}, got {list(frames.shape)}.")
    _require_finite("condition", frames)
    return frames


def _check_cover(frames: Tensor, hop: int, samples: int) -> None:
    needed = max(1, -(-samples // hop))
    if frames.shape[1] < needed:
        raise InputError(
            f"condition has {frames.shape[1]} frames of {hop} samples, but {samples} samples are needed: "
            f"give at least {needed} frames."
        )


def _numbers_of(speaker: object, config: WaveNetConfig) -> object:
    """Speakers by name, one or a list, -> their ids; anything else comes back as it is."""
    if isinstance(speaker, (list, tuple)) and speaker and all(isinstance(name, str) for name in speaker):
        return [_numbers_of(name, config) for name in speaker]
    if not isinstance(speaker, str):
        return speaker
    names = config.speaker_names
    if not config.speaker_channels:
        return speaker  # who checks it says that the model knows no speakers
    if speaker in names:
        return names.index(speaker)
    if speaker.isdecimal() and config.speakers:
        return int(speaker)
    known = f"speakers are {', '.join(names)[:400]}" if names else "its speakers have numbers, not names"
    raise InputError(f"speaker {speaker[:80]!r} is not known to this model: {known}.{did_you_mean(speaker, names)}")


def _check_speaker(speaker: object, batch: int, speakers: int, channels: int) -> Tensor:
    """One for all or one a stream -> ids [B] when the model has a table of `speakers`, else vectors [B, channels]"""
    if not channels:
        raise InputError("this model knows no speakers (its speaker_channels is 0): leave speaker out.")
    if speaker is None:
        wanted = f"an id 0..{speakers - 1} or its name" if speakers else f"a vector of {channels}"
        raise InputError(f"this model needs to know the speaker: give speaker=, {wanted}, one for all or one a stream.")
    values = _as_tensor("speaker", speaker)
    if not speakers:
        chosen = values.expand(batch, -1) if values.dim() == 1 else values
        if chosen.shape != (batch, channels) or not chosen.is_floating_point():
            raise InputError(
                f"speaker must be a float vector [{channels}] or [{batch}, {channels}], "
                f"got {list(values.shape)} of {values.dtype}."
            )
        _require_finite("speaker", chosen)
        return chosen
    chosen = values.expand(batch) if values.dim() == 0 else values
    if chosen.shape != (batch,) or chosen.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        raise InputError(
            f"speaker must be an integer id, or {batch} of them, got {list(values.shape)} of {values.dtype}."
        )
    if not (int(chosen.min()) >= 0 and int(chosen.max()) < speakers):
        raise InputError(f"speaker ids must be 0..{speakers - 1}, got {chosen.tolist()[:8]}.")
    return chosen.to(torch.int64)


def _as_tensor(name: str, values: object) -> Tensor:
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} cannot be read as a tensor: {error}") from error


def _require_finite(name: str, values: Tensor) -> None:
    if not torch.isfinite(values).all():
        raise InputError(f"{name} contains NaN or infinity.")
