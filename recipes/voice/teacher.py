"""Speech with exact durations of its phones and exact pitch, from a small open synthesiser: what a voice learns from.

    pip install hibari-tts==0.2.1 onnx scipy
    python recipes/voice/teacher.py sentences.txt data/voice --hours 3 --speeds 0.85 1.2

The folder gets `wavs/NAME.wav` (16 kHz), `f0/NAME.npy` (Hz every 12.5 ms, 0 where unvoiced) and `utterances.jsonl`:
per sentence its text, phones, the index of the word or pause of each phone, and durations in frames of 12.5 ms. The
teacher counts in frames of 25 ms: `exact` are its durations before they were rounded, in frames of 12.5 ms.
Our phones are written in the alphabet of the teacher; the time of its stress marks and spaces is counted to our phones.
"""

# ruff: noqa: RUF001, the alphabet of phonetics looks like other letters
from __future__ import annotations

import argparse
import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr

from fastwave.speech.phones import PAUSES, SILENCE, VOWELS
from fastwave.speech.text import sentences

RATE, HOP = 16_000, 200
HELD_OUT = 0.05  # of the sentences, by their text
LETTERS = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "W", "AY": "I", "EH": "ɛ", "ER": "ɜɹ", "EY": "A", "IH": "ɪ",
    "IY": "i", "OW": "O", "OY": "Y", "UH": "ʊ", "UW": "u", "B": "b", "CH": "ʧ", "D": "d", "DH": "ð", "F": "f",
    "G": "ɡ", "HH": "h", "JH": "ʤ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ", "P": "p", "R": "ɹ", "S": "s",
    "SH": "ʃ", "T": "t", "TH": "θ", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
PERIODIC = 0.6  # correlation of two neighbouring periods below 1.5 kHz, from which on a frame is voiced,
QUIET = 1e-6  # where its mean square is at least this
LEAD = 5  # frames by which a sound comes before the place that the teacher's durations say, by the least spread of mel;
# with fewer in faster speech: 3.8 at a speed of 1.2, 4.6 at 0.85
SILENT = 10**-5.8  # mean square
BEFORE, AFTER = 8, 16  # frames of silence that are kept before and after a sentence
STRESS = {"0": "", "1": "ˈ", "2": "ˌ"}
DURATIONS, UNROUNDED = "/Clip_output_0", "/Div_40_output_0"  # tensors inside the teacher, in frames of 25 ms


class Spoken(NamedTuple):
    """What the teacher said of one sentence."""

    wave: np.ndarray  # [frames * 200] float32, 16 kHz
    f0: np.ndarray  # [frames]
    durations: np.ndarray  # of every phone, whole frames of 12.5 ms
    exact: np.ndarray  # and before rounding


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sentences", type=Path, help="one a line")
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--speeds", type=float, nargs=2, default=(1.0, 1.0), help="slowest and fastest")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name in ("wavs", "f0"):
        (arguments.out / name).mkdir(parents=True)
    teacher, seconds = Teacher(), 0.0
    lines = arguments.sentences.read_text().splitlines()
    with (arguments.out / "utterances.jsonl").open("w") as index:
        for number, text in enumerate(lines):
            draw = random.Random(f"{arguments.seed} {text}")
            speed = draw.uniform(*arguments.speeds)
            units = [unit for sentence in sentences(text) for unit in sentence.units()]
            if [unit.symbol for unit in units].count(SILENCE) != 1:
                continue  # the front end says it in two sentences
            symbols, words = [unit.symbol for unit in units], [unit.part for unit in units]
            said = teacher.say(symbols, words, speed, number)
            name = f"{number:05d}"
            soundfile.write(arguments.out / "wavs" / f"{name}.wav", said.wave, RATE, "PCM_16")
            np.save(arguments.out / "f0" / f"{name}.npy", said.f0)
            line: dict[str, Any] = {"id": name, "text": text, "held_out": held_out(text), "speed": round(speed, 4)}
            line |= {"symbols": symbols, "words": words, "durations": said.durations.tolist()}
            line |= {"exact": [round(max(0.5, value), 2) for value in said.exact.tolist()]}
            index.write(json.dumps(line) + "\n")
            seconds += len(said.wave) / RATE
            if seconds > 3600 * arguments.hours:
                break
    print(f"{number + 1} sentences, {seconds / 3600:.2f} h")


def held_out(text: str) -> bool:
    """Whether a sentence is for measuring only, in every data set that has it."""
    return zlib.crc32(text.encode()) % 10_000 < 10_000 * HELD_OUT


def letters(symbols: list[str], words: list[int]) -> Iterator[tuple[str, int]]:
    """The teacher's letters, each with the place of the phone that it counts to; the two pads are left out."""
    for place, symbol in enumerate(symbols):
        if symbol == SILENCE:
            continue
        if symbol in PAUSES:
            yield symbol, place
            continue
        if words[place] != words[place - 1] and place > 1:
            yield " ", place - 1  # to the last phone of the word, or to the pause
        for letter in _sound(symbols, words, place):
            yield letter, place


