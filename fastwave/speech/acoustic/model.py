"""The acoustic model of a voice: a sentence of phones -> frames for its vocoder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ConfigError, InputError
from ..analysis import HOP, LOG_F0, SAMPLE_RATE, VOICING, WIDTH
from ..phones import Pause, Sentence, Word
from .networks import Durations, Shape, mel_network, pitch_network
from .places import frame_features, places

FRAMES_PER_SECOND = SAMPLE_RATE / HOP
LONGEST = 40.0  # frames of a unit that the networks have seen the like of; longer pauses get silence in their middle
FARTHEST = 2.5  # standard deviations of log F0 from its mean that the spectrum follows
SMOOTH = 9  # frames over which a change of pitch from word to word is spread


class Acoustic(nn.Module):
    """Durations, F0 and voicing, and mel bands of sentences. `pitch_mean` and `pitch_deviation` are of ln Hz."""

    def __init__(self, shape: Shape, pitch_mean: float, pitch_deviation: float) -> None:
        super().__init__()
        self.shape, self.pitch_mean, self.pitch_deviation = shape, pitch_mean, pitch_deviation
        self.duration, self.pitch, self.mel = Durations(shape), pitch_network(shape), mel_network(shape)

    @classmethod
    def shapes(cls, settings: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor of a model with these settings; none is allocated."""
        with torch.device("meta"):
            return {name: tuple(tensor.shape) for name, tensor in cls._of(settings).state_dict().items()}

    @classmethod
    def from_tensors(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Acoustic:
        """The inverse of `settings` and `tensors`; tensors may be of any floating type."""
        with torch.device("meta"):  # no random numbers for weights about to be replaced
            model = cls._of(settings)
        shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
        wrong = [name for name, shape in shapes.items() if name not in tensors or tensors[name].shape != shape]
        if wrong or len(tensors) != len(shapes):
            names = ", ".join([*wrong, *(tensors.keys() - shapes.keys())])
            raise InputError(f"the tensors do not fit an acoustic model of this shape: {names[:200]}.")
        model.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)
        return model.eval().requires_grad_(False)

    @classmethod
    def _of(cls, settings: Mapping[str, Any]) -> Acoustic:
        """A model with new weights."""
        known = ("shape", "pitch_mean", "pitch_deviation")
        if not isinstance(settings, Mapping) or settings.keys() != set(known):
            raise ConfigError(f"settings of an acoustic model are {', '.join(known)}, got {str(settings)[:80]!r}.")
        mean, deviation = settings["pitch_mean"], settings["pitch_deviation"]
        for value, least, most in ((mean, 0.0, 10.0), (deviation, 1e-3, 10.0)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
                raise ConfigError(
                    f"the pitch of an acoustic model is in ln Hz, {least}..{most}, got {str(value)[:60]!r}."
                )
        return cls(Shape.from_dict(settings["shape"]), float(mean), float(deviation))

    def settings(self) -> dict[str, Any]:
        """JSON values."""
        shape = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self.shape).items()}
        return {"shape": shape, "pitch_mean": self.pitch_mean, "pitch_deviation": self.pitch_deviation}

    def tensors(self) -> dict[str, Tensor]:
        """All weights, float32."""
        return {name: value.detach() for name, value in self.state_dict().items()}

    @torch.inference_mode()
    def durations(self, sentence: Sentence, speed: float = 1.0) -> Tensor:
        """Frames of every unit, int64 [U]: at least one each, and as many in all as their exact sum, rounded.

        `speed` and each word's rate divide them; a pause of given seconds has these at any speed.
        """
        units = sentence.units()
        symbols, features = places(units)
        lengths = self.duration(symbols[None], features[None], torch.ones(1, 1, len(units)))[0].exp()
        lengths = lengths / (speed * self._of_units(sentence, "rate"))
        for index, unit in enumerate(units):
            part = sentence.parts[unit.part] if unit.part >= 0 else None
            if isinstance(part, Pause) and part.seconds is not None:
                lengths[index] = part.seconds * FRAMES_PER_SECOND
        return rounded(lengths)

    @torch.inference_mode()
    def frames(self, sentence: Sentence, durations: Tensor, pitch: float = 1.0, track: Tensor | None = None) -> Tensor:
        """[F, 42] for units that last so many frames. `pitch` and each word's own multiply F0.

        `track` [F, 2] is the log F0 and the voicing of a recording with these durations, in place of predicted ones.
        """
        symbols, features = places(sentence.units())
        if durations.shape != symbols.shape or int(durations.min()) < 0 or int(durations.sum()) < 1:
            raise InputError(
                f"a sentence of {len(symbols)} units needs as many durations, got {list(durations.shape)}."
            )
        longest = int(LONGEST) if track is None else len(track)  # a track has every frame of a long pause
        durations, longer = durations.clamp(max=longest), durations
        units = symbols[None], features[None], torch.ones(1, 1, len(symbols))
        index, place = torch.repeat_interleave(durations)[None], frame_features(durations)[None]
        f0, voicing = self.pitch(*units, index, place)[0]
        voicing = voicing.sigmoid()
        if track is not None:
            f0, voicing = (track[:, 0] - self.pitch_mean) / self.pitch_deviation, track[:, 1]
        factor = pitch * torch.repeat_interleave(self._of_units(sentence, "pitch"), durations)
        f0 = f0 + _smooth(factor.log() / self.pitch_deviation)
        seen = torch.stack([f0.clamp(-FARTHEST, FARTHEST), voicing], dim=-1)[None]
        bands = self.mel(*units, index, torch.cat([place, seen], dim=-1))[0]
        result = torch.empty(len(f0), WIDTH)
        result[:, :LOG_F0] = bands.mT
        result[:, LOG_F0] = self.pitch_mean + self.pitch_deviation * f0
        result[:, VOICING] = voicing
        return _with_silence(result, durations, longer)

    def _of_units(self, sentence: Sentence, name: str) -> Tensor:
        """A factor of the words, of every unit; a pause has that of the word before it."""
        factors, factor = [], 1.0
        for unit in sentence.units():
            part = sentence.parts[unit.part] if unit.part >= 0 else None
            factor = getattr(part, name) if isinstance(part, Word) else factor
            factors.append(factor)
        return torch.tensor(factors)


