"""Plain words, acronyms and roman numerals."""

from __future__ import annotations

import functools
import re

from fastwave.speech.text.abbreviations import BARE
from fastwave.speech.text.lexicon import entries, pronounce
from fastwave.speech.text.numbers import ordinal, whole
from fastwave.speech.text.rules import Match, Rule, rule, word_after, word_before

EMPHASISED = frozenset(  # short words that are written in capitals to be loud
    "the and not no yes you all now new one two is are was my me so go stop never do don't but or be he she we they "
    "his her why how out off up on in of at for to by if can can't will did has had our your too day man big bad good "
    "let get got see say any own way old am ok oh ah hey wow boo ha hi lol yay ugh hmm huh eek yo".split()
)
SPELLED = frozenset("ymca html http https ieee uefa aaa aaas faq eula ioc iot eeoc icu ucla usda usaf iou aol".split())
KINGS = frozenset(
    "henry louis elizabeth george charles james edward richard john paul pius benedict leo gregory napoleon william "
    "mary philip alexander ivan nicholas peter catherine otto frederick ferdinand innocent clement urban felipe "
    "margaret ramses xerxes darius ptolemy francis joseph leopold albert harald haakon gustav carl christian baldwin "
    "boniface julius sixtus umberto victor emmanuel pedro alfonso juan robert david wilhelm friedrich mehmed "
    "suleiman murad selim rama cleopatra tiberius constantine theodosius justinian basil michael".split()
)
COUNTED = frozenset(
    "war chapter part volume act scene book phase type class level section article title bowl fantasy rocky mark stage "
    "grade group episode season figure table appendix apollo gemini unit step round division psalm henry".split()
)
ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
FOLLOWS_KING = re.compile(r"'s|\s*[^\w\s']|\s*$|\s(?:of|was|and|is|had|in|to|the)\b")
NUMERAL = re.compile(r"(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")


def word(match: Match) -> str:
    text = match[0]
    stem, apostrophe, suffix = text.partition("'s")
    if stem.isupper():
        numeral = roman(match, stem)
        if numeral:
            return numeral + (apostrophe + suffix)
        return capitals(match, text)
    if re.fullmatch(r"[A-Z]{2,}s", text) and not pronounce(text.lower()):  # TVs
        return " ".join(text[:-1]) + "'s"
    if len(text) == 1:
        return text if text == "a" else text.upper()
    if re.search(r"[a-z][A-Z]|[A-Z]{2}[a-z]{2}", text) and not pronounce(text.lower()):  # a name of several words, iPad
        pieces = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z']+", text)
        return " ".join(" ".join(piece) if piece.isupper() else piece.lower() for piece in pieces)
    lower = text.lower()
    if (
        re.fullmatch(r"[bcdfghjklmnpqrstvwxz]{2,5}", lower)
        and not pronounce(lower)
        and lower not in SOUNDS
        and not TRIPLE.search(lower)
    ):
        return " ".join(lower.upper())
    return lower


TRIPLE = re.compile(r"(.)\1\1")
SOUNDS = {"hmm", "mmm", "shh", "psst", "pfft", "brr", "grr", "tsk", "zzz", "hm", "sh", "mm"}


def capitals(match: Match, text: str) -> str:
    """One letter, an acronym that is spelled or spoken, or a word that is shouted."""
    stem, _, suffix = text.partition("'")
    lower = text.lower()
    if len(stem) == 1:
        return _letter(match, text)
    if lower in EMPHASISED or (pronounce(lower) and _shouted(_line(match))):
        return lower
    speakable = re.search("[AEIOUY]", stem) and re.search("[^AEIOUY]", stem) and stem.lower() not in SPELLED
    if len(stem) > 3 and speakable and (pronounce(stem.lower()) or len(stem) > 4):
        return lower
    return " ".join(stem) + ("'" + suffix.lower() if suffix else "")


def _letter(match: Match, text: str) -> str:
    if text == "I" or text.startswith("I'"):
        return text.lower()
    if text == "A" and (not word_before(match) or word_before(match).islower()) and word_after(match):
        before = match.string[max(0, match.start() - 1) : match.start()]
        return "A" if before == "-" or word_before(match) in ("vitamin", "plan", "grade", "type", "letter") else "a"
    return text[0] + text[1:].lower()


def _line(match: Match) -> str:
    start = match.string.rfind("\n", max(0, match.start() - 300), match.start()) + 1
    end = match.string.find("\n", match.end(), match.end() + 300)
    return match.string[
        max(start, match.start() - 300) : min(end if end >= 0 else len(match.string), match.end() + 300)
    ]


@functools.lru_cache(maxsize=64)
def _shouted(line: str) -> bool:
    """Its words of two letters or more are in capitals, or most of them and more than two."""
    words = re.findall(r"[A-Za-z]{2,}", line)
    loud = sum(text.isupper() for text in words)
    return bool(loud > 1 and loud == len(words)) or bool(loud > 2 and 2 * loud > len(words))


def roman(match: Match, text: str) -> str | None:
    """Henry VIII is "henry the eighth", Chapter IV "chapter four", the XIX century "nineteenth"."""
    if not text or not NUMERAL.fullmatch(text):
        return None
    values = [ROMAN[letter] for letter in text]
    value = sum(-one if one < after else one for one, after in zip(values, [*values[1:], 0], strict=True))
    before = word_before(match)
    if word_after(match).lower() in ("century", "centuries"):
        return ordinal(str(value))
    if not before[:1].isupper() or match.string[match.start() - 1 : match.start()] != " ":
        return None
    name = before.lower()
    if text == "I" and name not in COUNTED and not FOLLOWS_KING.match(match.string, match.end()):
        return None
    if name in KINGS and value < 40:
        return "the " + ordinal(str(value))
    if name in COUNTED or (len(text) > 1 and value < 40 and not before.isupper()):
        return whole(value)
    return None


def plain(match: Match) -> str | None:
    """Most words of a text; asked first, for speed."""
    return match[0] if match[0] in entries() and match[0] not in BARE else None


PLAIN = rule(r"(?<![\w'])[a-z]{3,}(?=[ ,;?!\n]|:\s|$)", plain)
RULES: list[Rule] = [
    rule(r"[A-Z]{1,2}&[A-Z]{1,2}\b", lambda match: " ".join(match[0]).replace("&", "and")),
    rule(r"C\+\+", "C plus plus"),
    rule(r"([A-G])#(?!\w)", lambda match: f"{match[1]} sharp"),
    rule(r"(?<![\w'])'(?:em|til|tis|twas|cause|bout|round)\b", lambda match: match[0].lower()),
    rule(r"(?<!\w)'n'", "and"),
    rule(r"[A-Za-z]{2,}in'(?=\s)", lambda match: match[0].lower() if pronounce(match[0].lower()) else None),
    rule(r"[A-Za-z]+(?:'[A-Za-z]+)*(?=\d)", lambda match: letters_of_code(match[0])),
    rule(r"(?<=\d)[A-Za-z]{1,2}\b", lambda match: " ".join(match[0].upper())),
    rule(r"[A-Za-z]+(?:'[A-Za-z]+)*", word),
]


def letters_of_code(text: str) -> str:
    return " ".join(text.upper()) if len(text) < 4 or text.isupper() else text.lower()
