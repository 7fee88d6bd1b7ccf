"""The phones of English as the speech wing names them, and a sentence made of them.

The names are those of the CMU pronouncing dictionary (ARPAbet): 24 consonants, and 15 vowels with a digit for stress,
0 none, 1 primary, 2 secondary. Pauses are phones too, and have names of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS = tuple("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split())
SENTENCE_ENDS = (".", "?", "!")
SILENCE = "_"  # before a sentence, and a break that the caller asks for
PAUSES = (SILENCE, ",", *SENTENCE_ENDS)
SYMBOLS = (*PAUSES, *CONSONANTS, *(vowel + stress for vowel in VOWELS for stress in "012"))


@dataclass(frozen=True)
class Word:
    """A spoken word. `rate`, `pitch` and `volume` are factors that a caller asks for, 1 for none."""

    text: str  # as it stands in the input, "1999"
    phones: tuple[str, ...]
    start: int = 0  # its first character in the input,
    end: int = 0  # and the one after its last
    rate: float = 1.0
    pitch: float = 1.0
    volume: float = 1.0


@dataclass(frozen=True)
class Pause:
    """A pause, by its mark, one of PAUSES. `seconds` is its length where the caller names one."""

    mark: str
    seconds: float | None = None


@dataclass(frozen=True)
class Unit:
    """A phone of a sentence with what an acoustic model wants to know about its place."""

    symbol: str  # one of SYMBOLS
    part: int  # the index of its word or pause in Sentence.parts
    first: bool  # the first phone of its word
    last: bool  # the last


@dataclass(frozen=True)
class Sentence:
    """What is spoken in one breath group or more: words and pauses; the last part is a pause of SENTENCE_ENDS."""

    parts: tuple[Word | Pause, ...]

    def units(self) -> list[Unit]:
        """All phones and pauses in order, with a silence in front."""
        units = [Unit(SILENCE, -1, True, True)]
        for index, part in enumerate(self.parts):
            phones = part.phones if isinstance(part, Word) else (part.mark,)
            last = len(phones) - 1
            units += [Unit(phone, index, place == 0, place == last) for place, phone in enumerate(phones)]
        return units
