"""Text in the few characters that the rules know, with the place of each in the input."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

SAME = {
    **dict.fromkeys("‘’‚‛′´`ʼ", "'"),
    **dict.fromkeys("“”„‟″«»", '"'),
    **dict.fromkeys("‐‑‒−⁃﹣", "-"),
    **dict.fromkeys("–—―⸺", "–"),  # between numbers "to", between words a pause
    **dict.fromkeys("\u2028\u2029\x0b\x0c\x85", "\n"),
    **dict.fromkeys("•‣◦▪●·∙", "•"),
    "ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D",
    "ð": "th", "Ð": "Th", "þ": "th", "Þ": "Th", "ı": "i", "…": "...", "⁄": "/", "№": "No. ", "™": "", "®": "",
    "µ": "μ", "Ω": "Ω", "℃": "°C", "℉": "°F", "\xad": "", "\u200b": "", "\ufeff": "",
}  # fmt: skip
SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-", strict=True))
KEPT = frozenset("°²³")  # have rules of their own


def fold(text: str, places: Sequence[int] | None = None) -> tuple[str, list[int]]:
    """Plain characters, and for each its index in `text` (or what `places` says of that one)."""
    characters: list[str] = []
    where: list[int] = []
    for index, character in enumerate(text):
        plain = character if "\n" <= character <= "~" else folded(character, characters[-1] if characters else "")
        characters += plain
        where += [index if places is None else places[index]] * len(plain)
    return "".join(characters), where


def folded(character: str, before: str) -> str:
    if character in SAME:
        return SAME[character]
    if character in KEPT:
        return character
    if character in SUPERSCRIPTS:
        return "^" + SUPERSCRIPTS[character]
    if unicodedata.numeric(character, None) is not None and "⁄" in unicodedata.normalize("NFKC", character):
        return (" " if before.isdigit() else "") + unicodedata.normalize("NFKC", character).replace("⁄", "/")
    plain = "".join(part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part))
    if plain.isascii():
        return plain
    if character.isdecimal():  # of another script
        return str(unicodedata.decimal(character))
    return character