def _sound(symbols: list[str], words: list[int], place: int) -> str:
    """The letters of a phone; in the American way a t or d between vowels is a tap."""
    symbol = symbols[place]
    name, stress = (symbol[:2], symbol[2:]) if symbol[:2] in VOWELS else (symbol, "")
    inside = 0 < place < len(symbols) - 1 and words[place - 1] == words[place] == words[place + 1]
    if name == "T" and inside and symbols[place - 1][:2] in {*VOWELS, "R"} and symbols[place + 1][2:] == "0":
        return "T"
    if symbol == "AH0":
        return "ə"
    if symbol == "ER0":
        return "əɹ"
    return STRESS.get(stress, "") + LETTERS[name]


class Teacher:
    """The synthesiser, with the durations inside its graph as further results."""

    def __init__(self) -> None:
        import hibari.tts
        import onnx
        import onnxruntime

        self._hibari = hibari.Hibari()
        graph = onnx.load(self._hibari.model_path)
        for name in (DURATIONS, UNROUNDED):
            graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph.SerializeToString(), options, ["CPUExecutionProvider"])
        self._synth = hibari.tts.dsp.synth

    def say(self, symbols: list[str], words: list[int], speed: float, seed: int) -> Spoken:
        """Speak phones."""
        spelled = list(letters(symbols, words))
        places = [0, *(place for _, place in spelled), len(symbols) - 1]
        ids = [0, *(self._hibari.vocab[letter] for letter, _ in spelled), 0]
        inputs = {"ids": np.array([ids], np.int64), "speed": np.array([speed], np.float32)}
        pauses = [place for place, symbol in enumerate(symbols) if place and symbol in PAUSES]
        *spectrum, rounded, unrounded = self._session.run(None, inputs)
        frames = np.zeros(len(symbols), np.int64)
        exact = np.zeros(len(symbols))
        np.add.at(frames, places, 2 * np.round(rounded.reshape(-1)).astype(np.int64))
        np.add.at(exact, places, 2 * unrounded.reshape(-1).astype(float))
        spectrum = [part[0] for part in spectrum]
        wave = self._synth(*spectrum, np.random.default_rng(seed))
        wave = soxr.resample(wave, 24_000, RATE, quality="VHQ")
        wave = np.clip(wave[: HOP * frames.sum()], -1, 1)
        assert len(wave) == HOP * frames.sum() == HOP * len(spectrum[-1])
        return _trimmed(Spoken(wave, pitch(wave, spectrum[-1]), frames, exact), pauses, speed)


def _trimmed(said: Spoken, pauses: list[int], speed: float) -> Spoken:
    """Move the boundaries to where the sounds are, and leave little silence at both ends."""
    wave, f0, frames, exact = said.wave, said.f0, said.durations.copy(), said.exact.copy()
    lead = round(LEAD / max(1.0, speed))
    for durations in (frames, exact):
        durations[0] -= lead
        durations[-1] += lead
    loud = (wave.reshape(-1, HOP) ** 2).mean(1) > SILENT
    for pause in pauses:  # the teacher counts a part of the silence to the phone before it
        end = int(frames[:pause].sum())
        heard = np.flatnonzero(loud[end - int(frames[pause - 1]) : end])
        silent = int(frames[pause - 1]) - max(2, int(heard[-1]) + 1 if len(heard) else 0)
        if silent > 0:
            for durations in (frames, exact):
                durations[pause - 1 : pause + 1] += (-silent, silent)
    cut = max(0, int(frames[0]) - BEFORE)
    frames[0] -= cut
    frames[-1] = AFTER
    exact[0], exact[-1] = frames[0], AFTER
    total = int(frames.sum())
    wave = np.pad(wave[HOP * cut :][: HOP * total], (0, max(0, HOP * (cut + total) - len(wave))))
    f0 = np.pad(f0[cut:][:total], (0, max(0, cut + total - len(f0))))
    return Spoken(wave, f0, frames, exact)


def pitch(wave: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Hz at the samples 0, 200, 400 ..., 0 where the sound is not periodic.

    `source` is the teacher's, for the middles between them; it is above 0 in many frames where only noise is heard.
    """
    before = np.concatenate([source[:1], source[:-1]])
    both = np.where((before > 40) & (source > 40), np.sqrt(np.maximum(before * source, 0)), np.maximum(before, source))
    f0 = np.zeros(len(source), np.float32)
    lowpass = np.hanning(13) / np.hanning(13).sum()  # up to about 1.5 kHz
    padded = np.pad(np.convolve(wave, lowpass, "same"), 1000)
    for frame in np.flatnonzero(both > 40):
        middle, period = 1000 + HOP * frame, RATE / both[frame]
        half = max(160, round(period))
        loudest = 0.0
        for lag in range(int(0.94 * period), int(1.06 * period) + 2):
            first = padded[middle - half - lag // 2 : middle + half - lag // 2]
            second = padded[middle - half - lag // 2 + lag : middle + half - lag // 2 + lag]
            energy = np.sqrt((first @ first) * (second @ second))
            if energy > QUIET * 2 * half:
                loudest = max(loudest, float(first @ second / energy))
        if loudest > PERIODIC:
            f0[frame] = both[frame]
    return f0


if __name__ == "__main__":
    main()
