"""Words made of known ones: generalise by its American spelling, rewatch by its prefix, smartwatch by its halves."""

from __future__ import annotations

import re

from fastwave.speech.text.lexicon import Phones, exact, inflected, pronounce

AMERICAN = [  # British endings
    (r"is(e|ed|es|er|ers|ing|ation|ations)$", r"iz\1"),
    (r"ys(e|ed|es|er|ers|ing)$", r"yz\1"),
    (r"our(s|ed|ing|able|ful|less|ite|ites)?$", r"or\1"),
    (r"(.[bt])re(s?)$", r"\1er\2"),
    (r"ogue(s?)$", r"og\1"),
    (r"ll(ed|ing|er|ers)$", r"l\1"),
    (r"aem", r"em"),
    (r"oe(?=[a-z]{3})", r"e"),
]
PREFIXES = {
    prefix: tuple(phones.split())
    for prefix, phones in {
        "anti": "AE2 N T IY0", "co": "K OW2", "counter": "K AW2 N T ER0", "de": "D IY0", "dis": "D IH0 S",
        "hyper": "HH AY2 P ER0", "inter": "IH2 N T ER0", "mega": "M EH2 G AH0", "micro": "M AY2 K R OW0",
        "mini": "M IH2 N IY0", "mis": "M IH0 S", "multi": "M AH2 L T IY0", "non": "N AA2 N", "out": "AW2 T",
        "over": "OW2 V ER0", "post": "P OW2 S T", "pre": "P R IY2", "re": "R IY0", "semi": "S EH2 M IY0",
        "sub": "S AH2 B", "super": "S UW2 P ER0", "trans": "T R AE0 N Z", "ultra": "AH2 L T R AH0", "un": "AH0 N",
        "under": "AH2 N D ER0",
    }.items()
}  # fmt: skip
SHORTEST = 4  # letters of a half; shorter ones are found in any name


def composed(word: str) -> Phones | None:
    """The phones of a word that the lexicon can only make of others; None where it cannot."""
    for pattern, ending in AMERICAN:
        other = re.sub(pattern, ending, word)
        phones = pronounce(other) if other != word else None
        if phones:
            return phones
    return _of_parts(word) or inflected(word, _of_parts)


def _of_parts(word: str) -> Phones | None:
    for prefix, phones in PREFIXES.items():
        rest = word.removeprefix(prefix)
        if len(rest) >= SHORTEST and rest != word:
            stem = exact(rest)
            if stem:
                return phones + stem
    middle = len(word) / 2
    for place in sorted(range(SHORTEST, len(word) - SHORTEST + 1), key=lambda place: abs(place - middle)):
        first, second = exact(word[:place]), exact(word[place:])
        if first and second:
            return first + tuple(phone.replace("1", "2") for phone in second)
    return None
