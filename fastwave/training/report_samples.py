"""The samples in a report: players under spectrograms, or texts."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import AudioError
from ..sound import audio
from .drawing import COLOURS, COLUMNS, MINUS, RANGE_DB, axes, palette, places, png, shades, spectrogram, ticks
from .history import History
from .page import data_uri, escape

MOST_SAMPLES = 5  # beside the real stretch
MOST_SECONDS = 10.0  # of one sound
MOST_SOUND_BYTES = 3 << 20  # of all sounds together; base64 makes them a third larger
MOST_TEXT_BYTES = 2000

Array = npt.NDArray[np.float64]


class _Clip(NamedTuple):
    title: str
    wave: Array
    sample_rate: int
    wav: bytes
    cut: bool  # whether this is only the beginning of the file

    @property
    def seconds(self) -> float:
        return len(self.wave) / self.sample_rate


def samples(run: Path, history: History) -> str:
    """HTML of the real stretch, then of generated ones, the newest first; of many, a few at even distances."""
    lines = [line for line in history.samples if isinstance(line.get("file"), str)]
    if not lines:
        return "<p>There are no samples yet.</p>"
    chosen = [lines[round(i)] for i in np.linspace(len(lines) - 1, 0, min(len(lines), MOST_SAMPLES))]
    files = [("Real, held out", str(chosen[0].get("real") or ""))] if chosen[0].get("real") else []
    files += [(f"Step {int(line['step']):,}", line["file"]) for line in chosen]
    # the name alone: a log must not choose the folder that is read
    paths = [(title, run / "samples" / Path(file).name) for title, file in files]
    if all(path.suffix == ".txt" for _, path in paths):
        return f"<div class=texts>{''.join(_text_sample(*each) for each in paths)}</div>"
    clips: list[_Clip | str] = []
    for title, path in paths:
        try:
            clips.append(_clip(title, path, MOST_SOUND_BYTES // len(paths)))
        except (AudioError, OSError) as error:
            clips.append(f"<figure><h3>{title}</h3><p>It cannot be heard: {escape(error)}</p></figure>")
    levels = {clip.title: spectrogram(clip.wave, clip.sample_rate) for clip in clips if isinstance(clip, _Clip)}
    loudest = max((float(level.max()) for level in levels.values()), default=0.0)
    figures = [clip if isinstance(clip, str) else _sound_sample(clip, levels[clip.title] - loudest) for clip in clips]
    ramp = f"<i style='background:linear-gradient(to right, {', '.join(f'rgb{colour}' for colour in COLOURS)})'></i>"
    key = f"<p class=key>dB from the loudest of all: {MINUS}{RANGE_DB:g} {ramp} 0</p>"
    return f"{key}<div class=sounds>{''.join(figures)}</div>"


def _text_sample(title: str, path: Path) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_TEXT_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError) as error:  # a log's name may hold what no path can
        content = f"It cannot be read: {error}"
    return f"<figure><h3>{title}</h3><pre tabindex=0 aria-label='{title}'>{escape(content)}</pre></figure>"


def _clip(title: str, path: Path, most_bytes: int) -> _Clip:
    """A sound and the bytes to play: those of the file, or a wav file of its beginning."""
    info = audio.info(path)
    rate = info.sample_rate
    frames = min(info.frames, int(MOST_SECONDS * rate), most_bytes // 2)
    blocks: list[Array] = []
    with contextlib.closing(_blocks(path, rate)) as source:
        while sum(map(len, blocks)) < frames and (block := next(source, None)) is not None:
            blocks.append(block)
    wave = np.concatenate(blocks or [np.zeros(0)])[:frames]
    if not len(wave):
        raise AudioError(f"{path}: there is no sound in this file")
    if frames == info.frames:
        return _Clip(title, wave, rate, path.read_bytes(), False)
    with tempfile.TemporaryDirectory() as folder:
        audio.save(Path(folder) / "cut.wav", wave, rate)
        return _Clip(title, wave, rate, (Path(folder) / "cut.wav").read_bytes(), True)


def _blocks(path: Path, rate: int) -> Generator[Array, None, None]:
    for block in audio.blocks(path, rate):
        yield block.astype(np.float64)


def _sound_sample(clip: _Clip, levels: Array) -> str:
    """A player under the waveform and the spectrogram, `levels` in dB below the loudest."""
    image = data_uri("image/png", png(shades(levels), palette()))
    kilohertz = clip.sample_rate / 2000
    seconds = ticks(0, clip.seconds, 5, " s")
    about = f"Spectrogram of {clip.title}: 0 to {kilohertz:g} kHz over {clip.seconds:.1f} seconds"
    note = f" <small>the first {clip.seconds:.1f} s</small>" if clip.cut else ""
    return (
        f"<figure><h3>{clip.title}{note}</h3>"
        f"<div class='plot wave'>{_waveform(clip)}</div>"
        f"<div class='plot spectrogram'><img alt='{about}' src='{image}'>"
        f"{axes(seconds, ticks(0, kilohertz, 4, ' kHz'))}</div>"
        f"<audio controls preload=metadata aria-label='{clip.title}' src='{data_uri('audio/wav', clip.wav)}'></audio>"
        "</figure>"
    )


def _waveform(clip: _Clip) -> str:
    """The highest and the lowest value of every column, as one shape."""
    edges = np.linspace(0, len(clip.wave), min(COLUMNS, len(clip.wave)) + 1).astype(np.int64)[:-1]
    peak = max(float(np.abs(clip.wave).max()), 1e-4)
    high = np.maximum.reduceat(clip.wave, edges) / peak
    low = np.minimum.reduceat(clip.wave, edges) / peak
    across = (np.arange(len(edges)) + 0.5) / len(edges)
    outline = places(np.append(across, across[::-1]), (1 - np.append(high, low[::-1])) / 2)
    shape = f"<path class=waveform d='M{'L'.join(outline)}Z'/>"
    return axes([], [(0.0, f"{MINUS}{peak:.2g}"), (1.0, f"{peak:.2g}")], shape, f"Waveform of {clip.title}")
