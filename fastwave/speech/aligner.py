"""Recordings and their texts -> when each phone and each pause is spoken, learned from these recordings alone.

Hidden Markov models of the phones start from nothing: the phones of a recording share its speech in equal parts. Each
round searches the best path of every recording and learns the models anew from the paths. A recording whose text it
does not say is found by its path, which scores worse than the paths of the others, and is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ..errors import InputError
from ..sound.mel import mel
from .analysis import HOP, SAMPLE_RATE
from .monophones import ROUNDS, Gaussians, cepstra
from .phones import PAUSES, Sentence
from .readings import COLUMNS, FINE, STATES, STEP, Reading, Spoken
from .viterbi import best_paths

MOST_LEARNED = 3600.0  # seconds of sound that the models are learned from
LEAST_LEARNED = 10.0
LEAST_RECORDINGS = 5
FASTEST, SLOWEST = 30.0, 2.5  # phones a second of speech: what lies outside is another text
OUTLYING = 6.0  # deviations below the median: a score so low is that of another text
EXCHANGED = 30  # recordings that are tried with each other's texts
BETTER = 0.6  # of the score of exchanged texts, which is negative, is the worst that true texts may have
STRETCH = 80  # frames of 5 ms whose mean score shows a wrong word
LEAST_DEVIATION = 0.05  # nats
TOGETHER = 64  # recordings searched at a time at the end

Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Recording:
    """A sound at 16 kHz [time], and the sentences that it says."""

    name: str
    wave: npt.NDArray[np.floating]
    sentences: Sequence[Sentence]

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.wave) / SAMPLE_RATE


class Aligned(NamedTuple):
    """What a recording says, and when."""

    name: str
    sentences: list[Spoken]
    score: float  # nats a frame of speech, 0 at best: how sure the models are of its phones
    worst: float  # of the worst stretch of 0.4 s


class Alignment(NamedTuple):
    """The recordings that are sure, in their order, and the others by name, each with a reason."""

    aligned: list[Aligned]
    left_out: dict[str, str]


class _Heard(NamedTuple):
    """A recording as the models see it."""

    reading: Reading
    frames: Floats  # [time, 39], every 5 ms
    speech: npt.NDArray[np.bool_]  # [time]


def align(
    recordings: Iterable[Recording],
    announce: Callable[[str], None] = lambda sentence: None,
    left_out: dict[str, str] | None = None,
) -> Alignment:
    """Find the phones of recordings. `recordings` is gone through twice, so it is a list or makes them anew.

    `left_out` holds what is known to be of no use; more is added to it.
    """
    left_out = {} if left_out is None else left_out
    learned: list[_Heard] = []
    frames = 0
    for heard in _hear(recordings, left_out):
        learned.append(heard)
        frames += len(heard.frames)
        if frames * STEP >= MOST_LEARNED * SAMPLE_RATE:
            break
    seconds = frames * STEP / SAMPLE_RATE
    if seconds < LEAST_LEARNED or len(learned) < LEAST_RECORDINGS:
        raise InputError(_too_little(len(learned), seconds, left_out))
    models = _learn(learned, announce)
    _check_texts(learned, models)
    del learned
    results = [aligned for group in _grouped(_hear(recordings, left_out)) for aligned in _aligned(group, models)]
    return _sure(results, left_out)


def _learn(heard: Sequence[_Heard], announce: Callable[[str], None]) -> Gaussians:
    models = Gaussians(COLUMNS, np.concatenate([each.frames for each in heard]))
    columns = [each.reading.equal_parts(each.speech) for each in heard]
    rows = [each.reading.row() for each in heard]
    for turn, rounds in enumerate(ROUNDS):
        if turn:
            models.split()
        for number in range(rounds):
            models.learn([each.frames for each in heard], columns)
            scores = [models.scores(each.frames) for each in heard]
            paths = best_paths(scores, rows)
            columns = [row.emissions[path.states] for row, path in zip(rows, paths, strict=True)]
            keep = _usual([_scores(score, column) for score, column in zip(scores, columns, strict=True)])
            if turn and number == 0:  # models of texts that were not said only blur the others
                heard, rows, columns = [heard[i] for i in keep], [rows[i] for i in keep], [columns[i] for i in keep]
            mean = sum(path.score for path in paths) / sum(map(len, scores))
            announce(f"round {sum(ROUNDS[:turn]) + number + 1} of {sum(ROUNDS)}: {mean:.2f} nats a frame")
    return models


def _check_texts(heard: Sequence[_Heard], models: Gaussians) -> None:
    """Refuse texts that fit their sounds hardly better than those of other sounds do."""
    order = sorted(heard, key=lambda each: len(each.reading.elements()) / len(each.frames))
    chosen = [order[i] for i in np.linspace(0, len(order) - 1, min(EXCHANGED, len(order))).astype(int)]
    others = [*chosen[1:], chosen[-2]]
    exchanged = [each._replace(reading=other.reading) for each, other in zip(chosen, others, strict=True)]
    possible = [each for each in exchanged if len(each.reading.row().emissions) <= len(each.frames)]
    if not possible:
        return
    true, false = (np.median([each.score for each in _aligned(group, models)]) for group in (chosen, possible))
    if true < BETTER * false:
        raise InputError(
            f"the texts fit their sounds hardly better ({true:.2f}) than the texts of other sounds do ({false:.2f}): "
            "do the names of sounds and texts belong together?"
        )


def _aligned(group: Sequence[_Heard], models: Gaussians) -> Iterator[Aligned]:
    scores = [models.scores(each.frames) for each in group]
    rows = [each.reading.row() for each in group]
    for each, score, row, path in zip(group, scores, rows, best_paths(scores, rows), strict=True):
        mean, worst = _scores(score, row.emissions[path.states])
        yield Aligned(each.reading.name, each.reading.spoken(path.states), mean, worst)


def _scores(scores: Floats, columns: npt.NDArray[np.integer]) -> tuple[float, float]:
    """Of frames whose columns are known: the mean over speech, and that of the worst stretch of speech and pauses, for
    what a text leaves out is taken for a pause.
    """
    highest = scores.max(axis=1)
    every = highest + np.log(np.exp(scores - highest[:, None]).sum(axis=1))
    sure = np.take_along_axis(scores, columns[:, None], axis=1)[:, 0] - every
    width = min(STRETCH, len(sure))
    sums = np.cumsum(np.concatenate([[0.0], sure]))
    mean = sure[columns >= STATES].mean()  # pauses come first in SOUNDS
    return float(mean), float((sums[width:] - sums[:-width]).min() / width)


def _usual(scores: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the recordings that score like the others."""
    low = [_lowest([score[kind] for score in scores]) for kind in (0, 1)]
    return [i for i, score in enumerate(scores) if score[0] >= low[0] and score[1] >= low[1]]


