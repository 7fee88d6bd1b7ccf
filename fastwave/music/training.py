"""From recorded notes and a time to a band: analyse them, train the timbre network, and a WaveNet if one is wanted.

Each stage is a folder under OUT/runs. The same call goes on where it was stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint import read_tensors
from ..config import WaveNetConfig
from ..errors import InputError
from ..model import WaveNet
from ..training import history, loop, planning, recovery
from ..training.lock import locked
from ..training.parallel import Group
from ..training.saying import say, saying
from ..training.settings import Settings
from ..vocoder import training as vocoder_training
from ..vocoder import vocoder
from ..vocoder.data import Recording
from . import corpus, performances
from .analysis import FRAMES, NOISE, SETTINGS, analyse
from .bands import RESIDUALS
from .corpus import Recorded
from .instrument import Description, Instruments
from .timbre import Shape
from .timbre_task import FILE, TimbreTask

RUNS = "runs"
TIMBRE_SHARE = 0.4  # of the time that the analysis leaves; the WaveNet, if there is one, has the rest
LEAST_SHARE = 0.5  # of the time is for training, however long the analysis took
BATCH = 512  # rows
LEARNING_RATE = 3e-3  # of AdamW
# The residual is near to noise and needs no long memory: 4 times as fast as the WaveNet of a voice
WAVENET: dict[str, Any] = {"residual_channels": 16, "skip_channels": 32}

Analysis = list[tuple[Recorded, np.ndarray, np.ndarray]]  # a note, its rows and its residual


@saying("instrument")
def train(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    minutes: float = 30.0,
    *,
    name: str | None = None,
    licence: str = "not stated",
    provenance: str = "not stated",
    steps: int | None = None,
    config: WaveNetConfig | None = None,
    shape: Shape | None = None,
    residual: str = "noise",
    progress: bool = True,
) -> Instruments:
    """Make a band of the notes in `folder`, in the folder `out`; called again, it resumes there.

    `corpus` and `performances` say what the folder may hold; `steps` is the length of each run in place of a time.
    `residual` says what makes breath, bow and hammer: noise, or a WaveNet, whose `config` can be given.
    """
    if residual not in RESIDUALS:
        raise InputError(f"residual must be {' or '.join(RESIDUALS)}, got {residual!r:.40}.")
    if not minutes > 0:
        raise InputError(f"minutes must be above 0, got {minutes!r:.40}.")
    begun, source, target = time.monotonic(), Path(folder), Path(out)
    notes = performances.read(source) if performances.has_pairs(source) else corpus.read(source)
    with locked(target / RUNS):
        notes = corpus.with_stretches(source, notes)
        analysed = [
            (note, *analyse(wave, note.key, note.stretch))
            for note, wave in zip(notes, corpus.waves(source, notes), strict=True)
        ]  # fmt: skip
        say(f"{len(notes):,} notes of {', '.join(corpus.names(notes))}", show=progress)
        left = max(LEAST_SHARE * minutes, minutes - (time.monotonic() - begun) / 60)
        chosen = {} if steps is None else {"steps": steps}
        shape = shape or Shape(len(corpus.names(notes)))
        share, wavenet = (1.0 if residual == "noise" else TIMBRE_SHARE), None
        timbre = _timbre(analysed, target / RUNS / "timbre", left * share, shape, progress, chosen)
        if residual == "wavenet":
            wavenet = _wavenet(analysed, target / RUNS / "wavenet", left * (1 - share), config, progress, chosen)
        title = name or target.resolve().name
        description = Description(title, corpus.keys(notes), licence, provenance, corpus.stretches(notes))
        band = Instruments(description, timbre, wavenet, SETTINGS)
        band.save(target)
    play = f"play it: fastwave music SONG.mid --instrument {target} -o song.wav"
    say(f"the band: {target}", play, show=progress)
    return Instruments.load(target)


def _timbre(analysed: Analysis, out: Path, minutes: float, shape: Shape, show: bool, chosen: dict[str, Any]) -> Any:
    rows = [(note, values) for note, values, _ in analysed]
    notes = [note for note, _ in rows]

    def task_of(settings: Settings) -> TimbreTask:
        return TimbreTask(rows, corpus.names(notes), corpus.digest(notes), shape, settings)

    group, begun = Group(), time.monotonic()
    task = task_of(_planned(task_of, out, minutes, group, {"batch": BATCH, "learning_rate": LEARNING_RATE, **chosen}))
    if not _finished(out, FILE):
        loop.train(task, out, group, "timbre", show, {}, time.monotonic() - begun)
    timbre = task.build()
    expected = {name: tuple(each.shape) for name, each in timbre.state_dict().items()}
    timbre.load_state_dict(read_tensors(out / FILE, lambda _: expected)[0])
    return timbre


def _planned(task_of: Any, out: Path, minutes: float, group: Group, chosen: dict[str, Any]) -> Settings:
    """The settings of a run that was begun, or those of one that ends in time."""
    before = recovery.read_run(out)
    if before is not None:
        return Settings.from_dict(before["settings"])
    settings = Settings(
        **{"optimiser": "adamw", "window": 1, **chosen, **({} if "steps" in chosen else {"minutes": minutes})}
    )
    if "steps" in chosen:
        return settings
    seconds = planning.seconds_per_step(task_of(settings), group)
    return planning.planned(settings, seconds, 0.0, chosen)


def _wavenet(
    analysed: Analysis, out: Path, minutes: float, config: WaveNetConfig | None, show: bool, chosen: dict[str, Any]
) -> WaveNet:
    if not _finished(out, "model.safetensors"):
        config = config or vocoder.config(frames=FRAMES, **WAVENET)
        vocoder_training.train(_recordings(analysed), out, minutes, config, SETTINGS, show=show, **chosen)
    return WaveNet.from_pretrained(out)


def _recordings(analysed: Analysis) -> Iterator[Recording]:
    for note, rows, residual in analysed:
        yield Recording(residual, rows[:, :NOISE], note.held_out, note.instrument)


def _finished(run: Path, file: str) -> bool:
    return (run / file).exists() and (run / "log.jsonl").exists() and history.read(run).ended == history.DONE
