"""Small training runs for tests: a second of sound, models of a few thousand weights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch

from fastwave import WaveNetConfig
from fastwave.data.preparation import Preparation
from fastwave.data.prepare import prepare
from fastwave.data.shards import Data
from fastwave.sound import audio
from fastwave.training.loop import train
from fastwave.training.settings import Settings
from fastwave.training.wavenet import WaveNetTask

SHAPE: dict[str, Any] = {"residual_channels": 8, "skip_channels": 12, "dilations": (1, 2, 4), "classes": 32}


def make_sound(folder: Path, files: int = 4, seconds: float = 0.25) -> Path:
    """Files of one decaying tone each, at 16 kHz, every file with another pitch."""
    folder.mkdir(parents=True, exist_ok=True)
    time = torch.arange(round(16_000 * seconds)) / 16_000
    for number in range(files):
        tone = 0.5 * torch.sin(6.2832 * (220 + 55 * number) * time) * torch.exp(-3 * time)
        audio.save(folder / f"tone{number}.wav", tone, 16_000)
    return folder


def make_data(folder: Path, **changes: Any) -> Data:
    """The tones of make_sound, prepared for SHAPE."""
    preparation = Preparation(**{"classes": 32, "held_out": 0.25, **changes})
    prepare(make_sound(folder / "sound"), folder / "data", preparation)
    return Data(folder / "data")


def make_config(**changes: Any) -> WaveNetConfig:
    """SHAPE, with fields changed."""
    return WaveNetConfig(**{**SHAPE, **changes})


def make_settings(**changes: Any) -> Settings:
    """A dozen quick steps."""
    quick = {
        "steps": 12, "batch": 4, "window": 64, "learning_rate": 1e-2, "warmup": 2, "validate_every": 6,
        "validation_targets": 2000, "sample_every": 1000, "sample_seconds": 0.02, "save_every": 4, "log_every": 1,
    }  # fmt: skip
    return Settings(**{**quick, **changes})


def train_wavenet(
    data: Data, out: Path, config: WaveNetConfig, settings: Settings, backend: str = "auto", other_data: bool = False
) -> float:
    """Train in this process; -> bits a sample on held-out data."""
    task = WaveNetTask(data, config, settings, backend)
    task.other_data = other_data
    return train(task, out)


def lines_of(run: Path, event: str | None = None) -> list[dict[str, Any]]:
    """The log, or its lines of one kind."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if event in (None, line["event"])]


def weights_of(run: Path, step: int) -> bytes:
    """The bytes of a checkpoint's tensors, without its header: the counters there include seconds, which differ."""
    content = (run / "checkpoints" / f"step-{step:08}.safetensors").read_bytes()
    header = int.from_bytes(content[:8], "little")
    return content[8 + header :]


def verbs_of(shown: str) -> set[str]:
    """The verbs with which lines on the terminal begin."""
    return set(re.findall(r"^fastwave (\w+): ", shown, re.MULTILINE))
