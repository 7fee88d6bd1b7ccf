"""How near a student comes to recordings that it has not heard, beside its prior, which is the same without training.

    python recipes/student/measure.py runs/student data/unheard --out copies

`copies/` gets the sounds of `recording`, `prior` and `student` as NNN.wav, for recipes/voice/understood.py, and a
picture of the first of each.

    distance     energy distance of two draws (fastwave/student/objectives.py)
    mel          mean difference of log-mel bands where the recording is above -50 dB
    periodic     how well voiced frames repeat themselves at the F0 of the recording, in each band of frequencies
    pauses       mean difference of the bands in the other frames, without those that are digital silence
    clicks       steps of more than half of full scale from one sample to the next
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import fastwave
from fastwave.sound import audio, loudness, pitch
from fastwave.sound.picture import picture
from fastwave.student import objectives
from fastwave.student.network import ParallelWaveNet
from fastwave.vocoder import analysis

QUIET = 10 ** (-50 / 20)  # root mean square of 50 ms; quieter is a pause
DIGITAL = -0.98  # a band below this is silent: -99 dB
BANDS = ((0, 1000), (1000, 2000), (2000, 4000), (4000, 8000))  # Hz


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("recordings", type=Path, help="a folder of sounds that were not trained on")
    parser.add_argument("--out", type=Path, help="where the sounds go")
    parser.add_argument("--most", type=int, default=10_000, help="of the recordings")
    options = parser.parse_args()
    student = ParallelWaveNet.from_pretrained(options.student)
    models = {"prior": ParallelWaveNet(student.config), "student": student}
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ("recording", *models)}
    weights = []
    for number, path in enumerate(sorted(options.recordings.glob("*.wav"))[: options.most]):
        wave = loudness.load(path, student.config.sample_rate, student.config.normalize).numpy()
        frames = analysis.frames(wave, layout=student.config.frames)
        (followed,) = student.config.features.from_sound([wave], student.config.sample_rate, student.config.frames.hop)
        made = {name: [speak(model, followed, len(wave), seed) for seed in (0, 1)] for name, model in models.items()}
        rows["recording"].append(compare(wave, wave, frames, student.config.frames))
        for name, (first, second) in made.items():
            triple = (torch.from_numpy(each)[None] for each in (wave, first, second))
            distance = float(objectives.energy_distance(*triple))
            rows[name].append({**compare(wave, first, frames, student.config.frames), "distance": distance})
        weights.append(len(wave))
        if options.out:
            keep(options.out, number, {"recording": wave, **{name: each[0] for name, each in made.items()}}, student)
    print(f"{len(weights)} recordings, {sum(weights) / student.config.sample_rate:.0f} s")
    for name, measured in rows.items():
        means = {key: weighted([row[key] for row in measured], weights) for key in measured[0]}
        print(f"{name:10}", "  ".join(f"{key} {value:.3f}" for key, value in means.items()), flush=True)


def speak(model: ParallelWaveNet, frames: torch.Tensor, samples: int, seed: int) -> np.ndarray:
    """What a model makes of frames."""
    return fastwave.generate(model, samples=samples, condition=frames, seed=seed).tokens[0].numpy()


def compare(wave: np.ndarray, copy: np.ndarray, real: np.ndarray, layout: analysis.Frames) -> dict[str, float]:
    """A copy beside the recording, whose frames are `real`."""
    made, rate, hop = analysis.frames(copy, layout=layout), layout.sample_rate, layout.hop
    decibels = (made - real)[:, : layout.bands] * 50
    level = np.sqrt(np.convolve(wave**2, np.ones(800) / 800, "same"))[::hop]
    loud, heard = level > QUIET, real[:, : layout.bands] > DIGITAL
    voiced = real[:, layout.voicing] > 0.7
    f0 = np.where(voiced, np.exp(real[:, layout.log_f0]), 0.0)
    pauses = ~loud[:, None] & heard
    result = {
        "mel": float(np.abs(decibels[loud]).mean()),
        "pauses": float(decibels[pauses].mean()) if pauses.any() else np.nan,
        "clicks": float((np.abs(np.diff(copy)) > 0.5).sum()),
    }
    for low, high in BANDS:
        part = pitch.periodicity(band(copy, low, high, rate), rate, f0, hop, 1e-6)
        result[f"periodic {low}-{high}"] = float(part[voiced].mean()) if voiced.any() else np.nan
    return result


def band(wave: np.ndarray, low: float, high: float, rate: int) -> np.ndarray:
    """The frequencies of a wave from `low` to `high` Hz."""
    spectrum = np.fft.rfft(wave.astype(np.float64))
    frequency = np.fft.rfftfreq(len(wave), 1 / rate)
    return np.fft.irfft(spectrum * ((frequency >= low) & (frequency < high)), len(wave))


def weighted(values: list[float], weights: list[int]) -> float:
    """The mean over recordings by their lengths, without those that have no such value."""
    known = ~np.isnan(values)
    return float(np.average(np.array(values)[known], weights=np.array(weights)[known])) if known.any() else np.nan


def keep(out: Path, number: int, waves: dict[str, np.ndarray], student: ParallelWaveNet) -> None:
    """Write the sounds, and a picture of the first ones."""
    for name, wave in waves.items():
        (out / name).mkdir(parents=True, exist_ok=True)
        audio.save(out / name / f"{number:03d}.wav", wave, student.config.sample_rate)
    if number == 0:
        image = picture([wave.astype(np.float64) for wave in waves.values()], student.config.sample_rate)
        (out / "first.png").write_bytes(image._repr_png_())


if __name__ == "__main__":
    main()