def rounded(lengths: Tensor) -> Tensor:
    """Whole frames of at least 1 whose sums, from the start to any unit, are those of `lengths` to half a frame.

    Where units are shorter than a frame the sums are longer, until longer units have made up for it.
    """
    result, end, exact = [], 0, 0.0
    for length in lengths.double().tolist():
        exact += length
        count = max(1, math.floor(exact + 0.5) - end)
        end += count
        result.append(count)
    return torch.tensor(result)


def _smooth(values: Tensor) -> Tensor:
    """The mean of SMOOTH neighbours."""
    if bool((values == values[0]).all()):
        return values
    padded = nn.functional.pad(values[None, None], (SMOOTH // 2, SMOOTH // 2), mode="replicate")
    return nn.functional.avg_pool1d(padded, SMOOTH, 1)[0, 0]


def _with_silence(frames: Tensor, durations: Tensor, longer: Tensor) -> Tensor:
    """Lengthen units in their middle: by silence as it is before the sentence."""
    if torch.equal(durations, longer):
        return frames
    parts, first = [], 0
    for count, wanted in zip(durations.tolist(), longer.tolist(), strict=True):
        middle = first + count // 2
        silence = frames[:1].expand(wanted - count, -1).clone()
        silence[:, LOG_F0] = frames[middle, LOG_F0] if count else 0
        parts += [frames[first:middle], silence, frames[middle : first + count]]
        first += count
    return torch.cat(parts)
