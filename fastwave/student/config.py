"""The shape of a parallel student, and the frames that it follows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..codec import Pcm
from ..config import dilation_cycle
from ..errors import ConfigError
from ..sound import features, loudness
from ..vocoder import analysis
from ..vocoder.frames import Frames
from .prior import REACH, normal

WHOLE = {"squeeze": (1, 64), "residual_channels": (1, 4096), "kernel_size": (2, 64)}
MOST_LAYERS, LONGEST = 256, 1 << 16
MOST_DITHER = 0.01  # -40 dB: more would be heard in speech
# Left out of files where they are so: students were saved before there was a choice
_LEFT_OUT = {"flow": False, "dither": 0.0, "voiced_to": 4500.0}


@dataclasses.dataclass(frozen=True)
class RecordedFrames(features.Features):
    """The frames of a recording by `vocoder/analysis.py`: mel bands, F0, voicing."""

    kind: ClassVar[str] = "frames"
    reads: ClassVar[str] = "a recording (.wav, .flac, .ogg, .mp3)"
    width_parameter: ClassVar[str] = "width"
    hears_sound: ClassVar[bool] = True

    layout: Frames
    dither: float = 0.0  # see `dithered`

    @property
    def width(self) -> int:
        """Values a frame."""
        return self.layout.width

    def from_sound(self, waves: Iterable[npt.NDArray[np.float32]], sample_rate: int, hop: int) -> Iterator[Tensor]:
        """A recording in chunks [time] -> float32 frames [n, width], all at once: F0 looks at the whole."""
        wave = np.concatenate([*waves, np.zeros(0, np.float32)])
        if len(wave):
            yield torch.from_numpy(analysis.frames(dithered(wave, self.dither), layout=self.layout))


def dithered(wave: npt.NDArray[np.float32], scale: float) -> npt.NDArray[np.float32]:
    """A recording [time] with noise of this scale, always the same: digital silence is no sound that a normal
    distribution could have made.
    """
    return wave + np.float32(scale) * normal(0, 0, 0, len(wave)) if scale else wave


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """Frozen, validated on creation, exact in and out of JSON."""

    frames: Frames = dataclasses.field(default_factory=Frames)
    squeeze: int = 8  # samples that one step of the network makes
    residual_channels: int = 64  # also those of one half of the gated unit
    kernel_size: int = 3  # taps of a dilated convolution
    dilations: tuple[int, ...] = dilation_cycle(6, 2)  # in steps
    normalize: loudness.Normalize = "loudness"  # the level that recordings are brought to
    flow: bool = False  # an inverse-autoregressive flow, which is what a distilled student is: see network.py
    dither: float = 0.0  # noise in the recordings whose frames are followed, root mean square
    # Hz, up to which voiced frames begin as pulses: the network makes noise of a pulse sooner than the reverse
    voiced_to: float = 8000.0

    def __post_init__(self) -> None:
        for name, (low, high) in WHOLE.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(f"{name} must be a whole number {low}..{high}, got {str(value)[:80]!r}.")
        if self.residual_channels < self.squeeze:
            raise ConfigError(
                f"residual_channels={self.residual_channels} must be at least squeeze={self.squeeze}: the samples of a "
                "step enter the network in channels of their own."
            )
        if not isinstance(self.flow, bool):
            raise ConfigError(f"flow is true or false, got {str(self.flow)[:80]!r}.")
        if self.flow and (self.residual_channels < 2 * self.squeeze or self.squeeze > REACH):
            raise ConfigError(
                f"a flow with squeeze={self.squeeze} and residual_channels={self.residual_channels}: squeeze is at "
                f"most {REACH} and half of residual_channels, as noise and pulses enter in channels of their own."
            )
        for name, most in (("dither", MOST_DITHER), ("voiced_to", 1e6)):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value <= most:
                raise ConfigError(f"{name} is a number 0..{most:g}, got {str(value)[:80]!r}.")
        if self.frames.hop % self.squeeze:
            raise ConfigError(f"hop={self.frames.hop} must be a multiple of squeeze={self.squeeze}.")
        whole = all(isinstance(each, int) and not isinstance(each, bool) for each in self.dilations)
        if not 1 <= len(self.dilations) <= MOST_LAYERS or not whole or min(self.dilations) < 1:
            raise ConfigError(f"dilations are 1..{MOST_LAYERS} whole numbers above 0, got {str(self.dilations)[:80]}.")
        if self.receptive_field > LONGEST:
            raise ConfigError(f"a student looks back on {LONGEST:,} steps at most, got {self.receptive_field:,}.")
        loudness.check(self.normalize)

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self.frames.sample_rate

    @property
    def codec_object(self) -> Pcm:
        """What the samples mean: they are the waveform itself."""
        return Pcm()

    @property
    def local_channels(self) -> int:
        """Values in a frame."""
        return self.frames.width

    @property
    def features(self) -> RecordedFrames:
        """How frames are made of a recording."""
        return RecordedFrames(self.frames, self.dither)

    @property
    def steps_per_frame(self) -> int:
        """Steps of the network from one frame to the next."""
        return self.frames.hop // self.squeeze

    @property
    def receptive_field(self) -> int:
        """Steps of the prior that one output depends on, its own included."""
        return 1 + (self.kernel_size - 1) * sum(self.dilations)

    @property
    def outputs(self) -> int:
        """Values that the network gives for one step: a sample's refinement each, or those that make a step of a flow
        of its noise: means, ln scales, and what each sample owes to the noise of those before it in the step.
        """
        return self.squeeze if not self.flow else 2 * self.squeeze + self.squeeze * (self.squeeze - 1) // 2

    @property
    def multiply_adds(self) -> int:
        """Of the residual stack, for one sample."""
        channels, layers = self.residual_channels, len(self.dilations)
        inputs = self.kernel_size * channels + self.frames.width
        outputs = layers * self.outputs + (layers - 1) * channels
        return (layers * inputs * 2 * channels + outputs * channels) // self.squeeze

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parameters, those of docs/spec.md."""
        layers, channels, taps = len(self.dilations), self.residual_channels, self.kernel_size
        return {
            "dilated.weight": (layers, taps, channels, 2 * channels),
            "dilated.bias": (layers, 2 * channels),
            "condition.weight": (layers, self.frames.width, 2 * channels),
            "residual.weight": (layers - 1, channels, channels),
            "residual.bias": (layers - 1, channels),
            "skip.weight": (layers, channels, self.outputs),
            "skip.bias": (self.outputs,),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, every field but those of `_LEFT_OUT` that are as usual."""
        values = {**dataclasses.asdict(self), "dilations": list(self.dilations)}
        return {name: value for name, value in values.items() if (name, value) not in _LEFT_OUT.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StudentConfig:
        """The inverse of `to_dict`. Fields that are absent take their defaults, or what they were before there was a
        choice; unknown ones are refused.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(str(key) for key in values if key not in known)
        if unknown:
            raise ConfigError(f"unknown setting of a student {unknown[0][:80]!r}; known are {', '.join(known)}.")
        given: dict[str, Any] = {**_LEFT_OUT, **values}
        if "frames" in given:
            given["frames"] = Frames.from_dict(given["frames"])
        if "dilations" in given:
            if not isinstance(given["dilations"], (list, tuple)):
                raise ConfigError(f"dilations are a list of whole numbers, got {str(given['dilations'])[:80]!r}.")
            given["dilations"] = tuple(given["dilations"])
        return cls(**given)
