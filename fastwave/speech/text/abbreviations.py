"""Abbreviations that end in a full stop, and what they stand for."""

from __future__ import annotations

import re

from fastwave.speech.text.rules import STARTERS, Match, Rule, rule, with_stop, word_after, word_before

TITLES = {  # before a name
    "Mr": "mister", "Mrs": "missus", "Ms": "miz", "Dr": "doctor", "Prof": "professor", "Rev": "reverend",
    "Gen": "general", "Col": "colonel", "Maj": "major", "Capt": "captain", "Lt": "lieutenant", "Sgt": "sergeant",
    "Cpl": "corporal", "Cmdr": "commander", "Adm": "admiral", "Gov": "governor", "Sen": "senator",
    "Rep": "representative", "Pres": "president", "Hon": "honorable", "St": "saint", "Ste": "saint", "Mt": "mount",
    "Ft": "fort", "Fr": "father", "Msgr": "monsignor", "Supt": "superintendent", "Pvt": "private", "Pt": "point",
}  # fmt: skip
ROADS = {  # after a name
    "St": "street", "Ave": "avenue", "Blvd": "boulevard", "Rd": "road", "Dr": "drive", "Ln": "lane", "Ct": "court",
    "Pl": "place", "Sq": "square", "Hwy": "highway", "Pkwy": "parkway", "Ter": "terrace", "Cir": "circle",
}  # fmt: skip
NUMBERED = {  # before a number
    "No": "number", "no": "number", "Nos": "numbers", "nos": "numbers", "Vol": "volume", "vol": "volume",
    "p": "page", "pp": "pages", "pg": "page", "Fig": "figure", "fig": "figure", "Figs": "figures", "Eq": "equation",
    "eq": "equation", "Ch": "chapter", "ch": "chapter", "Sec": "section", "sec": "section", "Art": "article",
    "ca": "circa", "c": "circa", "Apt": "apartment", "apt": "apartment", "Ext": "extension", "ext": "extension",
    "Op": "opus", "op": "opus", "Jan": "january", "Feb": "february", "Mar": "march", "Apr": "april", "Jun": "june",
    "Jul": "july", "Aug": "august", "Sep": "september", "Sept": "september", "Oct": "october", "Nov": "november",
    "Dec": "december", "tel": "telephone", "Tel": "telephone", "Ste": "suite", "v": "version",
}  # fmt: skip
MONTHS = frozenset("Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec".split())
ANYWHERE = {
    "vs": "versus", "etc": "et cetera", "Inc": "incorporated", "Ltd": "limited", "Co": "company",
    "Corp": "corporation", "Dept": "department", "dept": "department", "Univ": "university", "approx": "approximately",
    "est": "established", "misc": "miscellaneous", "Jr": "junior", "Sr": "senior", "Bros": "brothers",
    "Assn": "association", "Govt": "government", "govt": "government", "Intl": "international", "cf": "compare",
    "viz": "namely", "al": "al", "Mon": "monday", "Tue": "tuesday", "Tues": "tuesday", "Wed": "wednesday",
    "Thu": "thursday", "Thur": "thursday", "Thurs": "thursday", "Fri": "friday", "Calif": "california",
    "Mass": "massachusetts", "Conn": "connecticut", "Fla": "florida", "Ariz": "arizona", "Tenn": "tennessee",
    "Okla": "oklahoma", "Penn": "pennsylvania", "Wis": "wisconsin", "Minn": "minnesota", "Messrs": "messers",
    "Mfg": "manufacturing", "Esq": "esquire", "Ph": "P H", "max": "maximum", "avg": "average", "ft": "feet",
    "lbs": "pounds", "hrs": "hours", "mins": "minutes", "oz": "ounces", "mgmt": "management", "temp": "temperature",
    "incl": "including", "excl": "excluding", "orig": "originally", "prob": "probably", "resp": "respectively",
    "assoc": "associate", "Assoc": "associate", "asst": "assistant", "Asst": "assistant", "ed": "editor",
} | {month: name for month, name in NUMBERED.items() if month in MONTHS}  # fmt: skip
ALWAYS = frozenset("Mr Mrs Ms Dr Prof".split())
WITHOUT_STOP = frozenset("Mr Mrs Ms Dr Prof St Mt Ft Sgt Capt Lt".split())  # may also stand without it, "Mr Smith"
BARE = {"vs": "versus", "etc": "et cetera", "approx": "approximately", "lbs": "pounds", "Jr": "junior", "Sr": "senior",
        "Blvd": "boulevard", "Ave": "avenue", "Dept": "department", "w/": "with", "w/o": "without", "b/c": "because",
        "c/o": "care of", "n/a": "not applicable", "N/A": "not applicable", "a/c": "air conditioning"}  # fmt: skip
