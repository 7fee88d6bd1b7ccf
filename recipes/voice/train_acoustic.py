"""Train the acoustic model of a voice, or resume: durations, pitch and spectrum, each with a report of its own.

python recipes/voice/train_acoustic.py data/voice runs/acoustic --minutes 20
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from fastwave.speech.acoustic.training import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder with utterances.jsonl and wavs")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0, help="of all three together")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.data, arguments.out, arguments.minutes, show=True)


if __name__ == "__main__":
    main()
