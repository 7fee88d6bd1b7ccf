"""A band of stand-ins: every instrument is a few sines that ring on for a moment."""

import json

import numpy as np

from fastwave.music.notes import Note, Piece, Track, hertz

OVERTONES = {"flute": (1.0, 0.1), "clarinet": (1.0, 0.0, 0.4), "strings": (1.0, 0.5, 0.3), "organ": (1.0, 0.8)}
TAIL = 0.05  # seconds


class SineBand:
    """Plays parts as additive sines. What it makes is a function of the notes, whatever the blocks."""

    def __init__(self, names=tuple(OVERTONES), sample_rate=16_000, block=1600, loudness=0.3):
        self.names, self.sample_rate, self.block, self.loudness = tuple(names), sample_rate, block, loudness
        self.asked = None  # the seed and the temperature of the last stream

    def stream(self, parts, seed, temperature):
        self.asked = (seed, temperature)
        seconds = max(note.end for part in parts for note in part.notes) + TAIL
        total = round(seconds * self.sample_rate)
        for first in range(0, total, self.block):
            times = np.arange(first, min(first + self.block, total)) / self.sample_rate
            yield np.stack([self._part(part, times) for part in parts]).astype(np.float32)

    def _part(self, part, times):
        wave = np.zeros(len(times))
        for note in part.notes:
            if note.onset <= times[-1] and note.end + TAIL > times[0]:
                wave += self._note(OVERTONES.get(part.instrument, (1.0,)), note, times - note.onset)
        return wave

    def _note(self, overtones, note, times):
        envelope = np.clip(times / 0.005, 0, 1) * np.clip((note.length + TAIL - times) / TAIL, 0, 1)
        wave = sum(
            level * np.sin(2 * np.pi * hertz(note.key) * (index + 1) * times) for index, level in enumerate(overtones)
        )
        return self.loudness * (note.velocity / 127) ** 2 * envelope * wave


def make_piece(seconds=0.4, keys=(72, 67, 60, 48), programs=(73, 71, 48, 19)):
    """A chord of four parts, each of two notes."""
    names = ("soprano", "alto", "tenor", "bass")
    tracks = [
        Track((Note(0.0, seconds / 2, key, 90), Note(seconds / 2, seconds / 2, key - 1, 70)), program, name)
        for key, program, name in zip(keys, programs, names, strict=False)
    ]
    return Piece(tuple(tracks), "a small piece")


def make_band_folder(folder, names=tuple(OVERTONES), **fields):
    """A folder that is found as a band, and loads nothing."""
    folder.mkdir(parents=True)
    (folder / "instrument.json").write_text(json.dumps({"instruments": list(names), **fields}))
    return folder
