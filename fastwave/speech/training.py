"""From a folder of recordings and a time to a voice: prepare, train the acoustic networks, train the WaveNet, speak.

Each stage is a folder under OUT/runs. The same command goes on where it was stopped: a stage that is done is not done
again, and one that is on resumes as every run of the training loop does.
"""

from __future__ import annotations

import functools
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..config import WaveNetConfig
from ..errors import InputError
from ..files import replacing
from ..model import WaveNet
from ..training import history
from ..training.lock import locked
from ..training.saying import say, saying
from ..vocoder import training as vocoder_training
from ..vocoder import vocoder
from ..vocoder.data import VocoderData
from .acoustic import Acoustic, Shape
from .acoustic import training as acoustic_training
from .acoustic.data import Utterances
from .acoustic.tasks import TASKS
from .folder import Description
from .options import DEFAULT_MINUTES
from .preparation import Prepared, prepare
from .recordings import recordings
from .training_report import SENTENCES, write_report
from .voice import Voice

RUNS = "runs"
PLAN = "plan.json"
ACOUSTIC_SHARE = 0.3  # of the time that the preparation leaves
LEAST_SHARE = 0.5  # of the time is for training, however long the preparation took
LITTLE = 600.0  # seconds of speech: less makes a voice that is hard to understand
OTHER_MINUTES = (
    "this voice was planned for {planned:g} minutes, and that plan goes on: {minutes:g} minutes change nothing. To "
    "plan it anew and train it from the beginning, remove acoustic, vocoder and plan.json in {runs}"
)


class Plan(NamedTuple):
    """How the time is shared out."""

    minutes: float
    acoustic: float
    vocoder: float

    def lines(self, prepared: Prepared, steps: int | None) -> list[str]:
        """In sentences."""
        lines = [f"{prepared.sentences:,} sentences, {prepared.seconds / 60:.1f} minutes of speech"]
        if prepared.seconds < LITTLE:
            lines[0] += "; that is little: give half an hour or more if you can"
        shares = (f"{self.acoustic:.3g} minutes", f"{self.vocoder:.3g} minutes")
        if steps is not None:
            shares = (f"three times {steps:,} steps", f"{steps:,} steps")
        return [
            *lines,
            f"acoustic networks (durations, pitch, spectrum): {shares[0]}",
            f"WaveNet: {shares[1]}",
        ]


@saying("voice")
def train_voice(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    minutes: float | None = None,
    *,
    steps: int | None = None,
    name: str | None = None,
    speaker: str = "",
    licence: str = "not stated",
    threads: int | None = None,
    progress: bool = True,
    shape: Shape | None = None,
    config: WaveNetConfig | None = None,
    **settings: Any,
) -> Voice:
    """Make a voice of recordings and their texts, in the folder `out`; called again, it resumes there.

    The same as `fastwave voice train DATA --out OUT --minutes M`, with the same promises. Without `minutes` a new voice
    has 90, and one that was begun has those that it was planned for. `steps` is the length of each run in place of a
    time. `shape` and `config` are those of the acoustic networks and of the WaveNet; `settings` are further ones of all
    runs.
    """
    begun, folder, target = time.monotonic(), Path(data), Path(out)
    _check(folder, target, minutes, steps)
    if threads is not None:
        torch.set_num_threads(threads)
    with locked(target / RUNS):
        prepared = prepare(folder, target / RUNS / "data", functools.partial(say, show=progress))
        plan = _plan(target / RUNS, minutes, (time.monotonic() - begun) / 60)
        if minutes is not None and steps is None and minutes != plan.minutes:
            say(OTHER_MINUTES.format(minutes=minutes, planned=plan.minutes, runs=target / RUNS))
        say(*plan.lines(prepared, steps), show=progress)
        chosen = settings if steps is None else {"steps": steps, **settings}
        acoustic = _acoustic(target / RUNS, plan, shape, progress, chosen)
        wavenet, filtering = _vocoder(target / RUNS, plan, config, progress, chosen)
        description = Description(
            name=name or target.resolve().name,
            speaker=speaker,
            licence=licence,
            provenance=f"{prepared.seconds / 60:.1f} minutes of recordings, {prepared.sentences} sentences",
        )
        Voice(description, acoustic, vocoder.Vocoder(wavenet, filtering, threads=threads), wavenet).save(target)
        voice = Voice.load(target, threads=threads)
        _speak(voice, target, prepared, plan, progress)
    return voice


def _acoustic(runs: Path, plan: Plan, shape: Shape | None, show: bool, chosen: dict[str, Any]) -> Acoustic:
    data, out = runs / "data", runs / "acoustic"
    if all(_finished(out / part, f"{part}.safetensors") for part in TASKS):
        say("the acoustic networks are trained already", show=show)
        return acoustic_training.assembled(Utterances.read(data), out, shape)
    return acoustic_training.train(data, out, plan.acoustic, shape, show, **chosen)


def _vocoder(
    runs: Path, plan: Plan, config: WaveNetConfig | None, show: bool, chosen: dict[str, Any]
) -> tuple[WaveNet, vocoder.VocoderSettings]:
    out = runs / "vocoder"
    if _finished(out, "model.safetensors"):
        say("the WaveNet is trained already", show=show)
    else:
        sentences = recordings(runs / "data")
        vocoder_training.train(sentences, out, plan.vocoder, config, show=show, **chosen)
    return WaveNet.from_pretrained(out), VocoderData(out / "data").settings


def _speak(voice: Voice, out: Path, prepared: Prepared, plan: Plan, show: bool) -> None:
    folder = out / "samples"
    folder.mkdir(exist_ok=True)
    for number, sentence in enumerate(SENTENCES, 1):
        voice(sentence).save(folder / f"{number}.wav")
    page = write_report(out, voice.description.name, plan.lines(prepared, None), prepared.left_out)
    say(f"the voice: {out}", f"its sentences: {folder}", f"look and listen: {page}", show=show)


def _finished(run: Path, file: str) -> bool:
    """Whether a run is done, and what it has made is still there."""
    return (run / file).exists() and (run / "log.jsonl").exists() and history.read(run).ended == history.DONE


def _plan(runs: Path, minutes: float | None, used: float) -> Plan:
    """The plan of a new voice, or the one that it was begun with."""
    minutes = DEFAULT_MINUTES if minutes is None else minutes
    path = runs / PLAN
    if path.exists():
        try:
            values = json.loads(path.read_text())
            return Plan(*(float(values[field]) for field in Plan._fields))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"cannot read {path}: {error}. Remove it, and the time is planned anew.") from error
    left = max(LEAST_SHARE * minutes, minutes - used)
    plan = Plan(minutes, ACOUSTIC_SHARE * left, (1 - ACOUSTIC_SHARE) * left)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(plan._asdict()) + "\n")
    return plan


def _check(data: Path, out: Path, minutes: float | None, steps: int | None) -> None:
    if minutes is not None and not 0 < minutes < float("inf"):
        raise InputError(f"minutes must be above 0, got {minutes}.")
    if steps is not None and steps < 1:
        raise InputError(f"steps must be at least 1, got {steps}.")
    if out.is_file():
        raise InputError(f"--out {out} is a file: give a folder, which need not exist yet.")
    if data.resolve() == out.resolve() or data.resolve() in out.resolve().parents:
        raise InputError(f"--out {out} lies in the folder of the recordings: its sounds would be learned from.")
