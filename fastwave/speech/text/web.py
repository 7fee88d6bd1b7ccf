"""Addresses of pages and mail, file names, hashtags and handles as words."""

from __future__ import annotations

import re

from fastwave.speech.text.lexicon import pronounce
from fastwave.speech.text.numbers import cardinal, digits
from fastwave.speech.text.rules import Match, Rule, rule

ENDINGS = "com|org|net|edu|gov|mil|int|info|io|ai|app|dev|co|uk|us|ca|de|fr|eu|jp|au|nz|tv|me|biz|ch|nl|se|no|ru|in"
SIGNS = {".": "dot", "/": "slash", "-": "dash", "_": "underscore", "@": "at", ":": "colon", "?": "question mark",
         "=": "equals", "&": "and", "#": "hash", "%": "percent", "+": "plus", "~": "tilde", ",": "comma"}  # fmt: skip
COMMON = frozenset(
    "a i is it in on at to of or my we us me be by do go he no so up am an as if com org net gov edu mil info".split()
)


def spelled(match: Match) -> str:
    """Every word and sign of an address; the scheme and a final slash are left out."""
    text = re.sub(r"^[a-z]+://|/$", "", match[0], flags=re.IGNORECASE)
    return " ".join(spoken for piece in re.findall(r"[A-Za-z]+|\d+|.", text) for spoken in [_piece(piece)] if spoken)


def _piece(piece: str) -> str:
    if piece.isdecimal():
        return cardinal(piece) if len(piece) < 3 else digits(piece)
    if piece.isalpha() and piece.isascii():
        return parts(piece)
    return SIGNS.get(piece, "")


def parts(text: str) -> str:
    """A word of an address or a tag: in lower case, parted at capitals, spelled where it is no word."""
    pieces = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", text)
    if len(pieces) > 1:
        return " ".join(cardinal(piece) if piece.isdecimal() else parts(piece) for piece in pieces)
    if text.isdecimal():
        return cardinal(text)
    word = text.lower()
    known = word in COMMON or (len(word) > 2 and pronounce(word))
    speakable = len(word) > 4 and re.search("[aeiouy]", word)
    return word if known or speakable else " ".join(text.upper())


def hashtag(match: Match) -> str:
    return "hashtag " + " ".join(parts(piece) for piece in match[1].split("_") if piece)


def _initials(text: str) -> bool:
    return all(len(part) < 2 for part in text.split("."))


RULES: list[Rule] = [
    rule(r"[\w.+-]{0,64}[A-Za-z\d]@[A-Za-z\d-]{1,63}(?:\.[A-Za-z\d-]{1,63}){1,8}", spelled),
    rule(r"(?:https?|ftp)://[^\s<>\"')\]]*[^\s<>\"')\].,;:!?]", spelled, re.IGNORECASE),
    rule(r"www\.[^\s<>\"')\]]*[^\s<>\"')\].,;:!?]", spelled, re.IGNORECASE),
    rule(rf"(?:[A-Za-z\d-]{{1,63}}\.){{1,8}}(?:{ENDINGS})\b(?:/[^\s<>\"')\]]*[^\s<>\"')\].,;:!?])?(?!\.?\w)", spelled),
    rule(r"[A-Za-z]\w*(?:\.[a-z_]\w*)+", lambda match: None if _initials(match[0]) else spelled(match)),
    rule(r"#([A-Za-z]\w*)", hashtag),
    rule(r"#(?=\d)", "number"),
    rule(r"(?<!\w)@(\w+)", lambda match: "at " + " ".join(_piece(p) for p in re.findall(r"[A-Za-z]+|\d+", match[1]))),
]
