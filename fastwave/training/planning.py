"""From a time to the settings of a run: real steps are measured, and the schedule ends, annealed, when the time ends.

The plan is made once, when a run begins, and is part of the run: it stands in run.json, and a resumed run follows it.
Machines are not equally fast all the time, so the end is moved a few times (`CORRECTIONS`); each move is written to
run.json before a step is made by it. Time is that of training, without the time between a stop and a resume.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..errors import InputError
from .gradients import Gradients
from .parallel import Group
from .progress import Progress
from .schedule import extended, stretched, trapezoid
from .settings import Settings
from .task import Task, matrices_of

CORRECTIONS = (0.5, 0.8, 0.95)  # shares of the time, or of the steps, at which the end is moved
MEASURED_SECONDS, MEASURED_STEPS = 3.0, 3  # at least
OVERHEAD = 0.06  # of the time, for validation, samples and checkpoints, until it is known
LEAST_STEPS = 10
FIRST_SAMPLE = 25.0  # seconds after the start
AVERAGED = 0.02  # of the steps so far, about, is what the averaged weights look back
FASTER = 1.1  # bfloat16 has to be so much faster than float32 to be chosen
# A free shape is the largest that has time for so many targets (docs/training.md); the last is the smallest
SHAPES = (("ref", 50e6), ("small", 0.0))
# A run with fewer steps than this takes shorter windows, so that it has more steps
SHORT, SHORT_WINDOW = 1000, 4096


def shape_for(most: float, targets_of: Callable[[str], float]) -> str:
    """The preset for a run in which the smallest one would see `most` targets, and another one `targets_of(name)`,
    which takes seconds to measure and is asked for only where it may be enough.
    """
    *larger, (smallest, _) = SHAPES
    return next((name for name, least in larger if most >= least and targets_of(name) >= least), smallest)


def is_short(steps: float) -> bool:
    """Whether a run of so many steps is better off with more steps of shorter windows."""
    return steps < SHORT


def seconds_per_step(task: Task, group: Group) -> float:
    """Of training steps on the first batch, whose results are thrown away."""
    with torch.random.fork_rng(devices=[]):
        progress = Progress(task.build(), task.config, group.device, matrices_of(task))
    gradients = Gradients(task, progress, group, lambda size, rows: None)
    settings = task.settings
    batch, targets = task.batch(0, group.share(settings.batch))

    def step() -> None:
        gradients.compute(batch, targets)
        group.add([p.grad for p in progress.parameters.values() if p.grad is not None])
        torch.nn.utils.clip_grad_norm_(progress.parameters.values(), settings.clip).item()
        progress.update(0.0, settings.betas, settings.weight_decay, settings.average)

    step()  # warms up
    begun, steps = time.monotonic(), 0
    while group.any(steps < MEASURED_STEPS or time.monotonic() - begun < MEASURED_SECONDS):
        step()
        steps += 1
    return group.from_first((time.monotonic() - begun) / steps)  # all decide by the same number


def fastest(
    settings: Settings, chosen: Mapping[str, Any], measure: Callable[[Settings], float]
) -> tuple[Settings, float]:
    """The settings in the faster precision, unless the user chose one, and the seconds of a step, which `measure`
    gives.
    """
    seconds = measure(settings)
    if "precision" in chosen:
        return settings, seconds
    low = dataclasses.replace(settings, precision="bfloat16")
    low_seconds = measure(low)
    return (low, low_seconds) if FASTER * low_seconds < seconds else (settings, seconds)


def planned(settings: Settings, seconds: float, used: float, fixed: Mapping[str, Any]) -> Settings:
    """Settings of a new run that ends after `settings.minutes`, of which `used` seconds are gone.

    `seconds` is the time of a step. `fixed` are settings that the user chose, which stay.
    """
    assert settings.minutes is not None
    steps = _steps_in(60 * settings.minutes - used, seconds)
    schedule = fixed.get("schedule", "trapezoid")
    knots = trapezoid(steps, fixed.get("warmup")) if schedule == "trapezoid" else ()
    values = {
        "steps": steps,
        "planned": True,
        "schedule": schedule,
        "knots": knots,
        "warmup": knots[1][0] if knots else max(1, steps // 30),
        "validation_targets": min(1 << 18, max(1 << 14, steps * settings.batch * settings.window // 100)),
        "average": round(min(0.9995, max(0.9, 1 - 1 / (AVERAGED * steps))), 5),
        **_cadence(steps, seconds, used),
    }
    return dataclasses.replace(settings, **{**values, **fixed})


def resumed(
    settings: Settings,
    chosen: Mapping[str, Any],
    step: int,
    elapsed: float,
    measure: Callable[[Settings], float],
) -> Settings:
    """Settings of a run that stands at `step`, with what the user has changed. `measure` gives the time of a step."""
    minutes = chosen.get("minutes", settings.minutes)
    if settings.planned and "steps" not in chosen:
        fixed = {name: value for name, value in chosen.items() if name != "minutes"}
        settings = dataclasses.replace(settings, **fixed)
        if minutes != settings.minutes:
            settings = with_other_minutes(settings, minutes, measure(settings), step, elapsed)
        return settings
    knots = settings.knots
    settings = dataclasses.replace(settings, planned=False, knots=(), **chosen)
    if knots and settings.schedule == "trapezoid" and settings.steps != knots[-1][0]:
        at = min(step, knots[-1][0], settings.steps - 1)
        return dataclasses.replace(settings, knots=extended(knots, at, settings.steps))
    if knots and settings.schedule == "trapezoid":
        return dataclasses.replace(settings, knots=knots)
    return settings


def with_other_minutes(settings: Settings, minutes: float, seconds: float, step: int, used: float) -> Settings:
    """A planned run at a step, after `used` seconds, that shall end at another time than it was planned for."""
    assert settings.minutes is not None
    steps = step + _steps_in(60 * minutes - used, seconds)
    changes: dict[str, Any] = {"minutes": minutes, "steps": steps, "corrections": 0, **_cadence(steps, seconds, 0)}
    if settings.knots:
        move = extended if minutes > settings.minutes else stretched
        changes["knots"] = move(settings.knots, step, steps)
    return dataclasses.replace(settings, **changes)


class Pace:
    """Moves the end of a planned run, so that it comes when the time ends."""

    def __init__(self, settings: Settings, step: int, elapsed: float) -> None:
        self._step, self._elapsed = step, elapsed  # where the speed is counted from

    def due(self, settings: Settings, step: int, elapsed: float) -> bool:
        """Whether the end should be moved now."""
        if not (settings.planned and settings.minutes and settings.schedule == "trapezoid"):
            return False
        if settings.corrections >= len(CORRECTIONS) or not self._step + LEAST_STEPS <= step < settings.steps - 1:
            return False
        share = CORRECTIONS[settings.corrections]
        return elapsed >= 60 * settings.minutes * share or step >= settings.steps * share

    def corrected(self, settings: Settings, step: int, elapsed: float) -> Settings:
        """The same run with its end moved."""
        assert settings.minutes is not None
        seconds = (elapsed - self._elapsed) / (step - self._step)
        self._step, self._elapsed = step, elapsed
        steps = step + max(1, round((60 * settings.minutes - elapsed) / seconds))
        passed = sum(elapsed >= 60 * settings.minutes * share or step >= steps * share for share in CORRECTIONS)
        knots = stretched(settings.knots, step, steps)
        corrections = max(settings.corrections + 1, passed)
        return dataclasses.replace(settings, steps=steps, knots=knots, corrections=corrections)


def _steps_in(left: float, seconds: float) -> int:
    steps = int(left * (1 - OVERHEAD) / seconds)
    if steps < LEAST_STEPS:
        raise InputError(
            f"the time is too short: a step takes {seconds:.2g} s here and {max(0, left):.0f} s are left, which is "
            f"{max(0, steps)} steps. Give more --minutes, or a smaller --preset."
        )
    return steps


def _cadence(steps: int, seconds: float, used: float) -> dict[str, int]:
    """When to do what, in steps."""
    return {
        "validate_every": max(1, round(steps / 12)),
        "sample_every": max(1, round(min(steps / 6, 600 / seconds))),
        "first_sample": max(1, round((FIRST_SAMPLE - used) / seconds)),
        "save_every": max(1, round(60 / seconds)),
        "log_every": max(1, round(5 / seconds)),
    }
