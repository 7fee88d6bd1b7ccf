"""Copies of recordings at a common loudness with a little noise, to train a Gaussian teacher on.

    python recipes/student/dither.py data/train data/dithered

Digital silence is no sound that a normal distribution could have made: the scale that a teacher gives it falls without
an end, and its loss explodes. The noise of 5e-4 is 66 dB below full scale. `fastwave distill` adds its own to the
recordings: give it those without.
"""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path

import numpy as np

from fastwave.sound import audio, loudness
from fastwave.student.distillation import DITHER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rate", type=int, default=16_000, help="samples a second (default: 16000)")
    parser.add_argument("--scale", type=float, default=DITHER, help=f"of the noise (default: {DITHER:g})")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for path in sorted(options.recordings.glob("*.wav")):
        wave = loudness.load(path, options.rate, "loudness").numpy()
        noise = np.random.default_rng(zlib.crc32(path.name.encode())).standard_normal(len(wave))
        audio.save(options.out / path.name, (wave + options.scale * noise).astype(np.float32), options.rate)


if __name__ == "__main__":
    main()
