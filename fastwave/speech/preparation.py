"""Recordings and texts -> spoken sentences with the durations of their phones, the folder that a voice learns from.

The folder is that of `acoustic/data.py`: utterances.jsonl, wavs/ and f0/. It is written once; utterances.jsonl comes
last, so a folder without it is made again. Sounds get 16 kHz and a common loudness.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import AudioError, InputError
from ..files import replacing
from ..sound import audio, loudness
from . import corpus, text
from .acoustic.data import HELD_OUT, INDEX
from .aligner import Recording, align
from .analysis import HOP, SAMPLE_RATE, tracked_f0
from .phones import Sentence, Word
from .readings import Spoken

SUMMARY = "prepared.json"
BEFORE, AFTER = 8, 16  # frames of silence that a sentence keeps at its ends: 0.1 s and 0.2 s
LONGEST = 60.0  # seconds of a recording
MOST_LEFT_OUT = 0.5  # of the recordings: more of them say that names and texts do not belong together

Announce = Callable[[str], None]


class Prepared(NamedTuple):
    """What is in a prepared folder."""

    sentences: int
    seconds: float
    left_out: dict[str, str]  # recordings by name, with the reason


def prepare(data: Path, place: Path, announce: Announce) -> Prepared:
    """Write the sentences of the folder `data` into `place`, unless they are there; refused where other ones are."""
    known = (data / INDEX).is_file()
    pairs = None if known else corpus.read(data)
    digest = _digest_of(data / INDEX) if pairs is None else pairs.digest()
    before = _read_summary(place)
    if before is not None:
        if before.get("digest") != digest:
            raise InputError(
                f"the recordings in {data} are not those that the voice in {place.parent.parent} was begun with. Give "
                "the same ones, or another --out."
            )
        return Prepared(before["sentences"], before["seconds"], before["left_out"])
    for part in ("wavs", "f0"):
        (place / part).mkdir(parents=True, exist_ok=True)
    lines, left_out = _aligned(pairs, place, announce) if pairs else (list(_copied(data, place)), {})
    seconds = sum(sum(line["durations"]) for line in lines) * HOP / SAMPLE_RATE
    summary = {"digest": digest, "sentences": len(lines), "seconds": round(seconds, 3), "left_out": left_out}
    _write(place / INDEX, "".join(json.dumps(line) + "\n" for line in lines))
    _write(place / SUMMARY, json.dumps(summary, indent=1) + "\n")
    return Prepared(len(lines), seconds, left_out)


class _Recordings:
    """The recordings of a corpus, read anew by each loop over them."""

    def __init__(self, pairs: corpus.Corpus, left_out: dict[str, str]) -> None:
        self.pairs, self.left_out = pairs.pairs, left_out
        self.sentences: dict[str, list[Sentence]] = {}

    def __iter__(self) -> Iterator[Recording]:
        for pair in self.pairs:
            if pair.name in self.left_out:
                continue
            if pair.name not in self.sentences:
                self.sentences[pair.name] = text.sentences(pair.text)
            sentences = self.sentences[pair.name]
            try:
                reason = "" if sentences else f"its text {pair.text[:40]!r} holds nothing that can be spoken"
                wave = _loaded(pair.sound)
                if len(wave) > LONGEST * SAMPLE_RATE:
                    reason = f"it is {len(wave) / SAMPLE_RATE:.0f} s long: cut it into sentences"
            except AudioError as error:
                reason = str(error)
            if reason:
                self.left_out[pair.name] = reason
                continue
            yield Recording(pair.name, wave, sentences)


def _aligned(pairs: corpus.Corpus, place: Path, announce: Announce) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Lines of utterances.jsonl, and the recordings that are left out."""
    left_out: dict[str, str] = {}
    alignment = align(_Recordings(pairs, left_out), announce, left_out)
    if len(left_out) > MOST_LEFT_OUT * len(pairs.pairs):
        name, reason = next(iter(left_out.items()))
        raise InputError(
            f"{len(left_out)} of {len(pairs.pairs)} recordings cannot be used, the first of them {name}: {reason}. Do "
            "the names of sounds and texts belong together?"
        )
    left_out = pairs.left_out | left_out
    for name, reason in left_out.items():
        announce(f"left out {name}: {reason}")
    sounds = {pair.name: pair for pair in pairs.pairs}
    held_out = _held_out([each.name for each in alignment.aligned])
    lines: list[dict[str, Any]] = []
    for each in alignment.aligned:
        wave, held = _loaded(sounds[each.name].sound), each.name in held_out
        for spoken in each.sentences:
            name, said = f"{len(lines):05d}", _text(spoken, sounds[each.name].text)
            about = {"id": name, "text": said, "recording": each.name, "held_out": held}
            lines.append(about | _written(place, name, wave, spoken))
    return lines, left_out


