"""The progress of a run: a bar on a terminal and in a notebook, and elsewhere a plain line every so often."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from .page import duration
from .saying import say

# (seconds since the start, seconds between lines from then on)
CADENCE = ((0.0, 10.0), (60.0, 30.0), (600.0, 60.0))


class ProgressDisplay:
    """Shows the steps of a run. `minutes` is the time that the run has, if it has one, of which `before` seconds were
    used before it was resumed. `steps` may change as a run goes on.
    """

    def __init__(
        self, steps: int, done: int, minutes: float | None, loss_name: str, show: bool = True, before: float = 0.0
    ) -> None:
        self.steps, self.first, self.minutes, self.loss_name, self.show = steps, done, minutes, loss_name, show
        self.before = before
        self._bar: Any = None
        self._begun = self._last_line = 0.0

    def start(self) -> None:
        """Begin to count time."""
        self._begun = self._last_line = time.monotonic()
        notebook = "ipykernel" in sys.modules
        if self.show and (notebook or sys.stderr.isatty()):
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self.steps, initial=self.first, unit="step", desc="training")

    def update(self, step: int, values: Mapping[str, float]) -> None:
        """Take in the step reached, and what was measured last: the loss, and `samples_per_second`."""
        if self._bar is not None:
            self._bar.n, self._bar.total = step, self.steps
            self._bar.set_postfix_str(_measured(values, self.loss_name), refresh=False)
            self._bar.update(0)
            return
        now = time.monotonic()
        since = now - self._begun
        every = next(seconds for start, seconds in reversed(CADENCE) if since >= start)
        if self.show and (now - self._last_line >= every or step == self.steps):
            self._last_line = now
            say(self._line(step, since, values))

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()

    def _line(self, step: int, seconds: float, values: Mapping[str, float]) -> str:
        steps_left = seconds * (self.steps - step) / max(1, step - self.first)
        used = seconds + self.before
        time_left = 60 * self.minutes - used if self.minutes is not None else steps_left
        left = max(0.0, min(steps_left, time_left))
        share = used / (used + left) if self.minutes is not None else step / self.steps
        measured = _measured(values, self.loss_name)
        parts = [f"step {step:,} of {self.steps:,} ({share:.0%} of the {'time' if self.minutes else 'steps'})"]
        return ", ".join([*parts, *([measured] if measured else []), f"{duration(left)} left"])


def _measured(values: Mapping[str, float], loss_name: str) -> str:
    parts = [f"{values[loss_name]:.3f} {loss_name.replace('_', ' ')}"] if loss_name in values else []
    if "samples_per_second" in values:
        parts.append(f"{values['samples_per_second']:,.0f} samples/s")
    return ", ".join(parts)
