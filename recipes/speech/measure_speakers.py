"""Tell speakers apart by the pitch of their voice: median and mean over the voiced frames of each file or folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools

import fastwave.sound.audio
from fastwave.sound import pitch

LOWEST, HIGHEST = 60.0, 400.0  # of a speaking voice


def voice(files: list[Path]) -> pitch.Track:
    """The pitch of all files, one after another."""
    tracks = []
    for file in files:
        wave, sample_rate = fastwave.sound.audio.load(file)
        tracks.append(pitch.track(wave.numpy().astype(np.float64), sample_rate, LOWEST, HIGHEST))
    return pitch.Track(np.concatenate([each.pitch for each in tracks]), np.concatenate([each.level for each in tracks]))


def row(track: pitch.Track, name: str) -> str:
    """Median, mean, and the middle 80% of the pitch, share of voiced frames, level."""
    heard: NDArray[np.float64] = track.pitch[track.voiced]
    if not len(heard):
        return f"     -      -          -    0.0%      -  {name} (no voiced frame)"
    low, high = np.percentile(heard, [10, 90])
    level = np.sqrt((track.level**2).mean())
    return (
        f"{np.median(heard):6.1f} {heard.mean():6.1f} {low:5.0f}-{high:<4.0f} {track.voiced.mean():7.1%} {level:6.3f}"
        f"  {name}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sound", nargs="+", help="wav files, or folders: a folder is measured as one speaker")
    options = parser.parse_args()
    print("median   mean    10-90%  voiced  level  (pitch in Hz)")
    for path in options.sound:
        print(row(voice(tools.files_of([path], (".wav", ".flac"))), path))


if __name__ == "__main__":
    tools.run(main)
