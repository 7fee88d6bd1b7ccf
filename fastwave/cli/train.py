"""`fastwave train`: from a folder of sound or text to a model."""

from __future__ import annotations

import argparse
import dataclasses
import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..training.settings import DEFAULT_MINUTES, OPTIMISERS, PRECISIONS, SCHEDULES, Settings
from .options import Verbs, add_verb, check_data
from .plan import add_data_options, choices_of

HELP = {
    "minutes": f"how long to train: all else is planned from it (default: {DEFAULT_MINUTES:g}, without --steps)",
    "steps": "length of the whole run, where it shall not follow from a time; --minutes then stops it sooner",
    "batch": "windows in a step, over all processes (default: one for each process)",
    "window": f"samples to predict in a window (default: {Settings.window})",
    "micro_batch": "windows at a time in one process, for less memory; 0: about 8,192 targets on a CPU, else all",
    "learning_rate": f"the highest learning rate (default: {Settings.learning_rate})",
    "schedule": f"of the learning rate: {', '.join(SCHEDULES)} (default: {Settings.schedule})",
    "warmup": "steps from zero to the highest learning rate",
    "decay_every": "steps after which the step schedule halves the learning rate",
    "optimiser": f"{' or '.join(OPTIMISERS)} (default: {Settings.optimiser}, which moves matrices by Muon)",
    "weight_decay": "not for biases",
    "clip": "largest norm of the gradient; a longer one is scaled down",
    "average": "decay of the averaged weights, which are validated, sampled and exported",
    "precision": f"auto, which takes the fastest here, {' or '.join(PRECISIONS)} (default: auto, with --steps float32)",
    "seed": "decides the first weights and the order of the data",
    "validate_every": "steps between validations",
    "validation_targets": "samples of the held-out data to validate on",
    "sample_every": "steps between generated samples",
    "sample_seconds": "length of a generated sample",
    "save_every": "steps between checkpoints",
    "keep": "checkpoints to keep",
    "log_every": "steps between lines of the log",
}
FLAGS = ("recompute", "tensorboard")


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "train", train, check_data)
    add_data_options(verb)
    verb.add_argument(
        "--parallel",
        action="store_true",
        help="train a student instead, which makes all samples at once from mel frames and F0 (docs/student.md)",
    )
    verb.add_argument("--out", required=True, metavar="RUN", help="the run's folder; an existing run is resumed")
    start = "train this model further: a checkpoint folder, whose config is kept (default learning rate: 8e-4)"
    verb.add_argument("--from", dest="start", metavar="MODEL", help=start)
    verb.add_argument("--prepared", metavar="DATA", help="where the prepared data go (default: RUN/data)")
    verb.add_argument("--other-data", action="store_true", help="resume a run although its data have changed")
    add_run(verb)


def add_run(verb: argparse.ArgumentParser) -> None:
    """Where a run computes, and every setting of it."""
    verb.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    verb.add_argument("--backend", default="auto", help="of the training kernels: auto, reference, cpu or triton")
    verb.add_argument("--threads", type=int, help="of torch in each process")
    verb.add_argument("--hours", type=float, help="in place of --minutes")
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    for name, meaning in HELP.items():
        kind: Any = {"int": int, "str": str}.get(str(fields[name].type), float)
        verb.add_argument(f"--{name.replace('_', '-')}", type=kind, help=meaning)
    memory = "store fewer activations for the backward pass: less memory, a little slower"
    verb.add_argument("--recompute", action="store_true", default=None, help=memory)
    board = "also write for TensorBoard (the train extra)"
    verb.add_argument("--tensorboard", action="store_true", default=None, help=board)


def train(options: argparse.Namespace) -> int:
    """Train a model on a folder of sound or text, for as long as you say. The same command again resumes it."""
    from ..training import ending
    from ..training.start import Machine, run

    if options.parallel:
        return _train_parallel(options)
    machine = Machine(options.device, options.backend, options.threads, options.workers)
    out, chosen = Path(options.out), chosen_settings(options)
    ended = run(choices_of(options), out, chosen, machine, options.prepared, command(), True, options.other_data)
    bits, config = ended.bits, ended.config
    if ended.first:
        unit = "character" if not config.sample_rate else "sample"
        print(f"{bits:.4f} bits a {unit} on held-out data" if math.isfinite(bits) else "no held-out data")
        print("\n".join(ending.sentences(out)))
    return 0


def chosen_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The settings of the run that the options name."""
    chosen = {name: value for name in (*HELP, *FLAGS) if (value := getattr(options, name)) is not None}
    return chosen if options.hours is None else {**chosen, "minutes": 60 * options.hours}


def command() -> str:
    """The command that this process is, as it may be given again."""
    return shlex.join(["fastwave", *sys.argv[1:]])


# What a student does not take: its shape, its frames and the level of its data are its own
NOT_PARALLEL: dict[str, Any] = {
    "preset": None, "set": [], "sample_rate": None, "speakers": None, "features": None, "bands": None,
    "channel": "mix", "trim": None, "normalize": None, "prepared": None, "other_data": False, "workers": None,
}  # fmt: skip


def _train_parallel(options: argparse.Namespace) -> int:
    """Train a student on a folder of recordings of one voice."""
    from ..student.training import train

    given = [name for name, usual in NOT_PARALLEL.items() if getattr(options, name) != usual]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"--parallel decides {names} itself: leave it out.")
    return train_student(options, train, "spectral distance")


def train_student(options: argparse.Namespace, train: Callable[..., float], measure: str) -> int:
    """Train a student by a function of student/training.py, and say what came of it; `measure` is what it returns."""
    import torch

    from ..training import ending
    from ..training.parallel import Group

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    chosen = chosen_settings(options)
    if chosen.get("precision") == "auto":
        del chosen["precision"]
    group = Group(options.device)
    try:
        measured = train(
            options.folder,
            options.out,
            held_out=options.held_out,
            backend=options.backend,
            command=command(),
            show=True,
            group=group,
            **chosen,
        )
    finally:
        group.leave()
    if group.first:
        held_out = "no held-out data" if math.isnan(measured) else f"{measure} {measured:.4f} on held-out data"
        print("\n".join([held_out, *ending.sentences(Path(options.out))]))
    return 0
