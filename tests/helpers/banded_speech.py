"""Speech whose truth is known: every phone is a tone of its own, every pause a faint hiss."""

import numpy as np

from fastwave.speech.phones import PAUSES, Pause, Sentence, Word
from fastwave.speech.readings import column

RATE = 16_000
PHONES = ("AA1", "AO1", "EH1", "IY1", "K", "L", "M", "N", "OW1", "R", "S", "SH", "T", "UW1")
FADE = 40  # samples over which one sound goes over into the next, 2.5 ms


def sound_of(symbol, samples, draw):
    """A tone that belongs to the phone, in a little noise."""
    noise = draw.standard_normal(samples)
    if symbol in PAUSES:
        return 0.0005 * noise
    center = 250 * 28 ** (place_of(symbol) / len(PHONES))
    return 0.1 * np.sin(2 * np.pi * center * np.arange(samples) / RATE + draw.uniform(0, 6)) + 0.003 * noise


def place_of(symbol):
    """Phones beside PHONES get a tone too, which may be that of another."""
    return PHONES.index(symbol) if symbol in PHONES else column(symbol) * 7 % len(PHONES)


def spoken(symbols, draw):
    """Phones and pauses -> their sound, and where each of them ends, in samples."""
    lengths = [int(draw.integers(*((2400, 4000) if symbol in PAUSES else (800, 2400)))) for symbol in symbols]
    wave = np.concatenate([sound_of(symbol, length, draw) for symbol, length in zip(symbols, lengths, strict=True)])
    ends = np.cumsum(lengths)
    fade = np.sin(np.linspace(0, np.pi, FADE + 1))[:FADE] ** 2 if FADE else ()
    for end in ends[:-1]:  # no click where two sounds meet
        wave[end - FADE // 2 : end + FADE // 2] *= 1 - 0.9 * np.asarray(fade)
    return wave.astype(np.float32), ends


def make_sentence(number, words=6):
    """Words of three phones in any order, so that no phone has always the same neighbours; none follows itself."""
    draw = np.random.default_rng(number)
    phones = [PHONES[index] for index in np.cumsum(draw.integers(1, len(PHONES), 3 * words)) % len(PHONES)]
    parts = [Word(f"w{number}", tuple(phones[3 * i : 3 * i + 3])) for i in range(words)]
    return Sentence((*parts[:3], Pause(","), *parts[3:], Pause(".")))


def symbols_of(*sentences):
    """Units of sentences that follow each other, with one pause between two."""
    symbols = [unit.symbol for unit in sentences[0].units()]
    for sentence in sentences[1:]:
        symbols += [unit.symbol for unit in sentence.units()[1:]]
    return symbols
