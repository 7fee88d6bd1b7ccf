"""A few made-up spoken sentences, seeded: phones of given lengths whose F0 and spectrum follow simple rules."""

import json

import numpy as np
import soundfile
import torch

from fastwave.speech.acoustic import Shape
from fastwave.speech.acoustic.data import Utterance, Utterances
from fastwave.speech.acoustic.places import places
from fastwave.speech.phones import SYMBOLS, Pause, Sentence, Word

SMALL = Shape(
    duration_width=16, pitch_width=16, pitch_frame_width=16, mel_width=16, mel_frame_width=16,
    unit_dilations=(1,), pitch_dilations=(1,), mel_dilations=(1,),
)  # fmt: skip
WORDS = (("HH", "AH0", "L", "OW1"), ("W", "ER1", "L", "D"), ("S", "IY1"), ("AH0",), ("B", "IH1", "G"))


def make_sentence(number=0, end="."):
    draw = np.random.default_rng(number)
    parts = [Word("word", WORDS[index]) for index in draw.integers(0, len(WORDS), draw.integers(2, 6))]
    return Sentence((*parts[:1], Pause(","), *parts[1:], Pause(end)))


def make_utterance(number, held_out=False):
    """A phone lasts 3 + its number % 5 frames; F0 falls, or rises in a question; each phone has a spectrum."""
    end = ".?!"[number % 3]
    units = tuple(make_sentence(number, end).units())
    durations = torch.tensor([3 + SYMBOLS.index(unit.symbol) % 5 for unit in units])
    index = torch.repeat_interleave(durations)
    frames = torch.zeros(len(index), 42)
    numbers = torch.tensor([SYMBOLS.index(unit.symbol) for unit in units])[index]
    frames[:, :40] = torch.sin(numbers[:, None] * torch.arange(1, 41) * 0.1) / 2
    frames[:, 40] = 5.3 + torch.linspace(-0.2, 0.2, len(index)) * (1 if end == "?" else -1)
    frames[:, 41] = (numbers > 28).float()
    exact = durations.float()
    return Utterance(f"{number}", f"sentence {number}", units, places(units), durations, exact, frames, 1.0, held_out)


def make_utterances(count=24):
    return Utterances.of([make_utterance(number, held_out=number % 6 == 5) for number in range(count)], f"{count}")


def write_folder(folder, count=3):
    """The files that a teacher writes; each sound is a tone of 200 Hz in noise."""
    (folder / "wavs").mkdir(parents=True)
    (folder / "f0").mkdir()
    lines = []
    for number in range(count):
        each = make_utterance(number)
        frames = len(each.frames)
        noise = np.random.default_rng(number).uniform(-0.05, 0.05, frames * 200)
        tone = 0.3 * np.sin(np.arange(frames * 200) * 2 * np.pi * 200 / 16_000)
        soundfile.write(folder / "wavs" / f"{number}.wav", tone + noise, 16_000, "PCM_16")
        np.save(folder / "f0" / f"{number}.npy", np.full(frames, 200.0, np.float32))
        line = {
            "id": f"{number}", "text": each.text, "symbols": [unit.symbol for unit in each.units],
            "words": [unit.part for unit in each.units], "durations": each.durations.tolist(),
        }  # fmt: skip
        lines.append(json.dumps({**line, "held_out": number == 2, "speed": 1.25}))
    (folder / "utterances.jsonl").write_text("\n".join(lines) + "\n")
