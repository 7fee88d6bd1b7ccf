"""What a frame holds: log-mel bands, then ln F0 in Hz, then voicing, 0..1: how well the sound repeats itself.

A frame is centred on its first sample, as those of `sound/mel.py` are.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import ConfigError
from ..sound.mel import MelSettings

WHOLE = ("sample_rate", "hop", "bands", "window")
WIDEST = 4.0  # conditions: ln F0 is about as wide as the bands, and never far outside


@dataclasses.dataclass(frozen=True)
class Frames:
    """The layout of frames; the defaults are those of speech. Frozen, validated on creation."""

    sample_rate: int = 16_000
    hop: int = 200  # samples a frame
    bands: int = 40
    window: int = 800  # samples that one frame's bands are computed from
    usual_f0: float = 200.0  # Hz, whose ln is 0 in the conditions of a WaveNet
    f0_factor: float = 2.0  # of ln F0 there, so that its changes are as large as those of the bands

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            whole = name in WHOLE
            kinds = int if whole else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value <= 1e6:
                kind = "a whole number" if whole else "a number"
                raise ConfigError(f"{name} of a vocoder's frames is {kind} above 0, got {str(value)[:80]!r}.")
        self.mel  # noqa: B018 - refuses what no spectrogram can have

    @functools.cached_property
    def mel(self) -> MelSettings:
        """How the bands are computed."""
        return MelSettings(sample_rate=self.sample_rate, hop=self.hop, bands=self.bands, window=self.window)

    @property
    def width(self) -> int:
        """Values in a frame."""
        return self.bands + 2

    @property
    def log_f0(self) -> int:
        """Where ln F0 stands."""
        return self.bands

    @property
    def voicing(self) -> int:
        """Where voicing stands."""
        return self.bands + 1

    def conditions(self, rows: npt.NDArray[np.floating]) -> Tensor:
        """Frames [F, width] as a WaveNet takes them: ln F0 around 0 and about as wide as the bands."""
        values = np.array(rows, dtype=np.float32)
        log_f0 = (values[:, self.log_f0] - math.log(self.usual_f0)) * self.f0_factor
        values[:, self.log_f0] = np.clip(log_f0, -WIDEST, WIDEST)
        return torch.from_numpy(values)

    @classmethod
    def from_dict(cls, values: Any) -> Frames:
        """From JSON values. Fields that are absent take their defaults; unknown ones are refused."""
        if not isinstance(values, Mapping):
            raise ConfigError(f"the frames of a vocoder are a JSON object, got {str(values)[:80]!r}.")
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(str(key) for key in values if key not in known)
        if unknown:
            raise ConfigError(f"unknown setting of frames {unknown[0][:80]!r}; known are {', '.join(known)}.")
        return cls(**values)
