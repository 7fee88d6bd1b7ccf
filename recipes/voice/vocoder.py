"""Train the WaveNet of a voice on spoken sentences, and measure how well it copies those that were held out.

    python recipes/voice/vocoder.py train DATA RUN --minutes 35
    python recipes/voice/vocoder.py measure DATA RUN --sentences 12 --out copies
    python recipes/voice/vocoder.py measure DATA RUN --acoustic runs/acoustic
    python recipes/voice/vocoder.py measure OTHER RUN --acoustic runs/acoustic --all --sentences 120

`DATA` is a folder as fastwave/speech/acoustic/data.py describes it. Each held-out sentence is spoken from the frames of
its own recording, or from those that an acoustic model predicts for the recording's durations, and compared with that
recording, beside two controls: `quantised` is the recording's own excitation in 256 classes, `pulses` a pulse a period
and white noise, mixed by the voicing, through the same filter.

    mel         mean difference of the log-mel bands, dB, where the recording is louder than -50 dB
    voiced      share of frames that the pitch tracker calls voiced, of the copy and of the recording, percent
    F0          median difference where both are voiced, cents
    periodic    how well voiced frames of the recording repeat themselves in the copy, and in the recording, 0..1
    pauses      mean difference of the bands where the recording is quieter than -50 dB, dB: above 0 is hiss
    steps       samples that differ from the one before by more than half of full scale, which are clicks
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from fastwave.codec import MuLaw
from fastwave.model import WaveNet
from fastwave.sound import audio, lpc, pitch
from fastwave.speech import analysis
from fastwave.speech.acoustic.data import Utterances
from fastwave.speech.acoustic.training import load
from fastwave.speech.recordings import recordings
from fastwave.vocoder import periods, training, vocoder

RATE, HOP, QUIET = analysis.SAMPLE_RATE, analysis.HOP, 10 ** (-50 / 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("train", "measure"))
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--acoustic", type=Path, help="the folder of an acoustic model, to speak what it predicts")
    parser.add_argument("--sentences", type=int, default=12)
    parser.add_argument("--all", action="store_true", help="also those not held out, where nothing learned from them")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--temperature", type=float, nargs=2, metavar=("VOICED", "UNVOICED"))
    parser.add_argument("--out", type=Path, help="a folder for the copies")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.verb == "train":
        sentences = recordings(options.data)
        training.train(sentences, options.run, options.minutes, show=True)
    else:
        measure(options)


def measure(options: argparse.Namespace) -> None:
    settings = json.loads((options.run / "vocoder.json").read_text())
    if options.temperature:
        settings["voiced_temperature"], settings["unvoiced_temperature"] = options.temperature
    model = WaveNet.from_pretrained(options.run)
    speak = vocoder.Vocoder(model, vocoder.VocoderSettings.from_dict(settings), dtype=options.dtype, threads=1)
    rows: dict[str, list[dict[str, float]]] = {"quantised": [], "pulses": [], "WaveNet": []}
    acoustic = load(options.acoustic) if options.acoustic else None
    seconds = samples = 0.0
    data = Utterances.read(options.data)
    for utterance in ((*data.held_out, *data.training) if options.all else data.held_out)[: options.sentences]:
        frames = utterance.frames.numpy()
        sound = audio.load(options.data / "wavs" / f"{utterance.name}.wav", sample_rate=RATE)[0].numpy()
        wave = np.zeros(len(frames) * HOP)
        wave[: len(sound)] = sound
        predictors = lpc.predictors(frames[:, : analysis.BANDS], analysis.MEL, speak.settings.lpc)
        coded = quantised(lpc.residual(wave, predictors), speak.settings.scale)
        rows["quantised"].append(compare(wave, lpc.Synthesis(predictors)(coded)))
        if acoustic is not None:
            frames = acoustic.frames(utterance.sentence, utterance.durations).numpy()
            predictors = lpc.predictors(frames[:, : analysis.BANDS], analysis.MEL, speak.settings.lpc)
        begun = time.perf_counter()
        copy = speak(frames)
        seconds, samples = seconds + time.perf_counter() - begun, samples + len(copy)
        rows["pulses"].append(compare(wave, lpc.Synthesis(predictors)(pulses(frames))))
        rows["WaveNet"].append(compare(wave, copy))
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            audio.save(options.out / f"{utterance.name}.wav", copy, RATE)
    for name, measured in rows.items():
        means = {key: np.nanmean([row[key] for row in measured]) for key in measured[0]}
        print(f"{name:10}", "  ".join(f"{key} {value:.2f}" for key, value in means.items()))
    print(
        f"{samples / seconds:,.0f} samples/s in {options.dtype} on one core, {samples / seconds / RATE:.2f} x real time"
    )


def quantised(excitation: np.ndarray, scale: float) -> np.ndarray:
    codec = MuLaw(256)
    return codec.decode(codec.encode(torch.from_numpy(excitation / scale))).numpy() * scale


def pulses(frames: np.ndarray) -> np.ndarray:
    """One pulse a period of the energy of its samples, and noise where there is no voice."""
    place, number = np.arange(len(frames) * HOP) / HOP, np.arange(len(frames))
    phase, log_f0, voicing = (
        np.interp(place, number, values)
        for values in (periods.running(frames[:, 40], analysis.FRAMES), frames[:, 40], np.clip(frames[:, 41], 0, 1))
    )
    source = np.zeros(len(place))
    begins = np.flatnonzero(np.floor(phase[1:]) > np.floor(phase[:-1])) + 1
    source[begins] = np.sqrt(RATE / np.exp(log_f0[begins]))
    noise = np.random.default_rng(0).normal(size=len(place))
    return source * voicing + noise * np.sqrt(1 - voicing**2)


class Pulses:
    """What a voice has in place of its vocoder, as a control."""

    def __init__(self, settings: lpc.LpcSettings) -> None:
        self.settings = settings

    def stream(self, frames: torch.Tensor, seed: int = 0, temperature: float | None = None) -> Iterator[np.ndarray]:
        """The same noise for every seed and temperature."""
        rows = frames.numpy()
        predictors = lpc.predictors(rows[:, : analysis.BANDS], analysis.MEL, self.settings)
        yield np.clip(lpc.Synthesis(predictors)(pulses(rows)), -1, 1)


def compare(wave: np.ndarray, copy: np.ndarray) -> dict[str, float]:
    copy = np.asarray(copy, dtype=np.float64)
    real, made = analysis.frames(wave), analysis.frames(copy)
    real_track, made_track = (pitch.track(sound, RATE, analysis.LOWEST, analysis.HIGHEST) for sound in (wave, copy))
    both = real_track.voiced & made_track.voiced
    cents = np.abs(pitch.cents(made_track.pitch[both], real_track.pitch[both]))
    level = np.sqrt(np.convolve(wave**2, np.ones(800) / 800, "same"))[::HOP]
    decibels = (made - real)[:, : analysis.BANDS] * 50
    loud, voiced = level > QUIET, real[:, analysis.VOICING] > 0.7
    f0 = np.where(voiced, np.exp(real[:, analysis.LOG_F0]), 0)
    return {
        "mel": np.abs(decibels[loud]).mean(),
        "voiced": 100 * made_track.voiced.mean(),
        "of the recording": 100 * real_track.voiced.mean(),
        "F0": np.median(cents) if both.any() else np.nan,
        "periodic": pitch.periodicity(copy, RATE, f0, HOP)[voiced].mean(),
        "of the recording's": real[voiced, analysis.VOICING].mean(),
        "pauses": decibels[~loud].mean() if not loud.all() else np.nan,
        "steps": float((np.abs(np.diff(copy)) > 0.5).sum()),
        "peak": np.abs(copy).max(),
    }


if __name__ == "__main__":
    main()
