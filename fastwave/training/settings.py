"""The settings of a training run: every number that is not the model's or the data's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from .schedule import Knots, share_at, trapezoid

SCHEDULES = ("constant", "cosine", "step", "inverse-root", "trapezoid")
PRECISIONS = ("float32", "bfloat16")
DEFAULT_MINUTES = 20.0  # of a run that names neither a time nor a number of steps
OPTIMISERS = ("muon", "adamw")
BEFORE: dict[str, Any] = {"optimiser": "adamw"}  # of runs that were begun before there was a choice


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of any task. `steps` is the length of the whole run: schedules end there.

    A run that was planned from a time has `planned`, and `steps` and `knots` that follow from it (planning.py).
    """

    steps: int = 20_000
    minutes: float | None = None  # stop then, as if interrupted; of a planned run: when the whole run ends
    planned: bool = False
    corrections: int = 0  # how often the end of a planned run was moved
    batch: int = 1  # windows of a step, over all processes
    window: int = 8192  # targets of a window
    micro_batch: int = 0  # windows at a time in one process; 0: about 8,192 targets on a CPU, else all its windows
    learning_rate: float = 8e-3
    schedule: str = "trapezoid"
    warmup: int = 200  # steps
    decay_every: int = 5_000  # steps, for the step schedule: halved each time
    knots: Knots = ()  # of the trapezoid schedule; made from steps and warmup where there are none
    optimiser: str = "muon"  # for matrices between layers, of which a task names some; AdamW for all else
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0  # norm of the gradient of the mean nats
    average: float = 0.999  # decay of the averaged weights, which are validated, sampled and exported
    precision: str = "float32"
    recompute: bool = False  # store fewer activations for the backward pass: a step at `ref` needs 141 MB, not 312
    seed: int = 0
    validate_every: int = 500
    validation_targets: int = 1 << 17
    sample_every: int = 1_000
    first_sample: int = 0  # the step of the first sample, if it shall come sooner; then at twice that, and so on
    sample_seconds: float = 3.0
    save_every: int = 500
    keep: int = 3
    log_every: int = 10
    tensorboard: bool = False

    def __post_init__(self) -> None:
        whole = {field.name for field in dataclasses.fields(self) if field.type == "int"}
        values = dataclasses.asdict(self)
        for name in whole - {"micro_batch", "warmup", "seed", "first_sample", "corrections"}:
            if values[name] < 1:
                raise InputError(f"{name} must be at least 1, got {values[name]}.")
        for name in ("learning_rate", "clip", "sample_seconds"):
            if not 0 < values[name] < math.inf:
                raise InputError(f"{name} must be above 0, got {values[name]}.")
        for name in ("weight_decay", "micro_batch", "warmup", "first_sample", "corrections"):
            if not 0 <= values[name] < math.inf:
                raise InputError(f"{name} must be at least 0, got {values[name]}.")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise InputError(f"minutes must be above 0, got {self.minutes}.")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"betas are two decays, 0 up to 1, got {self.betas}.")
        if not 0 <= self.average < 1:
            raise InputError(f"average is a decay, 0 up to 1, got {self.average}.")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be 0 .. 2^63-1, got {self.seed}.")
        for name, known in (("schedule", SCHEDULES), ("precision", PRECISIONS), ("optimiser", OPTIMISERS)):
            if values[name] not in known:
                raise InputError(f"{name} {values[name]!r} is not known; choose one of {', '.join(known)}.")
        self._check_knots()

    def _check_knots(self) -> None:
        if self.schedule != "trapezoid":
            if self.knots:
                raise InputError(f"knots are those of the trapezoid schedule, got them with {self.schedule!r}.")
            return
        knots = self.knots or trapezoid(self.steps, self.warmup)
        steps = [step for step, _ in knots]
        if steps != sorted(set(steps)) or steps[-1] != self.steps or not all(0 <= value <= 1 for _, value in knots):
            raise InputError(f"knots are (step, share) at growing steps up to {self.steps}, got {knots}.")
        object.__setattr__(self, "knots", tuple((int(step), float(value)) for step, value in knots))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """From JSON values, as run.json has them; settings that are absent there take their defaults."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"unknown setting {', '.join(unknown)[:200]}: the run may come from a newer fastwave.")
        tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**BEFORE, **values, **tuples})

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if self.schedule == "trapezoid":
            return self.learning_rate * share_at(self.knots, step + 0.5)
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        beyond = max(0, step - self.warmup)
        if self.schedule == "cosine":
            share = min(1.0, beyond / max(1, self.steps - self.warmup))
            fall = 0.5 * (1 + math.cos(math.pi * share))
        elif self.schedule == "step":
            fall = 0.5 ** (beyond // self.decay_every)
        elif self.schedule == "inverse-root":
            fall = math.sqrt(max(1, self.warmup) / max(1, self.warmup, step))
        else:
            fall = 1.0
        return self.learning_rate * warm * fall

    def sample_is_due(self, step: int) -> bool:
        """After this step: at every `sample_every`, and before that at `first_sample` times 1, 2, 4, 8, ..."""
        doublings, rest = divmod(step, self.first_sample) if self.first_sample else (0, 1)
        early = rest == 0 and doublings & (doublings - 1) == 0 and 0 < step < self.sample_every
        return early or step % self.sample_every == 0
