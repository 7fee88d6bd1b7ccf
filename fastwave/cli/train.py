"""`fastwave train`: from a folder of sound or text to a model."""

from __future__ import annotations

import argparse
import dataclasses
import math
import shlex
import sys
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..training.settings import PRECISIONS, SCHEDULES, Settings
from .options import Verbs, add_verb
from .plan import add_data_options, plan, report_skipped

HELP = {
    "steps": "length of the whole run; the schedule ends there",
    "minutes": "stop sooner, with a checkpoint; the same command resumes the run",
    "batch": "windows in a step, over all processes",
    "window": "samples to predict in a window",
    "micro_batch": "windows at a time in one process, for less memory; 0: about 8,192 targets on a CPU, else all",
    "learning_rate": "the highest learning rate",
    "schedule": "of the learning rate: " + ", ".join(SCHEDULES),
    "warmup": "steps from zero to the highest learning rate",
    "decay_every": "steps after which the step schedule halves the learning rate",
    "weight_decay": "of AdamW, not for biases",
    "clip": "largest norm of the gradient; a longer one is scaled down",
    "average": "decay of the averaged weights, which are validated, sampled and exported",
    "precision": " or ".join(PRECISIONS),
    "seed": "decides the first weights and the order of the data",
    "validate_every": "steps between validations",
    "validation_targets": "samples of the held-out data to validate on",
    "sample_every": "steps between generated samples",
    "sample_seconds": "length of a generated sample",
    "save_every": "steps between checkpoints",
    "keep": "checkpoints to keep",
    "log_every": "steps between lines of the log",
}


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "train", train)
    add_data_options(verb)
    verb.add_argument("--out", required=True, metavar="RUN", help="the run's folder; an existing run is resumed")
    verb.add_argument("--prepared", metavar="DATA", help="where the prepared data go (default: RUN/data)")
    verb.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    verb.add_argument("--backend", default="auto", help="of the training kernels: auto, reference, cpu or triton")
    verb.add_argument("--threads", type=int, help="of torch in each process")
    for field in dataclasses.fields(Settings):
        if field.name in HELP:
            kind: Any = {"int": int, "str": str}.get(str(field.type), float)
            shown = HELP[field.name] + ("" if field.default is None else f" (default: {field.default})")
            verb.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default, help=shown)
    memory = "store fewer activations for the backward pass: less memory, a little slower"
    verb.add_argument("--recompute", action="store_true", help=memory)
    verb.add_argument("--tensorboard", action="store_true", help="also write for TensorBoard (the train extra)")


def train(options: argparse.Namespace) -> int:
    """Train a model on a folder of sound or text. The same command again resumes it where it stopped."""
    import torch

    from ..data.prepare import prepare as make
    from ..data.shards import Data
    from ..training import ending
    from ..training.loop import train as run
    from ..training.parallel import Group
    from ..training.wavenet import WaveNetTask

    if options.threads is not None:
        if options.threads < 1:
            raise InputError(f"--threads must be at least 1, got {options.threads}.")
        torch.set_num_threads(options.threads)
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(Settings) if field.name in HELP}
    settings = Settings(**values, recompute=options.recompute, tensorboard=options.tensorboard)
    out, folder = Path(options.out), Path(options.folder)
    if out.resolve() == folder.resolve():
        raise InputError(f"--out {out} is the folder of the data: its sounds would be learned from. Give another.")
    group = Group(options.device)
    try:
        config, preparation = plan(options)
        place = folder if preparation is None else Path(options.prepared or out / "data")
        if preparation is not None and group.first:
            index = make(folder, place, preparation, options.workers, progress=True)
            report_skipped(index["skipped"], place)
        group.wait()
        command = shlex.join(["fastwave", *sys.argv[1:]])
        task = WaveNetTask(Data(place), config, settings, options.backend)
        bits = run(task, out, group, command, show=True)
    finally:
        group.leave()
    if group.first:
        unit = "character" if not config.sample_rate else "sample"
        print(f"{bits:.4f} bits a {unit} on held-out data" if math.isfinite(bits) else "no held-out data")
        print("\n".join(ending.sentences(out)))
    return 0
