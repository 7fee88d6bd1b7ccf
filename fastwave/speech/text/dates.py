"""Dates, times, years and telephone numbers as words."""

from __future__ import annotations

import re

from fastwave.speech.text.numbers import cardinal, code, digits, ordinal, plural, whole, year
from fastwave.speech.text.rules import Match, Rule, rule, with_stop, word_after, word_before

MONTHS = "january february march april may june july august september october november december".split()
MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)"
)
NOT_PLURAL = frozenset("was is has as its this does says plus minus times us".split())


def date(day: str, month: str, years: str) -> str | None:
    if not (1 <= int(day) <= 31 and 1 <= int(month) <= 12):
        return None
    return f"{MONTHS[int(month) - 1]} {ordinal(str(int(day)))} {year(years)}"


def slashed(match: Match) -> str | None:
    """1/31/2024 as Americans write it; 31/1/2024 cannot be that."""
    first, second, years = match.groups()
    if len(years) == 2:
        years = ("19" if int(years) > 50 else "20") + years
    return date(second, first, years) or date(first, second, years)


def clock(match: Match) -> str | None:
    """15:45, 3:05 pm, 12:00, 1:02:03."""
    hour, minute, second, half = match.groups()
    if int(hour) > 24 or int(minute) > 59:
        return None
    spoken = whole(int(hour))
    if second:
        spoken += f" {_minutes(minute)} and {cardinal(str(int(second)))} second" + ("" if int(second) == 1 else "s")
    elif int(minute):
        spoken += " " + _minutes(minute)
    elif not half:
        spoken += " hundred" if int(hour) > 12 or int(hour) == 0 else " o'clock"
    return with_stop(f"{spoken} {half.upper()} M" if half else spoken, match)


def _minutes(text: str) -> str:
    return ("oh " if 0 < int(text) < 10 else "") + whole(int(text))


def hour(match: Match) -> str | None:
    if not 1 <= int(match[1]) <= 12:
        return None
    return with_stop(f"{whole(int(match[1]))} {match[2].upper()} M", match)


def day_before_month(match: Match) -> str | None:
    """5 January is "the fifth of january"; the month is a word of its own."""
    if not 1 <= int(match[1]) <= 31:
        return None
    return f"{'' if word_before(match).lower() == 'the' else 'the '}{ordinal(match[1])} of"


def day_after_month(match: Match) -> str | None:
    return ordinal(match[0]) if re.fullmatch(MONTH, word_before(match)) and 1 <= int(match[0]) <= 31 else None


def is_year(match: Match) -> bool:
    """Of four digits without a comma: not where things are counted, "1500 people", "1234 cats"."""
    after = word_after(match)
    counted = after.islower() and after.endswith("s") and after not in NOT_PLURAL
    return 1100 <= int(match[0]) <= 2099 and not counted


def years(match: Match) -> str | None:
    first, last = match.groups()
    if not 1000 <= int(first) <= 2100 or (len(last) == 4 and not 1000 <= int(last) <= 2100):
        return None
    return f"{year(first)} to {year(last) if len(last) == 4 else cardinal(last)}"


def decade(match: Match) -> str:
    """1990s, '90s, 1800s, 2010s."""
    return plural(year(match[1]))


def telephone(match: Match) -> str:
    """Its digits, with a pause between groups; an extension as a number."""
    groups = [digits(group) for group in "".join(c if c.isdecimal() else " " for c in match[0]).split()]
    return ("plus " if match[0].startswith("+") else "") + " , ".join(groups)


CODED = frozenset("Flight Room Route Highway Boeing Airbus Interstate Bus Area Studio Suite Apartment Apt".split())
DIALLED = frozenset("call calls called calling dial dials dialed dialled dialling dialing".split())

RULES: list[Rule] = [
    rule(r"(\d{4})-(\d{2})-(\d{2})(?!\d)(?:T(?=\d))?", lambda match: date(match[3], match[2], match[1])),
    rule(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?![\d/])", slashed),
    rule(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?!\d)", lambda match: date(match[1], match[2], match[3])),
    rule(r"(?:\+?1[-. ])?\(\d{3}\) ?\d{3}[-. ]\d{4}(?!\d)", telephone),
    rule(r"(?:\+?1[-. ])?\d{3}([-. ])\d{3}\1\d{4}(?!\d)", telephone),
    rule(r"\+\d{1,3}(?:[ -]?\(?\d{1,5}\)?){2,6}(?!\d)", telephone),
    rule(r"\d{3}-\d{4}(?![\d-])", telephone),
    rule(r"0\d{2,4} \d{3,4} \d{3,4}(?!\d)", telephone),
    rule(r"\d{3}-\d{2}-\d{4}(?!\d)", telephone),
    rule(r"(?:\d{4}[ -]){3}\d{4}(?!\d)", telephone),
    rule(r"(?<=[A-Z][A-Z] )\d{5}(?:-\d{4})?(?![\d,])", telephone),
    rule(r"(\d{1,2}):(\d{2})(?::(\d{2}))?(?![\d:])(?:\s?([aApP])(?:\.[mM]\b\.?|[mM]\b))?", clock),
    rule(r"(\d{1,2})\s?([aApP])(?:\.[mM]\b\.?|[mM]\b)", hour),
    rule(r"(\d{4})[-–](\d{4}|\d{2})(?![\d-])", years),
    rule(r"'?(\d{4}|\d0)'?s\b", decade),
    rule(r"(?<![\w'])'(\d{2})\b(?!')", lambda match: cardinal(match[1])),
    rule(rf"(\d{{1,2}})(?= {MONTH}\b)", day_before_month),
    rule(r"(?<=[a-z.]\s)\d{1,2}(?!\w|[,.:]\d|\s?%)", day_after_month),
    rule(r"(?<![\d.,])\d{4}(?!\d|[,.]\d|\s?%|[A-Za-z])", lambda match: year(match[0]) if is_year(match) else None),
    rule(
        r"(?<=[a-z]\s)\d{3,4}(?![\d,]|\.\d)",
        lambda match: code(match[0]) if word_before(match) in CODED else None,
    ),
    rule(r"\d{3}(?![\d,]|\.\d)", lambda match: digits(match[0]) if word_before(match).lower() in DIALLED else None),
]
