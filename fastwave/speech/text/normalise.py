"""Text -> tokens: numbers, abbreviations and symbols as words, punctuation as pauses.

At every place of the text the first rule that matches there says what is spoken; a character that no rule knows is
passed over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastwave.speech.text import abbreviations, dates, quantities, symbols, web, words
from fastwave.speech.text.fold import fold
from fastwave.speech.text.lexicon import pronounce
from fastwave.speech.text.numbers import whole
from fastwave.speech.text.rules import Match, Rule, quotes_before, rule
from fastwave.speech.text.tokens import Token

NEAR = 40  # characters within which a quotation of a word or two ends
HEADING = 60  # characters; a shorter line without punctuation is a sentence if the next begins with a capital


def tokens(text: str, places: Sequence[int] | None = None) -> list[Token]:
    """The words and pauses of `text`. `places` are the places of its characters in a longer input."""
    plain, where = fold(text, places)
    result: list[Token] = []
    place = 0
    while place < len(plain):
        end, spoken = _say(plain, place)
        result += [Token(word, where[place], where[end - 1] + 1) for word in spoken.split()]
        place = end
    return result


def _say(plain: str, place: int) -> tuple[int, str]:
    character = plain[place]
    if character == " ":
        return place + 1, ""
    for pattern, say in LETTERS if character.isascii() and character.isalpha() else OTHERS:
        match = pattern.match(plain, place)
        if match and match.end() > place:
            spoken = say(match)
            if spoken is not None:
                return match.end(), spoken
    return place + 1, ""


def stop(match: Match) -> str:
    """A full stop ends a sentence before white space, a bracket or a capital, but not after an unknown abbreviation."""
    rest = match.string[match.end() : match.end() + 12]
    if rest and rest[0].islower():
        return "dot"
    after = rest.lstrip(" \"')]")
    before = word_before_stop(match)
    if after[:1].islower() and 0 < len(before) < 5 and before.islower() and not pronounce(before):
        return ""
    return "."


def word_before_stop(match: Match) -> str:
    before = re.search(r"[A-Za-z]+$", match.string[max(0, match.start() - 12) : match.start()])
    return before[0] if before else ""


def ellipsis(match: Match) -> str:
    after = match.string[match.end() : match.end() + 12].lstrip(" \"')]\n")
    return "." if not after or after[0].isupper() else ","


def quote(match: Match) -> str:
    """A pause around what is quoted, but not around a word or two."""
    if quotes_before(match) % 2:
        quoted = match.string[max(0, match.start() - NEAR) : match.start()].rpartition('"')[2]
    else:
        quoted = match.string[match.end() : match.end() + NEAR].partition('"')[0]
    return "," if quoted.count(" ") > 1 else ""


def line_end(match: Match) -> str:
    """A heading or an item of a list is a sentence, even without its full stop."""
    line = match.string[max(0, match.start() - HEADING) : match.start()].rpartition("\n")[2].strip()
    after = match.string[match.end() : match.end() + 40].lstrip(" ")
    item = re.match(r"[-*•] |\d{1,2}[.)] ", after)
    return "." if item or (line and len(line) < HEADING and line[-1] not in ",;:-" and after[:1].isupper()) else ""


PUNCTUATION: list[Rule] = [
    rule(r"\n[ \t]*\n\s*", "."),
    rule(r"\n", line_end),
    rule(r"(?<=\n)[-*•] ", ""),
    rule(r"(?<![^\n])(\d{1,2})[.)] ", lambda match: f"{whole(int(match[1]))} ,"),
    rule(r"\.{2,}", ellipsis),
    rule(r"[?!.]*\?[?!]*", "?"),
    rule(r"!+", "!"),
    rule(r"\.", stop),
    rule(r"[,;:]", ","),
    rule(r"\"", quote),
    rule(r"(?<=\s)[-|]+(?=\s)|--+|–", ","),
    rule(r"[()\[\]{}]", ","),
    rule(r"(?<=\d)/(?=[A-Za-z])", "per"),
    rule(r"(?<=[A-Za-z])/(?=[A-Za-z])", "slash"),
]
LETTERS = [words.PLAIN, *web.RULES, *abbreviations.RULES, *quantities.RULES, *symbols.RULES, *words.RULES]
OTHERS = [*web.RULES, *dates.RULES, *quantities.RULES, *symbols.RULES, *words.RULES, *PUNCTUATION]
