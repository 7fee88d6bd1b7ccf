"""How many notes of measure.py's sounds a transcriber finds: F1 of basic-pitch, beside its F1 on the reference itself.

    python -m venv transcriber
    transcriber/bin/pip install --no-deps basic-pitch==0.4.0
    transcriber/bin/pip install "numpy<2" onnxruntime librosa mir_eval pretty_midi "scipy<1.14" "setuptools<80" resampy
    transcriber/bin/python recipes/music/transcribe.py lines

It needs an environment of its own, for it knows no numpy of today. A note counts as found where its
onset is within 50 ms and its pitch within 50 cents.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("reference", "band", "harmonics", "sine")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what measure.py wrote")
    folder = parser.parse_args().folder
    for index in sorted(folder.glob("*.json")):
        notes = json.loads(index.read_text())
        files = {kind: index.with_name(f"{index.stem}-{kind}.wav") for kind in KINDS}
        scores = {kind: f1(file, notes) for kind, file in files.items() if file.exists()}
        print(f"{index.stem:9}", "  ".join(f"{kind} {score:.2f}" for kind, score in scores.items()), flush=True)


def f1(file: Path, notes: list[list[float]]) -> float:
    from basic_pitch import ICASSP_2022_MODEL_PATH
    from basic_pitch.inference import predict
    from mir_eval.transcription import precision_recall_f1_overlap

    _, _, events = predict(str(file), ICASSP_2022_MODEL_PATH)
    found = np.array([(begin, end) for begin, end, *_ in events]).reshape(-1, 2)
    wanted = np.array([(onset, onset + length) for onset, length, _ in notes])
    heights: list[Any] = [hertz([key for *_, key in notes]), hertz([event[2] for event in events])]
    score = precision_recall_f1_overlap(wanted, heights[0], found, heights[1], offset_ratio=None)
    return float(score[2])


def hertz(keys: list[float]) -> np.ndarray:
    return np.asarray(440 * 2 ** ((np.array(keys, dtype=float) - 69) / 12))


if __name__ == "__main__":
    main()
