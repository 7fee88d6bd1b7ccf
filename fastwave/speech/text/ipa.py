"""The international phonetic alphabet -> the phones of the voice."""

from __future__ import annotations

from fastwave.errors import InputError
from fastwave.speech.text.lexicon import Phones

SOUNDS = {
    "p": "P", "b": "B", "t": "T", "d": "D", "k": "K", "g": "G", "ɡ": "G", "f": "F", "v": "V", "θ": "TH", "ð": "DH",
    "s": "S", "z": "Z", "ʃ": "SH", "ʒ": "ZH", "h": "HH", "ɦ": "HH", "m": "M", "n": "N", "ŋ": "NG", "l": "L", "ɫ": "L",
    "ɹ": "R", "r": "R", "ɾ": "T", "ʔ": "T", "j": "Y", "w": "W", "ʍ": "W", "tʃ": "CH", "ʧ": "CH", "dʒ": "JH",
    "ʤ": "JH", "x": "K", "ɲ": "N Y", "ç": "HH", "ʁ": "R", "c": "K", "q": "K",
    "i": "IY", "ɪ": "IH", "e": "EY", "eɪ": "EY", "ɛ": "EH", "æ": "AE", "a": "AA", "ɑ": "AA", "ɒ": "AA", "ɔ": "AO",
    "o": "OW", "oʊ": "OW", "əʊ": "OW", "ʊ": "UH", "u": "UW", "ʌ": "AH", "ɐ": "AH", "ə": "AH", "ɜ": "ER", "ɝ": "ER",
    "ɚ": "ER", "ɜɹ": "ER", "əɹ": "ER", "ɜr": "ER", "ər": "ER", "aɪ": "AY", "aʊ": "AW", "ɔɪ": "OY", "ɔi": "OY",
    "ai": "AY", "au": "AW", "ei": "EY", "ou": "OW", "y": "UW", "ø": "ER", "œ": "ER", "ɨ": "IH", "ʉ": "UW", "ɪə": "IH R",
    "ɛə": "EH R", "eə": "EH R", "ʊə": "UH R", "l̩": "AH L", "n̩": "AH N", "m̩": "AH M", "ɹ̩": "ER",
}  # fmt: skip
VOWELS = frozenset("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())
PASSED_OVER = frozenset("ː͡.ˑ ̯̃ʰ‿/[]̪̚ʲˠ|")
STRESSES = {"ˈ": "1", "'": "1", "ˌ": "2", ",": "2"}
LONGEST = 500  # signs


def from_ipa(text: str) -> Phones:
    """həˈloʊ -> HH AH0 L OW1. The first vowel is stressed where none is."""
    signs = "".join(character for character in text if character not in PASSED_OVER)[:LONGEST]
    phones: list[str] = []
    stress = "0"
    place = 0
    while place < len(signs):
        if signs[place] in STRESSES:
            stress = STRESSES[signs[place]]
            place += 1
            continue
        length = next((length for length in (2, 1) if signs[place : place + length] in SOUNDS), 0)
        if not length:
            raise InputError(f"{signs[place]!r} is no sign of the phonetic alphabet that an English voice can say.")
        for phone in SOUNDS[signs[place : place + length]].split():
            phones.append(phone + stress if phone in VOWELS else phone)
            stress = "0" if phone in VOWELS else stress
        place += length
    if not any(phone.endswith("1") for phone in phones):
        first = next((index for index, phone in enumerate(phones) if phone[-1].isdigit()), None)
        if first is not None:
            phones[first] = phones[first][:-1] + "1"
    return tuple(phones)
