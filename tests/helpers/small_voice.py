"""A voice of stand-ins: letters are phones, every phone lasts its time, the sound is noise over a tone."""

import re

import numpy as np
import torch

from fastwave import WaveNet
from fastwave.speech import text
from fastwave.speech.acoustic import Acoustic, Shape
from fastwave.speech.folder import Description
from fastwave.speech.phones import Pause, Sentence, Word
from fastwave.speech.voice import Voice
from fastwave.vocoder import vocoder

HOP = 200
LETTERS = dict(zip("abcdefghijklmnopqrstuvwxyz", (
    "AE1 B K D EH1 F G HH IH1 JH K L M N AA1 P K R S T AH1 V W Z Y Z".split()), strict=True))  # fmt: skip


class Letters:
    """A front end: every letter of ASCII is a phone."""

    parse_phones, spell = staticmethod(text.parse_phones), staticmethod(text.spell)

    def sentences(self, source):
        result = []
        for match in re.finditer(r"[^.!?]+[.!?]*", source):
            parts = []
            for word in re.finditer(r"[A-Za-z]+|,", match[0]):
                if word[0] == ",":
                    parts.append(Pause(","))
                    continue
                phones = tuple(LETTERS[letter] for letter in word[0].lower())
                start = match.start() + word.start()
                parts.append(Word(word[0], phones, start, start + len(word[0])))
            if parts:
                result.append(Sentence((*parts, Pause("?" if match[0].endswith("?") else "."))))
        return result


class Clock:
    """Acoustic nets: four frames a phone, ten a pause, by the speed; the frames hold the pitch."""

    def durations(self, sentence, speed=1.0):
        frames = [10 if len(unit.symbol) == 1 and not unit.symbol.isalpha() else 4 for unit in sentence.units()]
        return torch.tensor([max(1, round(count / speed)) for count in frames])

    def frames(self, sentence, durations, pitch=1.0):
        total = int(durations.sum())
        return torch.full((total, 42), float(np.log(150 * pitch)))


class Tone:
    """A vocoder: a sine of the pitch and noise of the seed, in blocks of 1,000 samples."""

    def stream(self, frames, seed=0, temperature=None):
        wave = self.whole(frames, seed, temperature)
        for first in range(0, len(wave), 1000):
            yield wave[first : first + 1000]

    def whole(self, frames, seed, temperature):
        time = np.arange(len(frames) * HOP) / 16_000
        noise = (
            np.random.default_rng(seed).standard_normal(len(time)) * 0.01 * (1 if temperature is None else temperature)
        )
        return (0.5 * np.sin(2 * np.pi * float(torch.exp(frames[0, 40])) * time) + noise).astype(np.float32)


def make_voice():
    """A voice of stand-ins alone, which no folder can hold."""
    voice = Voice(Description("stand-in"), Clock(), Tone())
    voice.front = Letters()
    return voice


def make_real_voice(**fields):
    """A voice of tiny networks with random weights, which says noises."""
    torch.manual_seed(0)
    shape = Shape(
        **dict.fromkeys(("duration_width", "pitch_width", "pitch_frame_width", "mel_width", "mel_frame_width"), 4)
    )
    acoustic = Acoustic(shape, 5.0, 0.2).eval().requires_grad_(False)
    wavenet = WaveNet(vocoder.config(residual_channels=4, skip_channels=4, head_channels=4, dilations=(1, 2)))
    description = Description(**{"name": "tiny", "licence": "MIT", **fields})
    return Voice(description, acoustic, vocoder.Vocoder(wavenet), wavenet)
