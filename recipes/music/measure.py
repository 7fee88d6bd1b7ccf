"""How near a band comes to the soundfont that it learned from, on lines of notes that it never heard.

    python recipes/music/measure.py BAND --out lines

Each instrument plays random lines of one voice, legato and detached. The reference is fluidsynth's rendering. Beside
the band stand controls: `sine` is a sine of each note with the reference's own loudness, which knows no timbre and must
lose; `harmonics` is the band without its residuals.

    mel       mean difference of 80 log-mel bands, dB, down to 60 dB below the loudest, where the reference is heard
    cqt       relative error of a constant-Q spectrogram of 72 bins from C2 on
    pitch     share of frames within 50 cents of the note that is down, of those where one is down, percent
    low       energy below 150 Hz, dB of the whole
    high      energy above 3 kHz against that of the reference, dB
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from notes import INSTRUMENTS, RATE, SOUNDFONT, render

from fastwave.music.band import Part
from fastwave.music.instrument import Instruments
from fastwave.music.notes import Note, Piece, Track, hertz
from fastwave.sound import pitch
from fastwave.sound.mel import MelSettings, mel

OURS = 16_000
MEL = MelSettings(sample_rate=OURS, hop=160, bands=80, window=1024)
DEEPEST = 60.0  # dB below the loudest band of the reference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("band", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="a folder for the sounds")
    parser.add_argument("--instruments", nargs="+")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the line of each instrument")
    parser.add_argument("--soundfont", default=SOUNDFONT)
    parser.add_argument("--seed", type=int, default=99)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    band = Instruments.load(arguments.band, threads=1)
    for name in arguments.instruments or band.names:
        measure(name, band, arguments)


def measure(name: str, band: Instruments, arguments: argparse.Namespace) -> None:
    program, low, high = INSTRUMENTS[name]
    notes = line(low, high, arguments.seconds, random.Random(f"{name} {arguments.seed}"))
    path = arguments.out / f"{name}-48000.wav"
    ending = Note(notes[-1].end + 1.5, 0.5, low, 1)  # fluidsynth stops with the last key
    render(Piece((Track((*notes, ending), program),)), path, arguments.soundfont)
    wave, _ = soundfile.read(path)
    reference = soxr.resample(wave, RATE, OURS)[: round((notes[-1].end + 1) * OURS)]
    begun = time.process_time()
    played = whole(band.stream([Part(name, tuple(notes))], seed=1), len(reference))
    seconds = time.process_time() - begun
    gain = np.sqrt(np.mean(reference**2) / np.mean(played**2))
    sounds = {"reference": reference, "band": played * gain, "sine": sine(notes, reference)}
    sounds["harmonics"] = gain * whole(band.stream([Part(name, tuple(notes))], 1, 0.0), len(reference))
    listed = [(note.onset, note.length, note.key) for note in notes]
    (arguments.out / f"{name}.json").write_text(json.dumps(listed) + "\n")  # for transcribe.py
    for kind, sound in sounds.items():
        file = arguments.out / f"{name}-{kind}.wav"
        soundfile.write(file, sound / max(1.0, np.abs(sound).max()), OURS)
        figures = {**compared(reference, sound), "pitch": on_pitch(notes, sound)}
        print(f"{name:9} {kind:10}", "  ".join(f"{key} {value:.2f}" for key, value in figures.items()), flush=True)
    print(f"{name:9} {len(played) / OURS / seconds:.1f} times real time, on one core\n", flush=True)


def line(low: int, high: int, seconds: float, draw: random.Random) -> list[Note]:
    """One voice: small steps and leaps, legato and detached."""
    notes, time, key = [], 0.2, draw.randint(low + 5, high - 5)
    while time < seconds:
        length = draw.choice([0.15, 0.3, 0.3, 0.5, 0.5, 0.8, 1.5])
        notes.append(
            Note(round(time, 3), round(length * draw.choice([0.6, 0.95, 0.95]), 3), key, draw.randint(40, 115))
        )
        time += length + draw.choice([0, 0, 0, 0.2])
        key += draw.choice([-7, -4, -3, -2, -2, -1, 1, 2, 2, 3, 4, 7])
        key = min(max(key, low), high)
    return notes


def whole(blocks: Iterator[np.ndarray], samples: int) -> np.ndarray:
    sound = np.concatenate([block[0] for block in blocks]).astype(np.float64)
    return np.pad(sound, (0, max(0, samples - len(sound))))[:samples]


def sine(notes: list[Note], reference: np.ndarray) -> np.ndarray:
    """The sine of the note that is down, or was last, as loud as the reference."""
    frequency = np.zeros(len(reference))
    for note in notes:
        frequency[round(note.onset * OURS) :] = hertz(note.key)
    level = np.sqrt(np.convolve(reference**2, np.ones(400) / 400, "same"))
    return np.sqrt(2) * level * np.sin(2 * np.pi * np.cumsum(frequency) / OURS)


def compared(reference: np.ndarray, sound: np.ndarray) -> dict[str, float]:
    import librosa

    bands = [mel(torch.from_numpy(each.astype(np.float32)), MEL).numpy() * 50 for each in (reference, sound)]
    top = bands[0].max()
    heard = bands[0].max(axis=1) > top - DEEPEST
    difference = np.diff([np.maximum(each, top - DEEPEST)[heard] for each in bands], axis=0)
    spectra = [
        np.abs(librosa.cqt(each.astype(np.float32), sr=OURS, hop_length=256, fmin=librosa.note_to_hz("C2"), n_bins=72))
        for each in (reference, sound)
    ]
    power = [np.abs(np.fft.rfft(each)) ** 2 for each in (reference, sound)]
    hertz_of = np.fft.rfftfreq(len(sound), 1 / OURS)

    def share(number: int, chosen: np.ndarray) -> float:
        return float(power[number][chosen].sum() + 1e-12)

    return {
        "mel": float(np.abs(difference).mean()),
        "cqt": float(np.linalg.norm(spectra[1] - spectra[0]) / np.linalg.norm(spectra[0])),
        "low": 10 * np.log10(share(1, hertz_of < 150) / share(1, hertz_of >= 0)),
        "high": 10 * np.log10(share(1, hertz_of > 3000) / share(0, hertz_of > 3000)),
    }


def on_pitch(notes: list[Note], sound: np.ndarray) -> float:
    """Frames of 50 ms that lie within a note, but not in its first 30 ms."""
    track = pitch.track(sound, OURS, 30.0, 2_200.0, silence=1e-4)
    begin = np.arange(len(track.pitch)) * pitch.HOP_SECONDS
    right = total = 0
    for note in notes:
        inside = (begin >= note.onset + 0.03) & (begin + pitch.FRAME_SECONDS <= note.end)
        cents = np.abs(np.nan_to_num(pitch.cents(track.pitch[inside], hertz(note.key)), nan=1e9))
        right, total = right + int((cents < 50).sum()), total + int(inside.sum())
    return 100 * right / max(total, 1)


if __name__ == "__main__":
    main()
