"""Spoken sentences as a vocoder learns from them, with frames of their sound or with those that a model predicts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..sound import audio
from ..vocoder.data import Recording
from .acoustic.data import Utterance, Utterances
from .acoustic.model import Acoustic
from .analysis import LOG_F0, SAMPLE_RATE


def recordings(folder: Path, acoustic: Acoustic | None = None) -> Iterator[Recording]:
    """The sentences of a folder as `acoustic/data.py` describes it.

    With an acoustic model each of them comes twice: with the frames of its sound, and with the bands that the model
    predicts for the same durations, F0 and voicing.
    """
    utterances = Utterances.read(folder)
    for utterance in (*utterances.training, *utterances.held_out):
        wave = audio.load(folder / "wavs" / f"{utterance.name}.wav", sample_rate=SAMPLE_RATE)[0].numpy()
        yield Recording(wave, utterance.frames.numpy(), utterance.held_out)
        if acoustic is not None:
            yield Recording(wave, predicted(acoustic, utterance), utterance.held_out)


def predicted(acoustic: Acoustic, utterance: Utterance) -> np.ndarray:
    """The frames of an utterance with the bands that the model predicts."""
    track = utterance.frames[:, LOG_F0:]
    return acoustic.frames(utterance.sentence, utterance.durations, track=track).numpy()
