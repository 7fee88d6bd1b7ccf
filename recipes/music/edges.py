"""How a band begins and ends its notes, beside the soundfont that it learned from.

    python recipes/music/edges.py BAND --out edges

Each instrument plays detached notes over its range, once by the band and once by fluidsynth, the reference.

    onset   when the level (of 3 ms) comes within 20 dB of the highest of the note's first quarter of a second, ms
            after the time that the notes ask for; in brackets, within 6 dB
    apart   the band's onset against the reference's, ms, without sign; and the share of the notes with 5 ms at most
    rise    bursts in decays: the largest rise of the level (of 25 ms) within 25 ms while a note dies away, dB
    jump    clicks at ends: the largest step from one sample to the next while a note dies away, against the largest
            of the 40 ms before it, dB

A note dies away from its release on, a piano, guitar or harp from 0.3 s after its onset on, down to 40 dB below its
highest level. One that begins within 10 dB of what is left of the one before has no measurable onset.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from measure import OURS, whole
from notes import INSTRUMENTS, SOUNDFONT, STRUCK, render

from fastwave.music.band import Part
from fastwave.music.instrument import Instruments
from fastwave.music.notes import Note, Piece, Track

SHORT, LONG = OURS * 3 // 1000, OURS * 25 // 1000  # samples of a level: of attacks, of decays, whose period it exceeds
BEFORE = OURS * 40 // 1000  # samples whose steps a step is compared with
NEAR = (0.1, 0.5)  # parts of the highest level at which a note has begun
LEFT = 0.3  # of the highest level: more of the last note hides an onset
FLOOR = 0.01  # of the highest level: what is below is not heard


@dataclass(frozen=True)
class Edge:
    """One note of one sound. None where it cannot be measured."""

    onsets: tuple[float, float] | None  # seconds after its time, at both parts of the highest level
    rise: float | None  # dB
    jump: float | None  # dB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("band", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="a folder for the sounds")
    parser.add_argument("--instruments", nargs="+")
    parser.add_argument("--notes", type=int, default=24, help="of each instrument (24)")
    parser.add_argument("--soundfont", default=SOUNDFONT)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    band = Instruments.load(arguments.band, threads=1)
    print(
        "| | onset: reference, band | apart: median, worst, within 5 ms | apart at 6 dB | rise: reference, band | ",
        end="",
    )
    print("jump: reference, band |\n|---|---|---|---|---|---|")
    for name in arguments.instruments or band.names:
        print(f"| {name} | {row(name, band, arguments)} |", flush=True)


def row(name: str, band: Instruments, arguments: argparse.Namespace) -> str:
    program, low, high = INSTRUMENTS[name]
    notes = detached(low, high, arguments.notes, random.Random(f"{name} {arguments.seed}"))
    ending = Note(notes[-1].end + 1.5, 0.5, low, 1)  # fluidsynth stops with the last key
    path = arguments.out / f"{name}-48000.wav"
    render(Piece((Track((*notes, ending), program),)), path, arguments.soundfont)
    reference = soxr.resample(soundfile.read(path)[0], 48_000, OURS)[: round((notes[-1].end + 1) * OURS)]
    played = whole(band.stream([Part(name, tuple(notes))], seed=1), len(reference))
    played *= np.sqrt(np.mean(reference**2) / np.mean(played**2))
    for kind, sound in (("reference", reference), ("band", played)):
        soundfile.write(arguments.out / f"{name}-{kind}.wav", sound / max(1.0, np.abs(sound).max()), OURS)
    return summary(edges(notes, reference, name), edges(notes, played, name))


def detached(low: int, high: int, count: int, draw: random.Random) -> list[Note]:
    """Notes with silence between them, spread evenly over the range, in random order. They begin where fluidsynth is
    exact: at multiples of 0.1 s.
    """
    keys = [low + round((high - low) * (index + 0.5) / count) for index in range(count)]
    notes, time = [], 2  # tenths of a second
    for key in draw.sample(keys, count):
        held = draw.choice([2, 4, 8])
        notes.append(Note(time / 10, held / 10, key, draw.randint(40, 115)))
        time += held + 14
    return notes


def edges(notes: list[Note], sound: np.ndarray, name: str) -> list[Edge]:
    """The edges of all notes in a sound."""
    levels = level(sound, SHORT), level(sound, LONG)
    ends = [*(note.onset for note in notes[1:]), len(sound) / OURS]
    return [edge(note, end, sound, *levels, name in STRUCK) for note, end in zip(notes, ends, strict=True)]


def edge(note: Note, end: float, sound: np.ndarray, short: np.ndarray, long: np.ndarray, struck: bool) -> Edge:
    """One note, whose sound lasts until `end` at most."""
    begin, early = round(note.onset * OURS), OURS // 50
    top = short[begin : begin + OURS // 4].max()
    before = short[begin - early : begin - SHORT].max()
    onsets = None
    if before < LEFT * top:
        first, second = (
            int(np.argmax(short[begin - early : begin + OURS // 4] >= max(near * top, 2 * before))) for near in NEAR
        )
        onsets = ((first - early) / OURS, (second - early) / OURS)

    start = begin + round(0.3 * OURS) if struck else round(note.end * OURS)
    heard = np.flatnonzero(long[begin : round(end * OURS) - LONG] >= FLOOR * long[begin : begin + OURS].max())
    stop = begin + int(heard[-1])
    if stop - start <= 2 * LONG:
        return Edge(onsets, None, None)
    decay = long[start:stop]
    steps = np.abs(np.diff(sound[start - BEFORE - 1 : stop + BEFORE]))  # the end of the sound is seen, too
    largest = np.lib.stride_tricks.sliding_window_view(steps, BEFORE).max(axis=1)[:-1]
    jumps = steps[BEFORE:] / np.maximum(largest, FLOOR * steps.max())
    return Edge(onsets, decibel((decay[LONG:] / decay[:-LONG]).max()), decibel(jumps.max()))


def decibel(ratio: float) -> float:
    return 20 * float(np.log10(max(ratio, 1e-9)))


def level(sound: np.ndarray, window: int) -> np.ndarray:
    """The running root mean square, centred on each sample."""
    return np.sqrt(np.maximum(np.convolve(sound**2, np.ones(window) / window, "same"), 1e-14))


def summary(reference: list[Edge], band: list[Edge]) -> str:
    """The cells of a row."""
    pairs = [(a.onsets, b.onsets) for a, b in zip(reference, band, strict=True) if a.onsets and b.onsets]
    onsets = 1000 * np.array(pairs).reshape(-1, 2, 2)  # note, reference or band, at which part of the level
    middle = np.median(onsets, axis=0)
    apart = np.abs(onsets[:, 0] - onsets[:, 1])
    cells = [f"{middle[0, 0]:.1f} ({middle[0, 1]:.1f}), {middle[1, 0]:.1f} ({middle[1, 1]:.1f})"]
    cells += [f"{np.median(apart[:, part]):.1f}, {apart[:, part].max():.1f}, {np.mean(apart[:, part] <= 5):.0%}"
              for part in (0, 1)]  # fmt: skip
    for kind in ("rise", "jump"):
        sides = [
            [getattr(each, kind) for each in side if getattr(each, kind) is not None] for side in (reference, band)
        ]
        cells.append(", ".join(f"{max(side, default=np.nan):.1f}" for side in sides))
    return " | ".join(cells)


if __name__ == "__main__":
    main()
