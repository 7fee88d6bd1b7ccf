"""The training loop: from prepared data to a model that can be heard, through kills, full disks and bad gradients.

A step depends on the checkpoint before it and on its number, and on nothing else, so that a run which was killed and
started again ends where the unbroken one does, to the last bit, on the same number of processes and threads.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from ..config import WaveNetConfig
from ..data.shards import Data
from ..data.windows import Batch, Place, Windows
from ..errors import CheckpointError, FastwaveError, InputError, TrainingError
from ..files import replacing, sweep
from ..model import WaveNet
from ..stack import buffers
from . import report
from .journal import Journal
from .listen import render
from .parallel import Group
from .progress import RECENT, Progress, checkpoints, step_of
from .settings import Settings

CPU_TARGETS = 8192
NO_MEMORY = ("can't allocate memory", "not enough memory")  # torch on a CPU, on Linux and on Windows
MOST_ROLLBACKS = 10
MOST_SKIPPED = 20  # in a row
REFUSED = ("seed", "batch", "window", "precision")  # another value would be another run


def train(
    data: Data,
    out: str | os.PathLike[str],
    config: WaveNetConfig,
    settings: Settings,
    group: Group | None = None,
    backend: str = "auto",
    command: str = "",
    show: bool = False,
) -> float:
    """Train, or go on training, a model in the folder `out`; the result is its bits a sample on held-out data.

    Without held-out data it is NaN. `show` draws progress on a terminal.
    """
    own = group or Group()
    run = _Run(data, Path(out), config, settings, own, backend, command, show)
    try:
        return run.finish(run.loop())
    finally:
        run.prefetch.shutdown(wait=True, cancel_futures=True)
        buffers.release()


class _Run:
    def __init__(
        self,
        data: Data,
        out: Path,
        config: WaveNetConfig,
        settings: Settings,
        group: Group,
        backend: str,
        command: str,
        show: bool,
    ) -> None:
        _check_fits(data, config)
        self.data, self.out, self.config, self.settings, self.group = data, out, config, settings, group
        self.command, self.show = command, show
        self.rows = group.share(settings.batch)
        self.training = Windows(data, config, settings.window, settings.seed)
        self.held_out = Windows(data, config, settings.window, settings.seed, held_out=True)
        self.training.places(0, 1)  # is there any?
        if group.first:
            _write_settings(out, config, settings, command)
        self.progress = Progress(config, backend, group.device, settings.seed, settings.recompute)
        self.journal = Journal(out if group.first else None, settings.tensorboard)
        self.prefetch = concurrent.futures.ThreadPoolExecutor(1)
        self._ahead: tuple[int, concurrent.futures.Future[tuple[Batch, int]]] | None = None
        self._told = self._clear_told()
        self._validated: tuple[int, float] | None = None
        self._resume()

    @property
    def step(self) -> int:
        return self.progress.counters.step

    def _say(self, event: str, **values: Any) -> None:
        self.journal.write(event, self.step, self.progress.counters.elapsed, **values)

    # From where

    def _resume(self) -> None:
        """The newest checkpoint that can be trusted, or a first one, which also shows that the disk takes it."""
        progress, folder = self.progress, self.out / "checkpoints"
        if self.group.first:
            try:
                for written in (self.out, folder, self.out / "samples"):
                    sweep(written)
            except OSError as error:
                raise CheckpointError(f"cannot write in {self.out}: {error.strerror or error}.") from error
        found = checkpoints(folder)
        newest, bad = self._load_newest(found)
        if newest is not None:
            if self.group.first:  # the kill may have come between the two
                progress.averaged().save_pretrained(self.out)
            changed = self._data_changed()
            self._say("resume", bad=bad, **changed)
            self._tell(*bad, *changed.values(), f"goes on from step {self.step} of {self.settings.steps}")
            return
        if found:
            raise CheckpointError(f"no checkpoint in {folder} can be read. {' '.join(bad[:1])}")
        progress.counters.data = self.data.digest()
        self._say(
            "start",
            command=self.command,
            config=self.config.to_dict(),
            settings=dataclasses.asdict(self.settings),
            device=str(self.group.device),
            parameters=self.config.parameter_count,
            data=self.data.summary(),
        )
        self._save()

    def _load_newest(self, found: list[Path]) -> tuple[Path | None, list[str]]:
        """Load the first of `found` that can be trusted -> it, and what was wrong with those before it.

        Process 0 chooses, and the others take the same one or stop: half a run from another step would not be noticed.
        """
        bad, chosen = [], None
        for path in found if self.group.first else ():
            try:
                self.progress.load(path)
            except CheckpointError as error:
                bad.append(f"passed over {path.name}: {error}")
                continue
            chosen = path
            break
        chosen = self.group.from_first(chosen)
        if chosen is not None and not self.group.first:
            self.progress.load(chosen)
        self.group.wait()  # all have it before any file is written or removed
        return chosen, bad

    def _data_changed(self) -> dict[str, str]:
        """Something to say, when the data are not those of the checkpoint."""
        told = self.data.digest()
        before, self.progress.counters.data = self.progress.counters.data, told
        if before in ("", told):
            return {}
        return {"data": "the data are not those that this run saw before: it goes on with them, as they are now"}

    def _save(self) -> None:
        if self.group.first:
            path = self.progress.save(self.out / "checkpoints", self.settings.keep)
            self.progress.averaged().save_pretrained(self.out)
            self._say("checkpoint", file=f"checkpoints/{path.name}")

    # The loop

    def loop(self) -> str:
        """Step after step -> why it ended."""
        s, begun = self.settings, time.monotonic()
        with _bar(s.steps, self.step, self.show and self.group.first) as bar, _asked_to_stop() as asked:
            while self.step < s.steps:
                tick = time.monotonic()
                self._one_step()
                self.progress.counters.elapsed += time.monotonic() - tick
                if self._exploded():
                    self._roll_back()
                    continue
                at_end = self.step == s.steps
                if self.step % s.log_every == 0 or at_end:
                    self._log(bar)
                if self.step % s.save_every == 0 or at_end:
                    self._save()
                if self.step % s.validate_every == 0:
                    self._validate()
                if self.step % s.sample_every == 0:
                    self._sample()
                late = self.group.any(s.minutes is not None and time.monotonic() - begun > 60 * s.minutes)
                stopped = self.group.any(bool(asked))
                if (late or stopped) and not at_end:
                    self._save()
                    if stopped:
                        self._tell(f"stopped at step {self.step}, which is saved: the same command goes on")
                        raise KeyboardInterrupt
                    return f"stopped after {s.minutes:g} minutes; the same command goes on"
        return "done"

    def _one_step(self) -> None:
        c, s = self.progress.counters, self.settings
        begun = time.monotonic()
        batch, targets = self._next_batch()
        self._told["waited"] += time.monotonic() - begun
        nats = self._gradients(batch, targets)
        gradients = [p.grad for p in self.progress.parameters.values() if p.grad is not None]
        self.group.add([*gradients, nats])
        c.micro_batch = self.group.least(c.micro_batch)
        norm = torch.nn.utils.clip_grad_norm_(self.progress.parameters.values(), s.clip)
        bits = float(nats) / math.log(2)
        c.step += 1
        if not (math.isfinite(bits) and math.isfinite(float(norm))):
            c.skipped += 1
            c.skipped_in_a_row += 1
            reason = f"the {'gradient' if math.isfinite(bits) else 'loss'} is not finite"
            self._say("skipped_step", reason=reason, skipped=c.skipped)
            self._tell(f"step {c.step} is skipped: {reason}")
            return
        c.skipped_in_a_row = 0
        rate = s.rate(c.step - 1) * c.learning_rate_scale
        self.progress.update(rate, s.betas, s.weight_decay, s.average)
        c.note(bits)
        c.seen += targets
        told = self._told
        told["bits"].append(bits)
        told["norm"].append(float(norm))
        told["rate"] = rate
        told["targets"] += targets

    def _next_batch(self) -> tuple[Batch, int]:
        """This process's rows of the step's batch, and the targets in all rows; the next one is read meanwhile."""
        step = self.step
        if self._ahead is None or self._ahead[0] != step:
            self._ahead = (step, self.prefetch.submit(self._read, step))
        result = self._ahead[1].result()
        self._ahead = (step + 1, self.prefetch.submit(self._read, step + 1))
        return result

    def _read(self, step: int) -> tuple[Batch, int]:
        places = self.training.places(step, self.settings.batch)
        return self.training.batch(places[self.rows]), _targets(places)

    def _gradients(self, batch: Batch, targets: int) -> Tensor:
        """Leaves the gradients of this process's rows, and returns their share of the mean nats."""
        c = self.progress.counters
        rows = batch.tokens.shape[0]
        while True:
            size = min(c.micro_batch or rows, self.settings.micro_batch or self._usual_rows(rows), rows)
            try:
                for parameter in self.progress.parameters.values():
                    parameter.grad = torch.zeros_like(parameter)
                total = torch.zeros((), device=self.group.device)
                for first in range(0, rows, size):
                    part = batch.rows(first, first + size).to(self.group.device)
                    nats = self._nats(part, part.counted / targets)
                    nats.backward()  # type: ignore[no-untyped-call]
                    total += nats.detach()
                return total
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                if size == 1:
                    raise TrainingError(
                        f"out of memory with one window of {self.training.window} targets: give a smaller --window, or "
                        f"a smaller model. {str(error)[:200]}"
                    ) from error
                c.micro_batch = (size + 1) // 2
            if self.group.device.type == "cuda":
                torch.cuda.empty_cache()
            self._say("micro_batch", size=c.micro_batch)
            self._tell(f"out of memory: {c.micro_batch} windows at a time from now on, the batch stays {rows}")

    def _usual_rows(self, rows: int) -> int:
        """On a CPU about 8,000 targets at a time, which stay nearer to the caches: 1.25 times faster at `small`."""
        return max(1, CPU_TARGETS // self.training.window) if self.group.device.type == "cpu" else rows

    def _nats(self, batch: Batch, weight: Tensor, values: dict[str, Tensor] | None = None) -> Tensor:
        """The weighted sum over a batch, of the model or with other values for its parameters."""
        given = (batch.tokens, batch.frames, batch.speaker, False, weight)
        low = self.settings.precision == "bfloat16"
        with torch.autocast(self.group.device.type, torch.bfloat16, enabled=low):
            if values is None:
                return self.progress.model.loss(*given)
            loss = _Loss(self.progress.model)
            renamed = {f"model.{name}": value for name, value in values.items()}
            nats: Tensor = functional_call(loss, renamed, given)
            return nats

    # When it goes wrong

    def _exploded(self) -> bool:
        c = self.progress.counters
        return c.exploded() or c.skipped_in_a_row >= MOST_SKIPPED or not self.progress.finite()

    def _roll_back(self) -> None:
        """To the last checkpoint with half the learning rate, and that into the checkpoint, so that a kill keeps it."""
        before = self.progress.counters
        folder = self.out / "checkpoints"
        found = checkpoints(folder)
        # the newest may have been written when it had begun already
        older = [path for path in found if step_of(path) <= before.step - 2 * RECENT] or found[-1:]
        if self._load_newest(older)[0] is None:
            raise TrainingError(f"the loss exploded at step {before.step}, and no checkpoint in {folder} can be read.")
        c = self.progress.counters
        c.elapsed, c.rollbacks, c.skipped = before.elapsed, before.rollbacks + 1, before.skipped
        c.learning_rate_scale = before.learning_rate_scale / 2
        c.micro_batch, c.data, c.skipped_in_a_row, c.bits = before.micro_batch, before.data, 0, []
        self._validated = None
        self._told = self._clear_told()
        reason = f"the loss exploded at step {before.step}"
        self._say("rollback", to=c.step, learning_rate_scale=c.learning_rate_scale, reason=reason)
        self._tell(f"{reason}: back to step {c.step}, learning rate times {c.learning_rate_scale:g}")
        if c.rollbacks > MOST_ROLLBACKS:
            raise TrainingError(
                f"the loss has exploded {c.rollbacks} times, whatever the learning rate. Look at the data (fastwave "
                "doctor checks the model), or start anew with a smaller --learning-rate or --precision float32."
            )
        self._save()
        if self.group.first:  # only now: a kill before it resumes from one of them, and explodes again
            self.progress.forget_after(folder)

    # What is seen of it

    def _validate(self) -> float:
        """Bits a sample of the averaged weights on held-out windows, always the same ones; NaN without any."""
        if self._validated is not None and self._validated[0] == self.step:
            return self._validated[1]
        places = self.held_out.some(self.settings.validation_targets)
        mine = places[self.group.rank :: self.group.world]
        nats = torch.zeros(2, dtype=torch.float64, device=self.group.device)
        whole = dict(self.progress.model.named_parameters()) | self.progress.average
        with torch.inference_mode():
            for first in range(0, len(mine), 4):
                part = mine[first : first + 4]
                batch = self.held_out.batch(part).to(self.group.device)
                value = self._nats(batch, batch.counted, whole)
                nats += torch.stack([value.double(), torch.tensor(float(_targets(part))).to(nats)])
        self.group.add([nats])
        bits = float(nats[0] / nats[1]) / math.log(2) if float(nats[1]) else math.nan
        if math.isfinite(bits):
            self._say("validation", bits=bits)
        self._validated = (self.step, bits)
        return bits

    def _sample(self) -> None:
        """A sound or text of the averaged weights beside a real one, and the page drawn anew."""
        if not self.group.first:
            return
        side = (self.held_out.sides or self.training.sides)[0]
        s = self.settings
        try:
            sample = render(self.progress.averaged(), self.data, side, self.out, self.step, s.sample_seconds, s.seed)
            self._say("sample", file=sample.file, real=sample.real, samples_per_second=sample.samples_per_second)
            if self.config.sample_rate:
                self.journal.show(self.step, sample.result.samples[0], self.config.sample_rate)
            report.write(self.out)
        except (FastwaveError, OSError) as error:  # a model that cannot yet be heard is no reason to stop
            self._tell(f"no sample at step {self.step}: {error}")

    def _clear_told(self) -> dict[str, Any]:
        return {"bits": [], "norm": [], "rate": 0.0, "targets": 0, "waited": 0.0, "since": time.monotonic()}

    def _log(self, bar: Any) -> None:
        told, self._told = self._told, self._clear_told()
        took = max(1e-9, time.monotonic() - told["since"])
        if not told["bits"]:
            return
        bits = sum(told["bits"]) / len(told["bits"])
        values = {
            "bits": bits,
            "learning_rate": told["rate"],
            "gradient_norm": sum(told["norm"]) / len(told["norm"]),
            "samples_per_second": told["targets"] / took,
            "waiting": told["waited"] / took,
        }
        self._say("train", **values)
        bar.n = self.step
        bar.set_postfix_str(f"{bits:.3f} bits, {values['samples_per_second']:,.0f} samples/s")

    def _tell(self, *lines: str) -> None:
        from tqdm import tqdm

        if self.group.first:
            for line in lines:
                tqdm.write(f"fastwave train: {line}", file=sys.stderr)

    def finish(self, reason: str) -> float:
        """The last look at what there is now."""
        bits = self._validate()
        if reason == "done" and self.step % self.settings.sample_every:
            self._sample()
        self._say("end", bits=bits if math.isfinite(bits) else None, reason=reason)
        if self.group.first:
            with contextlib.suppress(TrainingError):  # a page that cannot be written costs nobody a model
                report.write(self.out)
        self.group.wait()
        return bits


class _Loss(torch.nn.Module):
    """The loss of a model as a module, which `functional_call` asks for."""

    def __init__(self, model: WaveNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, *given: Any) -> Tensor:
        """As `WaveNet.loss`."""
        return self.model.loss(*given)


def _targets(places: list[Place]) -> int:
    return sum(place.last - place.first for place in places)


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in NO_MEMORY)


