"""Seeded tokens and conditioning that fit a config, for whoever measures or examines a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..config import WaveNetConfig


def example(config: WaveNetConfig, steps: int, batch: int = 2) -> tuple[Tensor, dict[str, Any]]:
    """Seeded tokens [batch, steps] and conditioning that fit a config."""
    random = torch.Generator().manual_seed(0)
    if config.scalar_input:
        tokens = torch.rand(batch, steps, generator=random, dtype=torch.float64) * 1.8 - 0.9
    else:
        tokens = torch.randint(config.classes, (batch, steps), generator=random)
    inputs: dict[str, Any] = {}
    if config.local_channels:
        frames = -(-steps // config.hop) + 1
        inputs["condition"] = torch.randn(batch, frames, config.local_channels, generator=random, dtype=torch.float64)
    if config.speakers:
        inputs["speaker"] = torch.arange(batch) % config.speakers
    elif config.speaker_channels:
        inputs["speaker"] = torch.randn(batch, config.speaker_channels, generator=random, dtype=torch.float64)
    if channels := config.excitation_channels:
        inputs["excitation"] = torch.randn(batch, steps, channels, generator=random, dtype=torch.float64)
    return tokens, inputs
