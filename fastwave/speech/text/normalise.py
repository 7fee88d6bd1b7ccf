"""Text -> tokens: numbers, abbreviations and symbols as words, punctuation as pauses."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastwave.speech.text.fold import fold
from fastwave.speech.text.numbers import decimal
from fastwave.speech.text.tokens import Token

WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*'?")
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


def tokens(text: str, places: Sequence[int] | None = None) -> list[Token]:
    """The words and pauses of `text`. `places` are the places of its characters in a longer input."""
    plain, where = fold(text, places)
    result: list[Token] = []
    place = 0
    while place < len(plain):
        match = WORD.match(plain, place) or NUMBER.match(plain, place)
        if match:
            spoken = match[0].lower().rstrip("'") if match.re is WORD else decimal(match[0])
            end = match.end()
        else:
            spoken = plain[place] if plain[place] in ".,?!" else "," if plain[place] in ';:–()"' else ""
            end = place + 1
        result += [Token(word, where[place], where[end - 1] + 1) for word in spoken.split()]
        place = end
    return result