def _lowest(values: Sequence[float]) -> float:
    """The score below which a recording is unlike the others: by median and median deviation, which few cannot move."""
    middle = float(np.median(values))
    deviation = 1.4826 * float(np.median(np.abs(np.array(values) - middle)))
    return middle - OUTLYING * max(deviation, LEAST_DEVIATION)


def _sure(results: Sequence[Aligned], left_out: dict[str, str]) -> Alignment:
    keep = set(_usual([(each.score, each.worst) for each in results]))
    for index, each in enumerate(results):
        if index not in keep:
            left_out[each.name] = f"its sound is not that of its text (it scores {each.score:.2f}, {each.worst:.2f})"
    return Alignment([results[i] for i in sorted(keep)], left_out)


def _hear(recordings: Iterable[Recording], left_out: dict[str, str]) -> Iterator[_Heard]:
    """All that somebody may have spoken; of the others `left_out` gets the names and the reasons."""
    for recording in recordings:
        reason = _impossible(recording)
        if not reason:
            bands = mel(torch.from_numpy(np.asarray(recording.wave, dtype=np.float32)), FINE).numpy()
            level = bands.mean(axis=1)
            quiet, loud = np.percentile(level, 5), np.percentile(level, 95)
            reading = Reading(recording.name, recording.sentences, len(recording.wave))
            heard = _Heard(reading, cepstra(bands), level > quiet + 0.25 * (loud - quiet))
            reason = _improbable(heard)
        if reason:
            left_out[recording.name] = reason
        else:
            yield heard


def _impossible(recording: Recording) -> str:
    """Why no path can exist; empty where one can."""
    if not any(sentence.parts for sentence in recording.sentences):
        return "it has no text"
    elements = Reading(recording.name, recording.sentences, len(recording.wave)).elements()
    needed = sum(len(element.states) for element in elements if not element.optional)
    units = sum(len(sentence.units()) for sentence in recording.sentences)
    if -(-len(recording.wave) // STEP) < needed or -(-len(recording.wave) // HOP) < units:
        phones = sum(element.symbol not in PAUSES for element in elements)
        return f"{phones} phones do not fit into its {recording.seconds:.2f} s"
    return ""


def _improbable(heard: _Heard) -> str:
    """Why nobody speaks like this; empty where somebody might."""
    phones = sum(element.symbol not in PAUSES for element in heard.reading.elements())
    seconds = max(1, int(heard.speech.sum())) * STEP / SAMPLE_RATE
    if SLOWEST <= phones / seconds <= FASTEST:
        return ""
    return f"{phones} phones in {seconds:.2f} s of speech are {phones / seconds:.1f} a second"


def _grouped(heard: Iterable[_Heard]) -> Iterator[list[_Heard]]:
    group: list[_Heard] = []
    for each in heard:
        group.append(each)
        if len(group) == TOGETHER:
            yield group
            group = []
    if group:
        yield group


def _too_little(count: int, seconds: float, left_out: dict[str, str]) -> str:
    reasons = "".join(f" {name}: {reason}." for name, reason in list(left_out.items())[:3])
    return (
        f"{count} recordings with {seconds:.1f} s in all can be aligned, which is too little to learn from: at least "
        f"{LEAST_RECORDINGS} with {LEAST_LEARNED:g} s are needed, and half an hour makes a voice.{reasons}"
    )