INITIALS = {"e.g.": "for example", "i.e.": "that is", "a.k.a.": "also known as", "p.s.": "P S", "n.b.": "note well"}
STATES = dict(
    pair.split("=")
    for pair in (
        "AL=alabama AK=alaska AZ=arizona AR=arkansas CA=california CO=colorado CT=connecticut DE=delaware FL=florida "
        "GA=georgia HI=hawaii ID=idaho IL=illinois IN=indiana IA=iowa KS=kansas KY=kentucky LA=louisiana ME=maine "
        "MD=maryland MA=massachusetts MI=michigan MN=minnesota MS=mississippi MO=missouri MT=montana NE=nebraska "
        "NV=nevada NH=new_hampshire NJ=new_jersey NM=new_mexico NY=new_york NC=north_carolina ND=north_dakota OH=ohio "
        "OK=oklahoma OR=oregon PA=pennsylvania RI=rhode_island SC=south_carolina SD=south_dakota TN=tennessee "
        "TX=texas UT=utah VT=vermont VA=virginia WA=washington WV=west_virginia WI=wisconsin WY=wyoming DC=D_C"
    ).split()
)


def stopped(match: Match) -> str | None:
    """Dr. Smith is a doctor, Mill Dr. a road; "No." is a number only before one."""
    word = match[1]
    after = match.string[match.end() : match.end() + 2]
    named = len(after) == 2 and after[0] in " \n" and (after[1].isupper() or after[1] in "'\"")
    numbered = after.lstrip(" \xa0")[:1].isdigit()
    before = word_before(match)
    if (
        word in ROADS
        and _road(before, match)
        and (word not in TITLES or not named or _starts(match) or _numbered(match))
    ):
        return with_stop(ROADS[word], match)
    if word in TITLES and (named or word in ALWAYS):
        return TITLES[word] if named else with_stop(TITLES[word], match)
    if word in NUMBERED and numbered:
        return NUMBERED[word]
    return with_stop(ANYWHERE[word], match) if word in ANYWHERE and not _is_word(word, match) else None


def _starts(match: Match) -> bool:
    """What follows begins a sentence, so that it is no name."""
    return word_after(match).lower() in STARTERS


def _numbered(match: Match) -> bool:
    """A house number stands before the name: 10 Downing St. London."""
    return re.search(r"\d\w? [A-Z]\w+ $", match.string[max(0, match.start() - 24) : match.start()]) is not None


def _road(before: str, match: Match) -> bool:
    ordinal = match.string[max(0, match.start() - 3) : match.start()].strip() in ("st", "nd", "rd", "th")
    return before[:1].isupper() or before in ("st", "nd", "rd", "th") or ordinal


def _is_word(word: str, match: Match) -> bool:
    """Words that are abbreviations only inside a sentence: "He ran to the max." """
    return word in ("max", "al", "ed", "Fri", "temp", "Mon", "Sun") and word_before(match) != "et" and (
        not match.string[match.end() : match.end() + 2].strip().islower()
    )  # fmt: skip


def bare(match: Match) -> str | None:
    word = match[1]
    if word in WITHOUT_STOP:
        after = word_after(match)
        if word in ROADS and _road(word_before(match), match) and not after[:1].isupper():
            return ROADS[word]
        return TITLES[word] if after[:1].isupper() else None
    if word in MONTHS:
        beside = match.string[max(0, match.start() - 3) : match.start()] + match.string[match.end() : match.end() + 3]
        return NUMBERED[word] if any(character.isdigit() for character in beside) else None
    return BARE[word]


def initials(match: Match) -> str:
    """U.S. and J. R. R.: letter by letter, but e.g. in words."""
    if match[0].lower() in INITIALS:
        return INITIALS[match[0].lower()]
    return with_stop(" ".join(letter.upper() for letter in match[0] if letter.isalpha()), match)


def initial(match: Match) -> str | None:
    """J. Smith: the letter of a name, whose stop ends no sentence. "So do I. He": a word."""
    return None if match[1] == "I" and not word_before(match)[:1].isupper() else match[1]


RULES: list[Rule] = [
    rule(r"(?:[A-Za-z]\.){2,}(?!\w)", initials),
    rule(r"Ph\.?D\b\.?", lambda match: with_stop("P H D", match)),
    rule(r"([A-Z])\.(?=\s[A-Za-z])", initial),
    rule(r"([A-Za-z]{1,6})\.(?!\w)", stopped),
    rule(r"(w/o|b/c|c/o|n/a|N/A|a/c|w/)(?!\w)", bare),
    rule("(" + "|".join([*WITHOUT_STOP, *MONTHS, *(word for word in BARE if word.isalpha())]) + r")\b(?![.'])", bare),
    rule(rf"(?<=[a-z],\s)({'|'.join(STATES)})\b", lambda match: STATES[match[1]].replace("_", " ")),
]
