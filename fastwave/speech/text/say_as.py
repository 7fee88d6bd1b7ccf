"""SSML's say-as: what a piece of text is, so that it is read as that."""

from __future__ import annotations

import re
from collections.abc import Callable

from fastwave.speech.text.dates import date
from fastwave.speech.text.fold import fold
from fastwave.speech.text.normalise import tokens
from fastwave.speech.text.numbers import cardinal, decimal, digits, ordinal
from fastwave.speech.text.prosody import Note
from fastwave.speech.text.symbols import NAMES
from fastwave.speech.text.tokens import Token
from fastwave.speech.text.web import SIGNS

SPELLED = {**NAMES, **SIGNS, "*": "star", "!": "exclamation mark", ";": "semicolon", "'": "apostrophe", '"': "quote"}
FORMATS = {"mdy": "mdy", "dmy": "dmy", "ymd": "ymd", "ydm": "ydm"}


def say_as(text: str, attributes: dict[str, str], note: Note) -> list[Token] | None:
    """The tokens, without their places; None to read the text as it would be without."""
    kind = attributes.get("interpret-as", "").lower()
    make = KINDS.get(kind)
    if make is None:
        note(f'<say-as interpret-as="{kind}"> is not understood, so that its text is read as any other')
        return None
    plain, _ = fold(text)
    words = make(plain.strip(), attributes.get("format", "").lower())
    if words is None:
        note(f'<say-as interpret-as="{kind}"> does not fit "{text.strip()[:40]}", which is read as any other text')
        return None
    return [Token(word, 0, 0) for word in words.split()]


def spell(text: str, _: str = "") -> str:
    """Character by character; pauses part groups."""
    return " ".join(_character(character) for character in text)


def _character(character: str) -> str:
    if character.isascii() and character.isalpha():
        return character.upper()
    return digits(character) if character.isdecimal() else SPELLED.get(character, "")


def _number(text: str, _: str) -> str | None:
    number = re.fullmatch(r"([+-]?)((?:\d[\d,]*)?(?:\.\d+)?)", text)
    if not number or not number[2]:
        return None
    return {"-": "minus ", "+": "plus ", "": ""}[number[1]] + decimal(number[2])


def _ordinal(text: str, _: str) -> str | None:
    number = re.fullmatch(r"(\d[\d,]*)(?:st|nd|rd|th)?", text)
    return ordinal(number[1]) if number else None


def _digits(text: str, _: str) -> str:
    return digits(text)


def _telephone(text: str, _: str) -> str:
    """Groups of digits, with a pause between."""
    groups = [spell(group.upper()) for group in re.findall(r"\+|[A-Za-z\d]+", text)]
    return " , ".join(groups).replace("plus ,", "plus")


def _date(text: str, order: str) -> str | None:
    parts = re.findall(r"\d+", text)
    if len(parts) != 3 or re.search("[A-Za-z]", text):
        return _whole(text)
    order = FORMATS.get(order, "ymd" if len(parts[0]) == 4 else "mdy")
    named = dict(zip(order, parts, strict=True))
    years = named["y"] if len(named["y"]) != 2 else "20" + named["y"]
    return date(named["d"][:4], named["m"][:4], years[:12])


def _whole(text: str, _: str = "") -> str:
    return " ".join(token.word for token in tokens(text))


def _fraction(text: str, _: str) -> str | None:
    number = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    return f"{cardinal(number[1])} over {cardinal(number[2])}" if number and len(number[2]) > 3 else _whole(text)


KINDS: dict[str, Callable[[str, str], str | None]] = {
    **dict.fromkeys(("characters", "spell-out", "verbatim", "letters", "character"), spell),
    **dict.fromkeys(("cardinal", "number"), _number),
    "ordinal": _ordinal,
    "digits": _digits,
    "date": _date,
    "time": _whole,
    "telephone": _telephone,
    **dict.fromkeys(("fraction",), _fraction),
    **dict.fromkeys(("unit", "currency", "address", "name", "net"), _whole),
}
