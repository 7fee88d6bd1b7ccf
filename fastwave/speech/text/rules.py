"""What a rule of the normaliser is: a pattern, and what is said for its match."""

from __future__ import annotations

import bisect
import functools
import re
from collections.abc import Callable

Match = re.Match[str]
Rule = tuple[re.Pattern[str], Callable[[Match], str | None]]  # None: the rule does not hold here

NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
STARTERS = frozenset(
    "the a an he she it we they i you this that these those there in on at but and so when if as my his her its our "
    "their what who why how then now yes no not all some many most one for after before from with however".split()
)


def rule(pattern: str, say: Callable[[Match], str | None] | str, flags: int = 0) -> Rule:
    """A rule that says the same for every match, or what a function makes of it."""
    return re.compile(pattern, flags), (lambda match: say) if isinstance(say, str) else say


@functools.lru_cache(maxsize=4)
def _quotes(text: str) -> list[int]:
    return [place for place, character in enumerate(text) if character == '"']


def quotes_before(match: Match) -> int:
    return bisect.bisect_left(_quotes(match.string), match.start())


def word_before(match: Match) -> str:
    """The word just before the match, with nothing but one space or hyphen between; "" where there is none."""
    before = re.search(r"([A-Za-z']+)\.?[ \n-]$", match.string[max(0, match.start() - 24) : match.start()])
    return before[1] if before else ""


def word_after(match: Match) -> str:
    after = re.match(r"[ \n-]([A-Za-z']+)", match.string[match.end() : match.end() + 24])
    return after[1] if after else ""


def with_stop(spoken: str, match: Match) -> str:
    """An abbreviation whose full stop may also end the sentence, as it does at the end and before "The"."""
    rest = match.string[match.end() : match.end() + 24]
    after = re.match(r"[\"')\]]*\s+[\"'(]*([A-Z][a-z']*)\b", rest)
    ended = not rest.strip(" \"')]\n") or rest.startswith("\n\n") or (after and after[1].lower() in STARTERS)
    return f"{spoken} ." if match[0].endswith(".") and ended else spoken
