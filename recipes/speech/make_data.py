"""Make speech of several speakers: sentences of our own grammar, spoken by flite, one sub-folder a speaker."""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import grammar
import tools

import fastwave.sound.audio
from fastwave.errors import AudioError, InputError

SAMPLE_RATE = 16000
SPEAKERS = ("slt", "rms")  # a woman and a man
_TIMEOUT_SECONDS = 60  # a sentence takes 0.1 s


def sentence(seed: int, speaker: int, index: int) -> str:
    """Sentence `index` of a speaker: a function of these three numbers."""
    rng = np.random.default_rng([seed, speaker, index])
    return grammar.expand("EVENT", grammar.cast(rng), rng)


def speak(flite: str, voice: str, text: str, wav: Path) -> float:
    """Write `text`, spoken by `voice`, into `wav`; -> the seconds of sound."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.wav"
        command = [flite, "-voice", voice, "-t", text, "-o", str(raw)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise AudioError(f"flite needed more than {_TIMEOUT_SECONDS} s for {text!r}: is it waiting?") from error
        if done.returncode or not raw.is_file():
            raise AudioError(f"flite could not speak {text!r}: {done.stderr.strip() or f'status {done.returncode}'}")
        wave, _ = fastwave.sound.audio.load(raw, SAMPLE_RATE)
    fastwave.sound.audio.save(wav, wave, SAMPLE_RATE)
    return len(wave) / SAMPLE_RATE


def make(folder: Path, voices: list[str], minutes: float, seed: int) -> dict[str, tuple[int, float]]:
    """Write each speaker's share of `minutes`; -> {voice: (files, seconds)}."""
    flite = find_flite(voices)
    workers = os.cpu_count() or 1
    made = {}
    with ThreadPoolExecutor(workers) as pool:
        for speaker, voice in enumerate(voices):
            (folder / voice).mkdir()
            seconds, files = 0.0, 0
            for first in itertools.count(0, workers):
                if seconds >= 60 * minutes / len(voices):
                    break
                indices = range(first, first + workers)
                texts = [sentence(seed, speaker, index) for index in indices]
                wavs = [folder / voice / f"{voice}-{index:05d}.wav" for index in indices]
                lengths = list(pool.map(speak, [flite] * workers, [voice] * workers, texts, wavs))
                for wav, length in zip(wavs, lengths, strict=True):
                    # a machine with more cores must not make more files
                    if seconds >= 60 * minutes / len(voices):
                        wav.unlink()
                    else:
                        seconds, files = seconds + length, files + 1
            made[voice] = (files, seconds)
    return made


def find_flite(voices: list[str]) -> str:
    """The path of flite, after a check that it knows the voices: for an unknown one it would silently take another."""
    flite = shutil.which("flite")
    if flite is None:
        raise InputError("the program flite was not found, and it is what speaks: apt-get install flite")
    listed = subprocess.run([flite, "-lv"], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    known = listed.stdout.partition(":")[2].split()
    unknown = [voice for voice in voices if voice not in known]
    if unknown:
        raise InputError(f"flite has no voice {', '.join(unknown)}: choose from {', '.join(known)}")
    return flite


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="new or empty folder for one folder of wav files a speaker")
    parser.add_argument("--minutes", type=float, default=10.0, help="how much sound, of all speakers together (10)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same files (0)")
    parser.add_argument(
        "--speakers", nargs="+", default=list(SPEAKERS), metavar="VOICE", help="voices of flite: slt rms awb kal16"
    )
    options = parser.parse_args()
    if not 0 < options.minutes <= 600:
        raise InputError(f"--minutes must be above 0 and at most 600, got {options.minutes}")
    if options.seed < 0:
        raise InputError(f"--seed must be 0 or more, got {options.seed}")
    if len(set(options.speakers)) < len(options.speakers):
        raise InputError(f"--speakers names a voice twice: {' '.join(options.speakers)}")
    find_flite(options.speakers)
    begun = time.perf_counter()
    folder = tools.empty_folder(options.out)
    for voice, (files, seconds) in make(folder, options.speakers, options.minutes, options.seed).items():
        print(f"{folder / voice}: {files} files, {seconds / 60:.1f} minutes at {SAMPLE_RATE} Hz")
    print(f"made in {time.perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    tools.run(main)
