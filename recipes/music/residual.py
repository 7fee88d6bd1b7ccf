"""What the WaveNet of a band brings: whether its residuals are like those of recorded notes where noise is not.

    fastwave instrument train data/notes --out band --residual wavenet --minutes 30
    python recipes/music/residual.py band data/notes

Notes that were held out are taken apart. Their mel frames and F0 go to the WaveNet; the control is noise of the colour
of the frames. Breath, bow and hammer differ from noise in what happens within a frame. So each residual is split into
five bands of frequency, each divided by its level of 64 ms, which the frames tell, and compared with the true one:

    mel          median difference of 80 log-mel bands in dB, down to 50 dB below the loudest
    peaks        median difference of the kurtosis of a band, which is 3 for noise and more for clicks
    modulation   median difference of how much the envelope moves in five octaves from 8 to 256 Hz, dB

`again` is noise of another seed against noise: what chance alone makes of these measures.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from measure import MEL

from fastwave.music import corpus, noise
from fastwave.music.analysis import FRAMES, LEAD, analyse
from fastwave.music.instrument import Instruments, _Call
from fastwave.music.notes import Note
from fastwave.sound.mel import mel

RATE = FRAMES.sample_rate
BANDS = (250.0, 500.0, 1_000.0, 2_000.0, 4_000.0, 8_000.0)  # Hz, between which the bands lie
OCTAVES = (8.0, 16.0, 32.0, 64.0, 128.0, 256.0)  # Hz of modulation
LEVEL, BLOCK = RATE * 64 // 1000, 2_048  # samples: of a level, of a spectrum of modulation
HEARD = 0.003  # of the highest level of the note: what is below is not heard
DEEPEST = 50.0  # dB below the loudest band of the residual

Character = tuple[np.ndarray, np.ndarray, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("band", type=Path)
    parser.add_argument("notes", type=Path)
    parser.add_argument("--most", type=int, default=10, help="notes of each instrument (10)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    band = Instruments.load(arguments.band, threads=1)
    notes = corpus.with_stretches(arguments.notes, corpus.read(arguments.notes))
    chosen: dict[str, list[tuple[corpus.Recorded, np.ndarray]]] = {name: [] for name in band.names}
    for note, wave in zip(notes, corpus.waves(arguments.notes, notes), strict=True):
        if note.held_out and note.held > 0.25 and len(chosen[note.instrument]) < arguments.most:
            chosen[note.instrument].append((note, wave))
    print("| | mel: WaveNet, noise, again | peaks | modulation |\n|---|---|---|---|")
    for name, each in chosen.items():
        if each:
            print(f"| {name} | {row(band, name, each)} |", flush=True)


def row(band: Instruments, name: str, notes: list[tuple[corpus.Recorded, np.ndarray]]) -> str:
    """The cells of an instrument: WaveNet against the truth, noise against the truth, noise against noise."""
    apart: list[list[Character]] = [[], [], []]
    for number, (note, wave) in enumerate(notes):
        rows, true = analyse(wave, note.key, note.stretch)
        call = _Call(0, number, name, Note(0.0, note.held, note.key, note.velocity))
        made = [next(iter(band._residuals([(call, rows)], 1, None)))]
        made += [
            noise.coloured(rows[:, : FRAMES.bands], FRAMES.mel, np.random.default_rng([seed, number]))
            for seed in (1, 2)
        ]
        truth, wavenet, first, second = (character(each[heard_part(wave)]) for each in (true, *made))
        for differences, (one, other) in zip(apart, ((wavenet, truth), (first, truth), (second, first)), strict=True):
            heard = truth[0] > truth[0].max() - DEEPEST
            differences.append((np.abs(one[0] - other[0])[heard], np.abs(one[1] - other[1]), np.abs(one[2] - other[2])))
    cells = [
        ", ".join(f"{np.median(np.concatenate([each[part].ravel() for each in side])):.2f}" for side in apart)
        for part in range(3)
    ]
    return " | ".join(cells)


def heard_part(wave: np.ndarray) -> slice:
    """From the onset to where the note has died away."""
    level = np.sqrt(np.convolve(wave**2, np.full(LEVEL, 1 / LEVEL), "same"))
    return slice(LEAD, max(LEAD + 2 * BLOCK, int(np.flatnonzero(level > HEARD * level.max())[-1])))


def character(residual: np.ndarray) -> Character:
    """Log-mel in dB [frames, 80], kurtosis of each band [5], and dB of modulation of each band and octave [5, 5]."""
    spectrum, frequency = np.fft.fft(residual), np.fft.fftfreq(len(residual), 1 / RATE)
    peaks, moves = [], []
    for low, high in itertools.pairwise(BANDS):
        part = np.fft.ifft(2 * spectrum * ((frequency >= low) & (frequency < high)))  # its magnitude is the envelope
        power = np.convolve(np.abs(part) ** 2, np.full(LEVEL, 1 / LEVEL), "same")
        even = part / np.sqrt(np.maximum(power, 1e-12))
        peaks.append(float(np.mean(even.real**4) / np.mean(even.real**2) ** 2))
        blocks = np.lib.stride_tricks.sliding_window_view(np.abs(even), BLOCK)[:: BLOCK // 2]
        blocks = (blocks - blocks.mean(axis=1, keepdims=True)) * np.hanning(BLOCK)
        moved, rates = (np.abs(np.fft.rfft(blocks)) ** 2).mean(axis=0), np.fft.rfftfreq(BLOCK, 1 / RATE)
        moves.append(
            [10 * np.log10(moved[(rates >= a) & (rates < b)].mean() + 1e-9) for a, b in itertools.pairwise(OCTAVES)]
        )
    return 50 * mel(torch.from_numpy(residual.astype(np.float32)), MEL).numpy(), np.array(peaks), np.array(moves)


if __name__ == "__main__":
    main()
