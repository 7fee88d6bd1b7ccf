"""The other way to a vocoder: a WaveNet that makes the waveform itself, from the same frames, for a comparison.

    python recipes/voice/waveform.py prepare data/voice data/waveform
    fastwave train data/waveform/sounds --features data/waveform/frames --out runs/waveform --preset vocoder \\
        --set residual_channels=32 gate_channels=32 skip_channels=64 condition_channels=42 hop=200 \\
        --sample-rate 16000 --normalize off --held-out 0.02 --window 4096 --minutes 34
    python recipes/voice/waveform.py measure data/voice runs/waveform --sentences 12 --out copies

The measures are those of vocoder.py, on the same held-out sentences, which the training does not see.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from vocoder import compare

from fastwave.engine.engine import Engine
from fastwave.model import WaveNet
from fastwave.sound import audio
from fastwave.speech import analysis
from fastwave.speech.acoustic.data import Utterances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("prepare", help="the sentences to train on, as `fastwave train` reads them")
    verb.add_argument("data", type=Path)
    verb.add_argument("out", type=Path, help="a new folder")
    verb = verbs.add_parser("measure", help="copy held-out sentences from the frames of their recordings")
    verb.add_argument("data", type=Path)
    verb.add_argument("run", type=Path)
    verb.add_argument("--sentences", type=int, default=12)
    verb.add_argument("--temperature", type=float, default=1.0)
    verb.add_argument("--out", type=Path, help="a folder for the copies")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.verb == "prepare":
        prepare(options.data, options.out)
    else:
        measure(options)


def prepare(data: Path, out: Path) -> None:
    """sounds/NAME.wav and frames/NAME.npy of every sentence that is not held out."""
    for name in ("sounds", "frames"):
        (out / name).mkdir(parents=True)
    for utterance in Utterances.read(data).training:
        file = f"{utterance.name}.wav"
        (out / "sounds" / file).write_bytes((data / "wavs" / file).read_bytes())
        np.save(out / "frames" / f"{utterance.name}.npy", analysis.FRAMES.conditions(utterance.frames.numpy()).numpy())


def measure(options: argparse.Namespace) -> None:
    """Print the means of vocoder.py's measures."""
    engine = Engine(WaveNet.from_pretrained(options.run), dtype="float32", threads=1)
    rows, seconds, samples = [], 0.0, 0
    for utterance in Utterances.read(options.data).held_out[: options.sentences]:
        frames = utterance.frames.numpy()
        sound = audio.load(options.data / "wavs" / f"{utterance.name}.wav", sample_rate=analysis.SAMPLE_RATE)[0]
        wave = np.zeros(len(frames) * analysis.HOP)
        wave[: len(sound)] = sound.numpy()
        begun = time.perf_counter()
        prepared = engine.prepare(analysis.FRAMES.conditions(frames), None, 1, len(wave))
        state = engine.start(1, condition=prepared)
        tokens = engine.run(state, len(wave), condition=prepared, temperature=options.temperature)
        copy = np.clip(engine.codec.decode(tokens[0].cpu()).numpy(), -1, 1)
        seconds, samples = seconds + time.perf_counter() - begun, samples + len(copy)
        rows.append(compare(wave, copy))
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            audio.save(options.out / f"{utterance.name}.wav", copy, analysis.SAMPLE_RATE)
    means = {key: np.nanmean([row[key] for row in rows]) for key in rows[0]}
    print("  ".join(f"{key} {value:.2f}" for key, value in means.items()))
    print(f"{samples / seconds:,.0f} samples/s on one core, {samples / seconds / analysis.SAMPLE_RATE:.2f} x real time")


if __name__ == "__main__":
    main()
