"""A student with few channels, and frames for it to follow."""

import dataclasses

import numpy as np
import torch

from fastwave.student.config import StudentConfig
from fastwave.student.network import ParallelWaveNet
from fastwave.vocoder.frames import Frames

LAYOUT = Frames(sample_rate=8000, hop=80, bands=12, window=320)
CONFIG = StudentConfig(LAYOUT, squeeze=8, residual_channels=12, dilations=(1, 4, 2, 40))

FLOW = dataclasses.replace(CONFIG, residual_channels=20, flow=True, dither=5e-4)


def small_student(config=CONFIG, seed=0):
    """A student whose every weight has a part in the wave."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ParallelWaveNet(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def frames(count, layout=LAYOUT, seed=0):
    """Frames of a loud sound whose F0 rises, voiced in their middle: [count, width]."""
    rng = np.random.default_rng(seed)
    rows = np.empty((count, layout.width), dtype=np.float32)
    rows[:, : layout.bands] = rng.uniform(0.2, 0.6, (count, layout.bands))
    rows[:, layout.log_f0] = np.log(np.linspace(120, 240, count))
    rows[:, layout.voicing] = (np.abs(np.arange(count) - count / 2) < count / 4) * 0.9
    return torch.from_numpy(rows)


def saw(seconds, rate=8000, f0=150.0):
    """A buzz with pauses of near silence, as a recording to train on, [time] float32."""
    rng = np.random.default_rng(0)
    time = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * f0 * k * time) / k for k in range(1, 12))
    loud = (np.sin(2 * np.pi * time) > -0.5) * 0.1
    return (buzz * loud + 0.002 * rng.standard_normal(len(time))).astype(np.float32)