def _written(place: Path, name: str, wave: npt.NDArray[np.float32], spoken: Spoken) -> dict[str, Any]:
    """Write a sentence's sound and F0, without long silences at its ends -> its phones and their durations."""
    durations = list(spoken.durations)
    first = spoken.first + max(0, durations[0] - BEFORE)
    durations[0], durations[-1] = min(durations[0], BEFORE), min(durations[-1], AFTER)
    cut = wave[first * HOP : (first + sum(durations)) * HOP]
    sound = np.pad(cut, (0, sum(durations) * HOP - len(cut)))
    audio.save(place / "wavs" / f"{name}.wav", sound, SAMPLE_RATE)
    _save_f0(place / "f0" / f"{name}.npy", tracked_f0(sound).astype(np.float32))
    units = spoken.sentence.units()
    return {"symbols": [unit.symbol for unit in units], "words": [unit.part for unit in units], "durations": durations}


def _copied(data: Path, place: Path) -> Iterator[dict[str, Any]]:
    """Sentences whose durations are known, and their F0 where that is known."""
    for number, line in enumerate((data / INDEX).read_text(encoding="utf-8").splitlines(), 1):
        try:
            values = json.loads(line)
            name = str(values["id"])
            frames = sum(values["durations"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{data / INDEX}, line {number} does not describe a sentence: {error}.") from error
        if Path(name).name != name:
            raise InputError(f"{data / INDEX}, line {number}: {name[:60]!r} is no name of a sound.")
        wave = _loaded(data / "wavs" / f"{name}.wav")
        if -(-len(wave) // HOP) != frames:
            raise InputError(f"{data / INDEX}, line {number}: {frames} frames, but {len(wave) / HOP:.1f} of sound.")
        audio.save(place / "wavs" / f"{name}.wav", wave, SAMPLE_RATE)
        track = data / "f0" / f"{name}.npy"
        _save_f0(place / "f0" / f"{name}.npy", np.load(track) if track.exists() else tracked_f0(wave))
        yield values


def _loaded(path: Path) -> npt.NDArray[np.float32]:
    wave: npt.NDArray[np.float32] = loudness.load(path, SAMPLE_RATE, "loudness").numpy()
    return wave


def _text(spoken: Spoken, whole: str) -> str:
    words = [part for part in spoken.sentence.parts if isinstance(part, Word)]
    return whole[words[0].start : words[-1].end] + spoken.sentence.parts[-1].mark if words else ""  # type: ignore[union-attr]


def _held_out(names: list[str]) -> set[str]:
    """Names of the recordings to measure on, always the same ones; at least one."""
    order = sorted(names, key=lambda name: (zlib.crc32(name.encode("utf-8", "replace")), name))
    return set(order[: max(1, round(len(names) * HELD_OUT))])


def _digest_of(path: Path) -> str:
    return f"{zlib.crc32(path.read_bytes()):08x}"


def _read_summary(place: Path) -> Mapping[str, Any] | None:
    path = place / SUMMARY
    if not path.exists() or not (place / INDEX).exists():
        return None
    try:
        values: Mapping[str, Any] = json.loads(path.read_text())
        return values if isinstance(values.get("left_out"), dict) else None
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"cannot read {path}: {error}. Remove it, and the recordings are prepared again.") from error


def _write(path: Path, content: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def _save_f0(path: Path, track: npt.NDArray[np.floating]) -> None:
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, track)
