"""The training loop: step after step of any task, through kills, full disks, bad gradients and a lack of memory.

A step depends on the checkpoint before it and on its number, and on nothing else. So a run that was killed and started
again ends with the same bits as one that was not, on the same number of processes and threads.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import FastwaveError, TrainingError
from ..stack import buffers
from . import ending, report
from .bar import ProgressDisplay
from .gradients import Gradients
from .history import DONE, INTERRUPTED, STOPPED
from .journal import Journal
from .lock import locked
from .parallel import Group
from .planning import Pace
from .progress import Progress
from .recovery import Recovery, write_run
from .task import Batch, Task, matrices_of

# Seconds that the samples of one step may take: a share of those trained so far, within limits
SAMPLE_SHARE, LEAST_SECONDS, MOST_SECONDS = 0.01, 2.0, 15.0
AT_END = 3  # times as long may the last samples take, which are those that are kept
REPORT_SECONDS = 300.0  # from one report to the next, at most; it costs about a second


def train(
    task: Task,
    out: str | os.PathLike[str],
    group: Group | None = None,
    command: str = "",
    show: bool = False,
    plan: Mapping[str, Any] | None = None,
    used: float = 0.0,
) -> float:
    """Train a task in the folder `out`, or resume it there; the result is its loss on held-out data.

    Without held-out data it is NaN. `command` and `plan`, whose `lines` the report shows, go into run.json. `show`
    draws a progress bar; `used` seconds of a new run's time are gone already, for its plan.
    """
    group = group or Group()
    with locked(Path(out), group.first):
        loop = Loop(task, Path(out), group, command, show, plan, used)
        try:
            return loop.finish(loop.run())
        finally:
            loop.prefetch.close()
            buffers.release()


@dataclasses.dataclass
class Interval:
    """What is averaged from one line of the log to the next."""

    losses: list[float] = dataclasses.field(default_factory=list)
    norms: list[float] = dataclasses.field(default_factory=list)
    learning_rate: float = 0.0
    targets: int = 0
    waited: float = 0.0  # seconds, for batches
    begun: float = dataclasses.field(default_factory=time.monotonic)

    def values(self, loss_name: str) -> dict[str, float]:
        """As the log has them; nothing before the first loss."""
        if not self.losses:
            return {}
        seconds = max(1e-9, time.monotonic() - self.begun)
        return {
            loss_name: sum(self.losses) / len(self.losses),
            "learning_rate": self.learning_rate,
            "gradient_norm": sum(self.norms) / len(self.norms),
            "samples_per_second": self.targets / seconds,
            "waiting": self.waited / seconds,
        }


class Prefetch:
    """Reads the batch of the next step in a thread while the current step is computed."""

    def __init__(self, read: Callable[[int], tuple[Batch, int]]) -> None:
        self._read = read
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._ahead: tuple[int, concurrent.futures.Future[tuple[Batch, int]]] | None = None

    def get(self, step: int) -> tuple[Batch, int]:
        """The batch of a step, and its targets."""
        if self._ahead is None or self._ahead[0] != step:
            self._ahead = (step, self._thread.submit(self._read, step))
        result = self._ahead[1].result()
        self._ahead = (step + 1, self._thread.submit(self._read, step + 1))
        return result

    def close(self) -> None:
        """Stop reading."""
        self._thread.shutdown(wait=True, cancel_futures=True)


class Loop:
    """One run of a task in this process."""

    def __init__(
        self, task: Task, out: Path, group: Group, command: str, show: bool, plan: Mapping[str, Any] | None, used: float
    ) -> None:
        self.task, self.settings, self.out, self.group, self.show = task, task.settings, out, group, show
        self.command, self.plan = command, plan
        self.rows = group.share(self.settings.batch)
        if group.first:
            write_run(task, out, command, plan)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed)
            model = task.build()
        self.progress = Progress(model, task.config, group.device, matrices_of(task))
        self.gradients = Gradients(task, self.progress, group, self._announce_micro_batch)
        self.journal = Journal(out if group.first else None, self.settings.tensorboard)
        self.recovery = Recovery(task, out, self.progress, group, self.journal)
        self.prefetch = Prefetch(lambda step: task.batch(step, self.rows))
        self._interval = Interval()
        self._validated: tuple[int, float] | None = None
        self._logged: dict[str, float] = {}
        self._sampled: int | None = None  # the step of the last samples
        self._reported = 0.0  # when
        self.progress.counters.elapsed = used
        self.recovery.begin(command)
        self._started = time.monotonic() - self.progress.counters.elapsed
        self.pace = Pace(self.settings, self.step, self.progress.counters.elapsed)
        self._report()

    @property
    def step(self) -> int:
        """Steps done."""
        return self.progress.counters.step

    def _record(self, event: str, **values: Any) -> None:
        self.journal.write(event, self.progress.counters, **values)

    # The steps

    def run(self) -> str:
        """Train to the last step, or until the time is up -> the reason why it ended."""
        begun = time.monotonic()
        s, before = self.settings, self.progress.counters.elapsed if self.settings.planned else 0.0
        shows = self.show and self.group.first
        display = ProgressDisplay(s.steps, self.step, s.minutes, self.task.loss_name, shows, before)
        display.start()
        with contextlib.closing(display), _stop_signals() as signals:
            while self.step < self.settings.steps:
                self._one_step()
                self.progress.counters.elapsed = time.monotonic() - self._started
                if self.recovery.exploded():
                    self._roll_back()
                    continue
                self._do_what_is_due()
                self._keep_pace()
                display.steps = self.settings.steps
                display.update(self.step, self._logged or self._interval.values(self.task.loss_name))
                late = self.group.any(self._is_late(time.monotonic() - begun))
                stopped = self.group.any(bool(signals))
                if (late or stopped) and self.step < self.settings.steps:
                    self.recovery.save()
                    if stopped:
                        self._interrupt()
                    return f"{STOPPED} after {self.settings.minutes:g} minutes; {_RESUME}"
        return DONE

    def _interrupt(self) -> None:
        """End a run that was asked to stop, with a report that says so."""
        self._record("end", reason=INTERRUPTED)
        self._report()
        self.journal.announce(f"stopped at step {self.step}, which is saved: {_RESUME}")
        if self.group.first:
            self.journal.announce(*ending.sentences(self.out)[1:])
        raise KeyboardInterrupt

    def _is_late(self, seconds: float) -> bool:
        """Whether a run of a given number of steps has to stop for the clock; a planned one moves its end instead."""
        s = self.settings
        return s.minutes is not None and not s.planned and seconds > 60 * s.minutes

    def _keep_pace(self) -> None:
        """Move the end of a planned run if it would come too early or too late; written down before it is used."""
        elapsed = self.progress.counters.elapsed
        if not self.group.any(self.group.first and self.pace.due(self.settings, self.step, elapsed)):
            return
        before = self.settings.steps
        settings = self.group.from_first(self.pace.corrected(self.settings, self.step, elapsed))
        self.settings = self.task.settings = settings
        if self.group.first:
            write_run(self.task, self.out, self.command, self.plan)
        self._record("pace", steps=settings.steps, before=before)

    def _one_step(self) -> None:
        c, s = self.progress.counters, self.settings
        begun = time.monotonic()
        batch, targets = self.prefetch.get(c.step)
        self._interval.waited += time.monotonic() - begun
        total = self.gradients.compute(batch, targets)
        gradients = [p.grad for p in self.progress.parameters.values() if p.grad is not None]
        self.group.add([*gradients, total])
        c.micro_batch = self.group.least(c.micro_batch)
        norm = float(torch.nn.utils.clip_grad_norm_(self.progress.parameters.values(), s.clip))
        loss = float(total) / self.task.loss_unit
        c.step += 1
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._skip(f"the {'gradient' if math.isfinite(loss) else 'loss'} is not finite")
            return
        c.skipped_in_a_row = 0
        learning_rate = s.rate(c.step - 1) * c.learning_rate_scale
        self.progress.update(learning_rate, s.betas, s.weight_decay, s.average)
        c.add_loss(loss)
        c.seen += targets
        self._interval.losses.append(loss)
        self._interval.norms.append(norm)
        self._interval.learning_rate = learning_rate
        self._interval.targets += targets

    def _skip(self, reason: str) -> None:
        c = self.progress.counters
        c.skipped += 1
        c.skipped_in_a_row += 1
        self._record("skipped_step", reason=reason, skipped=c.skipped)
        self.journal.announce(f"step {c.step} is skipped: {reason}")

    def _roll_back(self) -> None:
        self.recovery.roll_back()
        self._validated = self._sampled = None
        self._interval = Interval()

    def _announce_micro_batch(self, size: int, rows: int) -> None:
        self._record("micro_batch", size=size)
        self.journal.announce(f"out of memory: micro-batches of {size} from now on, a batch stays {rows}")

    # What is due after a step

    def _do_what_is_due(self) -> None:
        s = self.settings
        at_end = self.step == s.steps
        if self.step % s.log_every == 0 or at_end:
            self._log()
        if self.step % s.save_every == 0 or at_end:
            self.recovery.save()
        if self.step % s.validate_every == 0:
            self._validate()
        if s.sample_is_due(self.step):
            self._sample(at_end)
        elif time.monotonic() - self._reported > REPORT_SECONDS:
            self._report()

    def _log(self) -> None:
        values, self._interval = self._interval.values(self.task.loss_name), Interval()
        if values:
            self._logged = values
            self._record("train", **values)

    def _validate(self) -> float:
        """The mean loss on the held-out data that are taken every time; NaN without any."""
        if self._validated is not None and self._validated[0] == self.step:
            return self._validated[1]
        loss = self._mean_loss(self.task.validation(self.group.rank, self.group.world))
        if math.isfinite(loss):
            self._record("validation", **{self.task.loss_name: loss})
        self._validated = (self.step, loss)
        return loss

    def _mean_loss(self, batches: Iterable[tuple[Batch, int]]) -> float:
        """Of the averaged weights, on this process's batches and those of the others; NaN without any."""
        sums = torch.zeros(2, dtype=torch.float64, device=self.group.device)
        weights = dict(self.progress.model.named_parameters()) | self.progress.average
        with torch.inference_mode():
            for batch, targets in batches:
                total = self.gradients.loss(batch.to(self.group.device), 1, weights)
                sums += torch.stack([total.double(), torch.tensor(float(targets)).to(sums)])
        self.group.add([sums])
        return float(sums[0] / sums[1]) / self.task.loss_unit if float(sums[1]) else math.nan

    def _sample(self, at_end: bool) -> None:
        """Let the averaged weights make samples, and draw the report anew."""
        self._sampled = self.step
        if not self.group.first:
            return
        usual = max(LEAST_SECONDS, SAMPLE_SHARE * self.progress.counters.elapsed)
        allowed = min(MOST_SECONDS, AT_END * usual if at_end else usual)
        try:
            samples = self.task.sample(self.progress.averaged(), self.out, self.step, allowed)
            for sample in samples:
                optional = {"label": sample.label, "prime": sample.prime}
                values = {name: value for name, value in optional.items() if value}
                speed = sample.samples_per_second
                self._record("sample", file=sample.file, real=sample.real, **values, samples_per_second=speed)
            if samples and samples[0].wave is not None:
                self.journal.show(self.step, samples[0].wave, samples[0].sample_rate)
            self._reported = time.monotonic()
            report.write(self.out)
        except (FastwaveError, OSError) as error:  # a model that cannot make one yet is no reason to stop
            self.journal.announce(f"no sample at step {self.step}: {error}")

    def _report(self) -> None:
        """Draw the report, whose page reloads itself."""
        self._reported = time.monotonic()
        if self.group.first:
            with contextlib.suppress(TrainingError):  # a page that cannot be written must not cost the model
                report.write(self.out)

    def finish(self, reason: str) -> float:
        """Validate, sample and draw the report a last time."""
        loss = self._validate()
        more = self.task.last_validation(self.group.rank, self.group.world)
        loss = loss if more is None else self._mean_loss(more)
        if self._sampled != self.step:
            self._sample(at_end=True)
        values = {self.task.loss_name: loss if math.isfinite(loss) else None}
        verdict = ending.verdict(self.out) if self.group.first else ""
        self._record("end", **values, reason=reason, **({"verdict": verdict} if verdict else {}))
        self._report()
        self.group.wait()
        return loss


_RESUME = "run the same command to resume"


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects signals to stop: the first Ctrl-C, or a scheduler's SIGTERM, lets the current step end; a second one
    interrupts it.
    """
    received: list[int] = []

    def receive(number: int, _: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    if threading.current_thread() is not threading.main_thread():  # Python delivers signals to that one only
        yield received
        return
    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
