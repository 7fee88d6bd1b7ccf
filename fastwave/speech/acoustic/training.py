"""From a folder of spoken sentences and a time to an acoustic model: three runs of the training loop."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from ... import checkpoint
from ...errors import CheckpointError
from ...files import replacing
from ...training import loop, planning, recovery
from ...training.parallel import Group
from ...training.settings import Settings
from .data import Utterances
from .model import Acoustic
from .networks import Shape
from .tasks import TASKS, AcousticTask

SHARES = {"duration": 0.12, "pitch": 0.28, "mel": 0.6}  # of the time
LEARNING_RATE = 1e-2  # of Muon: after 100 steps of pitch, errors of 0.62 at 8e-3 and 0.78 at 3e-3; AdamW 0.67
BATCH = 8  # sentences
NAME = "acoustic"  # of the files


def train(
    folder: Path,
    out: Path,
    minutes: float,
    shape: Shape | None = None,
    show: bool = False,
    group: Group | None = None,
    **chosen: Any,
) -> Acoustic:
    """Train on `folder` in OUT/duration, OUT/pitch and OUT/mel, or resume there. `chosen` are settings of the runs."""
    data, group = Utterances.read(folder), group or Group()
    for part in TASKS:
        task_settings = {"batch": BATCH * group.world, "learning_rate": LEARNING_RATE, **chosen}
        run_part(data, part, out / part, minutes * SHARES[part], group, shape, show, task_settings)
    model = assembled(data, out, shape)
    if group.first:
        save(model, out)
    return model


def save(model: Acoustic, folder: Path) -> None:
    """acoustic.safetensors in bfloat16, and acoustic.json."""
    tensors = {name: value.bfloat16() for name, value in model.tensors().items()}
    checkpoint.write_tensors(folder / f"{NAME}.safetensors", tensors, {})
    with replacing(folder / f"{NAME}.json") as temporary:
        temporary.write_text(json.dumps(model.settings(), indent=1) + "\n")


def load(folder: Path) -> Acoustic:
    """What `save` has written."""
    try:
        settings = json.loads((folder / f"{NAME}.json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / NAME}.json cannot be read: {error}.") from error
    return Acoustic.from_tensors(settings, _tensors(folder / f"{NAME}.safetensors", Acoustic.shapes(settings)))


def run_part(
    data: Utterances, part: str, out: Path, minutes: float, group: Group, shape: Shape | None, show: bool,
    chosen: dict[str, Any],
) -> float:  # fmt: skip
    """One run, planned to last so many minutes unless `chosen` names its steps; the result is its held-out loss."""
    begun, before, plan = time.monotonic(), recovery.read_run(out), {}
    kind = TASKS[part]
    if before is not None:
        task: AcousticTask = kind(data, Settings.from_dict(before["settings"]), shape)
    elif "steps" in chosen:
        task = kind(data, Settings(**chosen), shape)
    else:
        settings = Settings(**{**chosen, "minutes": minutes, "window": 2048})
        seconds = planning.seconds_per_step(kind(data, settings, shape), group)
        settings = planning.planned(settings, seconds, time.monotonic() - begun, chosen)
        task = kind(data, group.from_first(settings), shape)
        plan = {"lines": [f"{settings.steps:,} steps of {settings.batch} sentences in {minutes:.3g} minutes."]}
    return loop.train(task, out, group, f"acoustic {part}", show, plan, time.monotonic() - begun)


def assembled(data: Utterances, out: Path, shape: Shape | None = None) -> Acoustic:
    """The acoustic model of the three runs in a folder."""
    model = Acoustic(shape or Shape(), *data.pitch_range())
    shapes = Acoustic.shapes(model.settings())
    tensors: dict[str, Tensor] = {}
    for part in TASKS:
        expected = {name: size for name, size in shapes.items() if name.startswith(f"{part}.")}
        tensors |= _tensors(out / part / f"{part}.safetensors", expected)
    return Acoustic.from_tensors(model.settings(), tensors)


def _tensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    return checkpoint.read_tensors(path, lambda _: shapes)[0]
