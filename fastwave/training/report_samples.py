"""The samples in a report: players under spectrograms, or texts."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import AudioError
from ..generation.display import wav_bytes
from ..sound import audio
from ..sound.plots import COLOURS, COLUMNS, MINUS, RANGE_DB, Array, envelope, palette, png, shades, spectrogram, ticks
from .drawing import axes, places
from .hearing import levels
from .history import History, number
from .page import data_uri, escape

MOST_STEPS = 5  # of which samples are shown: all of the newest step, and one of each other
MOST_OF_A_STEP = 6
MOST_SECONDS = 10.0  # of one sound
MOST_SOUND_BYTES = 3 << 20  # of all sounds together; base64 makes them a third larger
MOST_TEXT_BYTES = 2000


class _Entry(NamedTuple):
    """A file of samples and how it is called."""

    title: str
    path: Path
    prime: int = 0  # samples or characters at its start that are data

    @property
    def name(self) -> str:
        """The title as plain text."""
        return re.sub("<[^>]*>", "", self.title)


class _Clip(NamedTuple):
    entry: _Entry
    wave: Array
    sample_rate: int
    wav: bytes
    cut: bool  # whether this is only the beginning of the file

    @property
    def seconds(self) -> float:
        return len(self.wave) / self.sample_rate


def samples(run: Path, history: History) -> str:
    """HTML of the real stretch and the newest samples, then of earlier ones, a few at even distances of many steps."""
    lines = [line for line in history.samples if isinstance(line.get("file"), str)]
    if not lines:
        return "<p>There are no samples yet.</p>"
    first_of: dict[int, Mapping[str, Any]] = {}
    for line in lines:
        first_of.setdefault(line["step"], line)
    steps = list(first_of)
    chosen = [steps[round(i)] for i in np.linspace(len(steps) - 1, 0, min(len(steps), MOST_STEPS))]
    newest = [line for line in lines if line["step"] == chosen[0]][:MOST_OF_A_STEP]
    real = newest[0].get("real")
    # the name alone: a log must not choose the folder that is read
    data = [_Entry("Real, held out", run / "samples" / Path(str(real)).name)] if real else []
    now, earlier = [_entry(run, line) for line in newest], [_entry(run, first_of[step]) for step in chosen[1:]]
    everything = [*data, *now, *earlier]
    text = all(entry.path.suffix == ".txt" for entry in everything)
    most_bytes = MOST_SOUND_BYTES // len(everything)
    beside = [("", data + now)] if len(now) == 1 else [("", data), ("Now", now)]
    parts = []
    for title, entries in (*beside, ("Earlier", earlier)):
        figures = [_text_sample(entry) if text else _sound(entry, most_bytes) for entry in entries]
        heading = f"<h3 class=group>{title}</h3>" if title and figures else ""
        parts.append(f"{heading}<div class={'texts' if text else 'sounds'}>{''.join(figures)}</div>" if figures else "")
    ramp = f"<i style='background:linear-gradient(to right, {', '.join(f'rgb{colour}' for colour in COLOURS)})'></i>"
    key = f"<p class=key>dB, of which 0 is full scale: {MINUS}{RANGE_DB:g} {ramp} 0. Silence is black.</p>"
    return ("" if text else key) + "".join(parts)


def _entry(run: Path, line: Mapping[str, Any]) -> _Entry:
    label = f" <small>{escape(line['label'])}</small>" if line.get("label") else ""
    path = run / "samples" / Path(line["file"]).name
    return _Entry(f"Step {int(line['step']):,}{label}", path, max(0, int(number(line.get("prime")) or 0)))


def _text_sample(entry: _Entry) -> str:
    try:
        with open(entry.path, "rb") as file:
            content = file.read(MOST_TEXT_BYTES + 4 * entry.prime).decode("utf-8", "replace")
    except (OSError, ValueError) as error:  # a log's name may hold what no path can
        content = f"It cannot be read: {error}"
    prime, rest = content[: entry.prime], content[entry.prime :]
    marked = f"<span class=prime title='data'>{escape(prime)}</span>" if prime else ""
    note = "<p class=note>The soft part is data, which the model continues.</p>" if prime else ""
    shown = f"<pre tabindex=0 aria-label='{entry.name}'>{marked}{escape(rest)}</pre>"
    return f"<figure><h3>{entry.title}</h3>{note}{shown}</figure>"


def _sound(entry: _Entry, most_bytes: int) -> str:
    try:
        return _sound_sample(_clip(entry, most_bytes))
    except (AudioError, OSError) as error:
        return f"<figure><h3>{entry.title}</h3><p>It cannot be heard: {escape(error)}</p></figure>"


def _clip(entry: _Entry, most_bytes: int) -> _Clip:
    """A sound and the bytes to play: those of the file, or a wav file of its beginning."""
    info = audio.info(entry.path)
    rate = info.sample_rate
    frames = min(info.frames, int(MOST_SECONDS * rate), most_bytes // 2)
    blocks: list[Array] = []
    with contextlib.closing(_blocks(entry.path, rate)) as source:
        while sum(map(len, blocks)) < frames and (block := next(source, None)) is not None:
            blocks.append(block)
    wave = np.concatenate(blocks or [np.zeros(0)])[:frames]
    if not len(wave):
        raise AudioError(f"{entry.path}: there is no sound in this file")
    cut = frames < info.frames
    return _Clip(entry, wave, rate, wav_bytes(wave, rate) if cut else entry.path.read_bytes(), cut)


def _blocks(path: Path, rate: int) -> Generator[Array, None, None]:
    for block in audio.blocks(path, rate):
        yield block.astype(np.float64)


def _sound_sample(clip: _Clip) -> str:
    """A player under the waveform and the spectrogram, both on an absolute scale, and the levels in numbers."""
    entry, name = clip.entry, clip.entry.name
    image = data_uri("image/png", png(shades(spectrogram(clip.wave, clip.sample_rate)), palette()))
    kilohertz = clip.sample_rate / 2000
    seconds = ticks(0, clip.seconds, 5, " s")
    about = f"Spectrogram of {name}: 0 to {kilohertz:g} kHz over {clip.seconds:.1f} seconds"
    note = f" <small>the first {clip.seconds:.1f} s</small>" if clip.cut else ""
    primed = 0 < entry.prime < len(clip.wave)
    at = 100 * entry.prime / len(clip.wave)
    mark = f"<line class=prime x1={at:.2f}% x2={at:.2f}% y1=0 y2=100% />" if primed else ""
    measured = str(levels(clip.wave[entry.prime * primed :]))
    continued = f"; data up to the line at {entry.prime / clip.sample_rate:.2f} s, then the model" if primed else ""
    return (
        f"<figure><h3>{entry.title}{note}</h3>"
        f"<div class='plot wave'>{_waveform(clip, mark)}</div>"
        f"<div class='plot spectrogram'><img alt='{about}' src='{image}'>"
        f"{axes(seconds, ticks(0, kilohertz, 4, ' kHz'), lines=mark)}</div>"
        f"<audio controls preload=metadata aria-label='{name}' src='{data_uri('audio/wav', clip.wav)}'></audio>"
        f"<p class=levels>{measured}{continued}</p></figure>"
    )


def _waveform(clip: _Clip, mark: str) -> str:
    """The highest and the lowest value of every column, as one shape; full scale is the whole height."""
    low, high = envelope(clip.wave, COLUMNS)
    across = (np.arange(len(low)) + 0.5) / len(low)
    outline = places(np.append(across, across[::-1]), (1 - np.clip(np.append(high, low[::-1]), -1, 1)) / 2)
    shape = f"<path class=waveform d='M{'L'.join(outline)}Z'/>"
    return axes([], [(0.0, f"{MINUS}1"), (1.0, "1")], shape, f"Waveform of {clip.entry.name}", mark)
