"""Frames -> sound: a WaveNet that makes the excitation, and the filter that the frames' spectrum makes.

frames [F, W]   -> conditions [F, W] for every layer, sines of the phase of F0 [time, 2] for the first one
                -> WaveNet: classes of the excitation, mu-law
                -> linear prediction (sound/lpc.py) -> wave
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..config import WaveNetConfig, dilation_cycle
from ..engine.engine import Engine
from ..errors import ConfigError, InputError
from ..model import WaveNet
from ..sound import lpc
from . import periods
from .frames import Frames

PRESET = "small"
# The phase of F0 tells what a long memory would: 32 ms are looked back on, and a sample costs 0.62 of `small`
SHAPE: dict[str, Any] = {"dilations": dilation_cycle(8, 2), "skip_channels": 64}
FIRST_BLOCK, BLOCK = 4, 16  # frames, of 12.5 ms each
TEMPERATURES = 20  # steps from 0 to 1: frames of the same temperature are one call of the engine

Array = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class VocoderSettings:
    """What belongs to a vocoder's WaveNet beside its weights."""

    frames: Frames = dataclasses.field(default_factory=Frames)
    lpc: lpc.LpcSettings = dataclasses.field(default_factory=lpc.LpcSettings)
    scale: float = 12.0  # the excitation at which mu-law clips; it is about 1 in root mean square, 9 at its peaks
    voiced_temperature: float = 0.95  # of frames with voicing 1; a frame in between takes a temperature in between
    unvoiced_temperature: float = 1.0

    def __post_init__(self) -> None:
        limits = {"scale": (1e-3, 1e3), "voiced_temperature": (0.0, 2.0), "unvoiced_temperature": (0.0, 2.0)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ConfigError(f"{name} of a vocoder must lie in {low:g}..{high:g}, got {str(value)[:80]!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, every field."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VocoderSettings:
        """The inverse of `to_dict`. Fields that are absent take their defaults; unknown ones are refused."""
        if not isinstance(values, Mapping) or not isinstance(values.get("lpc", {}), Mapping):
            raise ConfigError(f"settings of a vocoder are a JSON object, got {str(values)[:80]!r}.")
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(str(key) for key in values if key not in known)
        if unknown:
            raise ConfigError(f"unknown setting of a vocoder {unknown[0][:80]!r}; known are {', '.join(known)}.")
        prediction = lpc.LpcSettings.from_dict(values.get("lpc", {}))
        return cls(**{**values, "lpc": prediction, "frames": Frames.from_dict(values.get("frames", {}))})


def config(preset: str = PRESET, frames: Frames | None = None, **changes: Any) -> WaveNetConfig:
    """The WaveNet of a vocoder: a preset with the frames as conditions and the sines of F0's phase in front."""
    layout = frames or Frames()
    usual = {
        **(SHAPE if preset == PRESET else {}),
        "sample_rate": layout.sample_rate,
        "condition_channels": layout.width,
        "hop": layout.hop,
        "upsampling": "linear",
        "excitation_channels": periods.CHANNELS,
    }
    return WaveNetConfig.preset(preset, **{**usual, **changes})


def check_wavenet(wavenet: WaveNet, settings: VocoderSettings) -> None:
    """Refuse a WaveNet that takes other frames than those of the settings."""
    have, need = wavenet.config, config(frames=settings.frames)
    for field in ("sample_rate", "hop", "condition_channels", "excitation_channels", "output"):
        if getattr(have, field) != getattr(need, field):
            raise ConfigError(
                f"a vocoder needs a WaveNet with {field} {getattr(need, field)}, this one has "
                f"{getattr(have, field)}: train it as a vocoder."
            )


class Vocoder:
    """A vocoder's WaveNet, ready to make sound of frames. Calls do not depend on each other."""

    def __init__(
        self,
        wavenet: WaveNet,
        settings: VocoderSettings | None = None,
        backend: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> None:
        self.settings = settings or VocoderSettings()
        check_wavenet(wavenet, self.settings)
        self.engine = Engine(wavenet, backend, dtype, threads)

    def __call__(
        self, frames: npt.NDArray[np.floating] | Tensor, seed: int = 0, temperature: float | None = None
    ) -> Array:
        """Frames [F, width] -> the wave [F * hop] in [-1, 1], the same samples as `stream`."""
        parts = list(self.stream(frames, seed, temperature))
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)

    def stream(
        self, frames: npt.NDArray[np.floating] | Tensor, seed: int = 0, temperature: float | None = None
    ) -> Iterator[Array]:
        """The wave in blocks as it is made, the first one after 50 ms of sound.

        `temperature` is a factor on those of the settings. Lower is smoother, and less noisy.
        """
        layout = self.settings.frames
        values = _checked(frames, layout)
        if not len(values):
            return
        samples = len(values) * layout.hop
        voicing = np.clip(values[:, layout.voicing], 0, 1)
        sines = torch.from_numpy(periods.sines_of(values, layout))
        prepared = self.engine.prepare(layout.conditions(values), None, 1, samples, sines)
        state = self.engine.start(1, condition=prepared)
        synthesis = lpc.Synthesis(lpc.predictors(values[:, : layout.bands], layout.mel, self.settings.lpc))
        for first, last, warmth in _blocks(self._temperatures(voicing, temperature)):
            tokens = self.engine.run(
                state, (last - first) * layout.hop, seed=seed, condition=prepared, temperature=warmth, in_place=True
            )
            excitation = self.engine.codec.decode(tokens[0].cpu()).numpy() * self.settings.scale
            yield np.clip(synthesis(excitation), -1, 1)

    def _temperatures(self, voicing: npt.NDArray[np.floating], factor: float | None) -> npt.NDArray[np.float64]:
        """Of every frame, by its voicing, in steps."""
        settings = self.settings
        exact = settings.unvoiced_temperature + voicing * (settings.voiced_temperature - settings.unvoiced_temperature)
        return np.asarray(np.round(exact * TEMPERATURES) / TEMPERATURES) * (1.0 if factor is None else factor)


def _blocks(temperatures: npt.NDArray[np.float64]) -> Iterator[tuple[int, int, float]]:
    """(first frame, last + 1, temperature) of each call of the engine: BLOCK frames at most, of one temperature."""
    first, most = 0, FIRST_BLOCK
    while first < len(temperatures):
        last = first + 1
        while last < min(len(temperatures), first + most) and temperatures[last] == temperatures[first]:
            last += 1
        yield first, last, float(temperatures[first])
        first, most = last, BLOCK


def _checked(frames: npt.NDArray[np.floating] | Tensor, layout: Frames) -> Array:
    values = frames.detach().cpu().float().numpy() if isinstance(frames, Tensor) else np.asarray(frames, np.float32)
    if values.ndim != 2 or values.shape[1] != layout.width:
        raise InputError(f"a vocoder speaks frames [F, {layout.width}], got {list(values.shape)}.")
    if not np.isfinite(values).all():
        raise InputError("the frames hold NaN or infinity.")
    return values
