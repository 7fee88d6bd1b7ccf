"""From spoken sentences and a time to the WaveNet of a voice: prepare its data, plan the run, train."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..config import WaveNetConfig
from ..model import WaveNet
from ..sound import audio
from ..training import loop, planning, recovery
from ..training.parallel import Group
from ..training.settings import Settings
from . import vocoder, vocoder_data
from .acoustic.data import Utterance, Utterances
from .acoustic.model import Acoustic
from .analysis import LOG_F0, SAMPLE_RATE
from .vocoder_data import Recording, VocoderData
from .vocoder_task import VocoderTask

WINDOW = 4096  # samples: short windows make more steps, and the WaveNet looks back on 32 ms only


def recordings(folder: Path, acoustic: Acoustic | None = None) -> Iterator[Recording]:
    """The sentences of a folder as `acoustic/data.py` describes it.

    With an acoustic model each of them comes twice: with the frames of its sound, and with the bands that the model
    predicts for the same durations, F0 and voicing.
    """
    utterances = Utterances.read(folder)
    for utterance in (*utterances.training, *utterances.held_out):
        wave = audio.load(folder / "wavs" / f"{utterance.name}.wav", sample_rate=SAMPLE_RATE)[0].numpy()
        yield Recording(wave, None, utterance.held_out, utterance.frames.numpy())
        if acoustic is not None:
            yield Recording(wave, None, utterance.held_out, predicted(acoustic, utterance))


def predicted(acoustic: Acoustic, utterance: Utterance) -> np.ndarray:
    """The frames of an utterance with the bands that the model predicts."""
    track = utterance.frames[:, LOG_F0:]
    return acoustic.frames(utterance.sentence, utterance.durations, track=track).numpy()


def train(
    sentences: Iterable[Recording],
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
        vocoder_data.prepare(sentences, place, settings or vocoder.VocoderSettings())
    group.wait()
    data, config = VocoderData(place), config or (start.config if start else vocoder.config())
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
