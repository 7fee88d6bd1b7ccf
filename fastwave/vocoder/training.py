"""From recordings with their frames and a time to the WaveNet of a vocoder: prepare its data, plan the run, train."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..config import WaveNetConfig
from ..model import WaveNet
from ..training import loop, planning, recovery
from ..training.parallel import Group
from ..training.settings import Settings
from . import data as vocoder_data
from . import vocoder
from .data import Recording, VocoderData
from .task import VocoderTask

WINDOW = 4096  # samples: short windows make more steps, and the WaveNet looks back on 32 ms only


def train(
    recordings: Iterable[Recording],
    out: Path,
    minutes: float,
    config: WaveNetConfig | None = None,
    settings: vocoder.VocoderSettings | None = None,
    start: WaveNet | None = None,
    show: bool = False,
    group: Group | None = None,
    **chosen: Any,
) -> Path:
    """Train in the folder `out`, or resume there; the result is `out`, a checkpoint with the vocoder's settings.

    `start` is a trained WaveNet of the same shape to go on from, of another voice or on other frames. `chosen` are
    settings of the run.
    """
    begun, group = time.monotonic(), group or Group()
    place = out / "data"
    if group.first and not (place / vocoder_data.INDEX).exists():
        vocoder_data.prepare(recordings, place, settings or vocoder.VocoderSettings())
    group.wait()
    data = VocoderData(place)
    config = config or (start.config if start else vocoder.config(frames=data.layout))
    before, plan = recovery.read_run(out), {}
    if before is not None:
        run = Settings.from_dict(before["settings"])
    else:
        chosen = {"batch": group.world, "window": WINDOW, **chosen}
        run = Settings(**{**chosen, "minutes": minutes})
        if "steps" not in chosen:
            seconds = planning.seconds_per_step(VocoderTask(data, config, run), group)
            run = group.from_first(planning.planned(run, seconds, time.monotonic() - begun, chosen))
            plan = {"lines": [f"{run.steps:,} steps of {run.batch * run.window:,} samples in {minutes:.3g} minutes."]}
    task = VocoderTask(data, config, run, start=start)
    loop.train(task, out, group, "vocoder", show, plan, time.monotonic() - begun)
    return out
