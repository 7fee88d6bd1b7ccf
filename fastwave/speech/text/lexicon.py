"""The pronouncing dictionary: a word -> its phones, also for inflections of words that it holds.

The file has every word of CMUdict but those that `inflected` makes of another: recipes/voice/lexicon.py writes it.
A phone is one character, its index in SYMBOLS counted up from "0".
"""

from __future__ import annotations

import functools
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path

from fastwave.speech.phones import SYMBOLS

FILE = Path(__file__).parent / "data" / "lexicon.xz"
FIRST = ord("0")
HISSING = {"S", "Z", "SH", "ZH", "CH", "JH"}  # a plural after them is a syllable of its own
VOICELESS = {"P", "T", "K", "F", "TH", "S", "SH", "CH"}
SUFFIXES = {  # in the order in which they are tried
    "'s": ("Z",),
    "s'": ("Z",),
    "s": ("Z",),
    "ed": ("D",),
    "ing": ("IH0", "NG"),
    "in'": ("IH0", "N"),
    "ly": ("L", "IY0"),
    "ness": ("N", "AH0", "S"),
    "less": ("L", "AH0", "S"),
    "ment": ("M", "AH0", "N", "T"),
    "er": ("ER0",),
    "est": ("AH0", "S", "T"),
    "'d": ("D",),
    "'ll": ("AH0", "L"),
    "'ve": ("AH0", "V"),
    "'re": ("ER0",),
    "'m": ("M",),
}

Phones = tuple[str, ...]


def encode(phones: Phones) -> str:
    return "".join(chr(FIRST + SYMBOLS.index(phone)) for phone in phones)


def decode(code: str) -> Phones:
    return tuple(SYMBOLS[ord(character) - FIRST] for character in code)


@functools.cache
def entries() -> dict[str, str]:
    """Every word of the file, with its phones as `encode` writes them. Letters by name are in capitals."""
    words, codes = lzma.decompress(FILE.read_bytes()).decode().split("\t")
    return dict(zip(words.split("\n"), codes.split("\n"), strict=True))


def pronounce(word: str) -> Phones | None:
    """The phones of a word in lower case, or of a letter in capitals; None where neither it nor its stem is known."""
    code = entries().get(word)
    return decode(code) if code is not None else inflected(word, exact)


def exact(word: str) -> Phones | None:
    code = entries().get(word)
    return None if code is None else decode(code)


def inflected(word: str, known: Callable[[str], Phones | None]) -> Phones | None:
    """The phones of a word by its stem: dogs is dog + Z. `known` gives the phones of a stem."""
    for suffix, ending in SUFFIXES.items():
        if word.endswith(suffix):
            for stem in stems(word, suffix):
                phones = known(stem)
                if phones:
                    return join(phones, ending)
    return None


def stems(word: str, suffix: str) -> Iterator[str]:
    """The words that may have become `word` by `suffix`: baked, of ed: bak, bake; stopped: stopp, stop, stoppe."""
    base = word[: -len(suffix)]
    if suffix == "s'":  # of dogs', whose plural may itself be derived
        base = word[:-2]
    if len(base) < 2 and not base.isupper():  # but B's, of the letter
        return
    if suffix == "s" and base.endswith(("s", "'")):
        return
    if suffix == "s" and base.endswith("ie"):
        yield base[:-2] + "y"
    if suffix in ("ed", "er", "est", "ly", "ness") and base.endswith("i"):
        yield base[:-1] + "y"
    yield base
    if suffix == "s" and base.endswith("e"):
        yield base[:-1]
    if suffix in ("ed", "ing", "in'", "er", "est"):
        if base[-1] == base[-2]:
            yield base[:-1]
        yield base + "e"
    if suffix == "ly" and base.endswith("b"):
        yield base + "le"


def join(phones: Phones, ending: Phones) -> Phones:
    """The ending takes the voice of the phone before it: cats S, dogs Z, horses AH0 Z."""
    last = phones[-1]
    if ending == ("Z",):
        return (*phones, "AH0", "Z") if last in HISSING else (*phones, "S" if last in VOICELESS else "Z")
    if ending == ("D",):
        return (*phones, "IH0", "D") if last in ("T", "D") else (*phones, "T" if last in VOICELESS else "D")
    if ending == ("L", "IY0") and last == "L":  # fully, gently
        return (*phones, "IY0")
    return phones + ending