def _check_fits(data: Data, config: WaveNetConfig) -> None:
    how = data.how
    pairs = (
        ("codec", how.codec, config.codec),
        ("classes", how.classes, config.classes),
        ("sample_rate", how.sample_rate, config.sample_rate),
        ("local feature channels", how.feature_channels if how.features else 0, config.local_channels),
        ("hop", how.hop if how.features else 1, config.hop),
        ("speakers", len(data.speakers), config.speakers),
    )
    for name, made, asked in pairs:
        if made != asked:
            raise InputError(f"the prepared data have {name} {made}, the model {asked}: prepare them for this model.")


def _write_settings(out: Path, config: WaveNetConfig, settings: Settings, command: str) -> None:
    """run.json; refuses to go on with a run that is another one."""
    path = out / "run.json"
    told = {"command": command, "config": config.to_dict(), "settings": dataclasses.asdict(settings)}
    try:
        before = json.loads(path.read_text()) if path.exists() else None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {error}. Give another --out, or mend it.") from error
    if before is not None:
        _check_same_run(out, before, json.loads(json.dumps(told)))
    try:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(told, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error


def _check_same_run(out: Path, before: Any, now: dict[str, Any]) -> None:
    if not isinstance(before, dict) or not all(isinstance(before.get(part), dict) for part in ("config", "settings")):
        raise InputError(f"{out / 'run.json'} is not that of a run. Give another --out, or mend it.")
    differences = [
        f"{name} was {before[part].get(name)}, now {now[part].get(name)}"
        for part in ("config", "settings")
        for name in now[part]
        if (part == "config" or name in REFUSED) and before[part].get(name) != now[part].get(name)
    ]
    if differences:
        raise InputError(
            f"{out} holds another run: {'; '.join(differences[:4])}. Give another --out, or the same settings."
        )


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Signals that came: the first Ctrl-C, or a scheduler's SIGTERM, ends the step that is going on; a second one that
    step too."""
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():  # only that one hears signals
        yield asked
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _bar(total: int, done: int, show: bool) -> Iterator[Any]:
    from tqdm import tqdm

    with tqdm(total=total, initial=done, unit="step", desc="training", disable=None if show else True) as bar:
        yield bar
