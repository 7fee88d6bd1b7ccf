"""Words of one spelling and two pronunciations: the neighbours tell a noun from a verb, and a few special cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastwave.speech.phones import PAUSES
from fastwave.speech.text.lexicon import Phones, join, pronounce

PAIRS = {  # as a noun or adjective / as a verb
    "record": "R EH1 K ER0 D / R IH0 K AO1 R D",
    "use": "Y UW1 S / Y UW1 Z",
    "object": "AA1 B JH EH0 K T / AH0 B JH EH1 K T",
    "present": "P R EH1 Z AH0 N T / P R IY0 Z EH1 N T",
    "permit": "P ER1 M IH2 T / P ER0 M IH1 T",
    "project": "P R AA1 JH EH0 K T / P R AH0 JH EH1 K T",
    "produce": "P R OW1 D UW0 S / P R AH0 D UW1 S",
    "progress": "P R AA1 G R EH2 S / P R AH0 G R EH1 S",
    "protest": "P R OW1 T EH2 S T / P R AH0 T EH1 S T",
    "rebel": "R EH1 B AH0 L / R IH0 B EH1 L",
    "refund": "R IY1 F AH2 N D / R IH0 F AH1 N D",
    "reject": "R IY1 JH EH0 K T / R IH0 JH EH1 K T",
    "subject": "S AH1 B JH IH0 K T / S AH0 B JH EH1 K T",
    "suspect": "S AH1 S P EH2 K T / S AH0 S P EH1 K T",
    "survey": "S ER1 V EY2 / S ER0 V EY1",
    "transfer": "T R AE1 N S F ER0 / T R AE0 N S F ER1",
    "transport": "T R AE1 N S P AO0 R T / T R AE0 N S P AO1 R T",
    "conduct": "K AA1 N D AH0 K T / K AH0 N D AH1 K T",
    "conflict": "K AA1 N F L IH0 K T / K AH0 N F L IH1 K T",
    "contest": "K AA1 N T EH0 S T / K AH0 N T EH1 S T",
    "contract": "K AA1 N T R AE2 K T / K AH0 N T R AE1 K T",
    "contrast": "K AA1 N T R AE0 S T / K AH0 N T R AE1 S T",
    "convert": "K AA1 N V ER0 T / K AH0 N V ER1 T",
    "convict": "K AA1 N V IH0 K T / K AH0 N V IH1 K T",
    "converse": "K AA1 N V ER0 S / K AH0 N V ER1 S",
    "decrease": "D IY1 K R IY2 S / D IH0 K R IY1 S",
    "desert": "D EH1 Z ER0 T / D IH0 Z ER1 T",
    "export": "EH1 K S P AO0 R T / IH0 K S P AO1 R T",
    "extract": "EH1 K S T R AE2 K T / IH0 K S T R AE1 K T",
    "import": "IH1 M P AO2 R T / IH2 M P AO1 R T",
    "impact": "IH1 M P AE0 K T / IH2 M P AE1 K T",
    "incline": "IH1 N K L AY0 N / IH2 N K L AY1 N",
    "increase": "IH1 N K R IY2 S / IH2 N K R IY1 S",
    "insult": "IH1 N S AH2 L T / IH2 N S AH1 L T",
    "insert": "IH1 N S ER2 T / IH2 N S ER1 T",
    "perfect": "P ER1 F IH2 K T / P ER0 F EH1 K T",
    "refuse": "R EH1 F Y UW2 Z / R IH0 F Y UW1 Z",
    "abuse": "AH0 B Y UW1 S / AH0 B Y UW1 Z",
    "excuse": "IH0 K S K Y UW1 S / IH0 K S K Y UW1 Z",
    "misuse": "M IH0 S Y UW1 S / M IH0 S Y UW1 Z",
    "house": "HH AW1 S / HH AW1 Z",
    "attribute": "AE1 T R AH0 B Y UW2 T / AH0 T R IH1 B Y UW2 T",
    "compound": "K AA1 M P AW0 N D / K AH0 M P AW1 N D",
    "console": "K AA1 N S OW0 L / K AH0 N S OW1 L",
    "digest": "D AY1 JH EH0 S T / D AY0 JH EH1 S T",
    "discount": "D IH1 S K AW0 N T / D IH0 S K AW1 N T",
    "escort": "EH1 S K AO0 R T / EH0 S K AO1 R T",
    "combine": "K AA1 M B AY0 N / K AH0 M B AY1 N",
    "compress": "K AA1 M P R EH0 S / K AH0 M P R EH1 S",
    "construct": "K AA1 N S T R AH0 K T / K AH0 N S T R AH1 K T",
    "defect": "D IY1 F EH0 K T / D IH0 F EH1 K T",
    "detail": "D IY1 T EY0 L / D IH0 T EY1 L",
    "exploit": "EH1 K S P L OY2 T / EH2 K S P L OY1 T",
    "upgrade": "AH1 P G R EY1 D / AH0 P G R EY1 D",
    "update": "AH1 P D EY2 T / AH0 P D EY1 T",
    "addict": "AE1 D IH2 K T / AH0 D IH1 K T",
    "address": "AE1 D R EH2 S / AH0 D R EH1 S",
    "ally": "AE1 L AY0 / AH0 L AY1",
    "resume": "R EH1 Z AH0 M EY2 / R IH0 Z UW1 M",
    "recall": "R IY1 K AO2 L / R IH0 K AO1 L",
    "refill": "R IY1 F IH0 L / R IY0 F IH1 L",
    "torment": "T AO1 R M EH2 N T / T AO0 R M EH1 N T",
    "segment": "S EH1 G M AH0 N T / S EH2 G M EH1 N T",
}
ENDING_IN_ATE = frozenset(  # K AH0 T as a noun or adjective, K EY2 T as a verb
    "separate estimate graduate alternate appropriate deliberate duplicate elaborate moderate associate delegate "
    "advocate coordinate intimate animate approximate aggregate articulate affiliate subordinate designate".split()
)
VERBS = frozenset(  # verbs more often than nouns, where the neighbours say nothing
    "use permit produce reject refuse transfer convert convict insert excuse combine construct resume converse recall "
    "separate coordinate compress exploit".split()
)
BEFORE_VERB = frozenset(
    "to will would can could should must may might shall cannot do does did i you we they who please not never always "
    "often also let's help let just didn't don't doesn't won't can't couldn't wouldn't shouldn't i'll you'll we'll "
    "they'll he'll she'll it'll i'd you'd we'd they'd and/or then".split()
)
BEFORE_THIRD_PERSON = frozenset("he she it who which that this everyone nobody someone".split())
BEFORE_NOUN = frozenset(
    "a an the this that these those my your his her its our their some any no each every another one of in on at with "
    "for from by about into under without first last new old good best great high world own public whose more most "
    "what which is was are were am be very".split()
)
OBJECTS = frozenset("the a an my your his her its our their it them him me us this that these those all".split())
BEING = frozenset("is was are were am be been being i'm it's he's she's we're you're they're isn't wasn't".split())
HAVING = frozenset("have has had having i've you've we've they've he'd she'd they'd haven't hasn't hadn't".split())
PLACES = frozenset("in at on with near here there by under for together alone without among next up".split())


@dataclass(frozen=True)
class Place:
    """Where a word stands: its neighbours, words in lower case or marks of PAUSES, and all words of its sentence."""

    before: str
    after: str
    words: frozenset[str]
    capital: bool = False  # it begins with a capital, though no sentence begins with it

    def verb(self, otherwise: bool, third_person: bool = False) -> bool:
        if third_person:
            if self.before in BEFORE_THIRD_PERSON:
                return True
        elif self.before in BEFORE_VERB or self.before.endswith(("n't", "'ll")):
            return True
        if self.before in BEFORE_NOUN or self.before.endswith("'s"):
            return False
        return otherwise or self.after in OBJECTS


def homograph(word: str, place: Place) -> Phones | None:
    """The phones of a homograph at its place in a sentence; None for other words."""
    if word in SPECIAL:
        return tuple(SPECIAL[word](place).split())
    stem = word[:-1] if word.endswith("s") else word
    third_person = stem != word
    if stem in PAIRS:
        forms = PAIRS[stem].split(" / ")
        phones = tuple(forms[place.verb(stem in VERBS, third_person)].split())
        return join(phones, ("Z",)) if third_person else phones
    if stem in ENDING_IN_ATE:
        verb = place.verb(stem in VERBS, third_person)
        phones = (*(pronounce(stem) or ())[:-2], "EY2" if verb else "AH0", "T")
        return join(phones, ("Z",)) if third_person else phones
    return None


def _live(place: Place) -> str:
    adjective = place.before in {"a", "the", "go", "goes", "going", "went", "broadcast", *BEING}
    return "L AY1 V" if adjective and place.after not in PLACES else "L IH1 V"


def _lives(place: Place) -> str:
    verb = place.before in BEFORE_THIRD_PERSON or place.after in PLACES
    return "L IH1 V Z" if verb else "L AY1 V Z"


def _read(place: Place) -> str:
    """Past after have, be, he or she, or beside a word for the past."""
    past = place.before in BEING | HAVING | {"he", "she", "it", "already", "ever", "just"}
    past = past or bool(
        place.words & {"yesterday", "ago", "last"} and place.before not in {"to", "did", "didn't", "will"}
    )
    return "R EH1 D" if past else "R IY1 D"


def _close(place: Place) -> str:
    if place.before in PAUSES or place.before in BEFORE_VERB or place.after in OBJECTS - {"to"}:
        return "K L OW1 Z"
    return "K L OW1 S"


def _lead(place: Place) -> str:
    metal = place.after in {"pipe", "pipes", "paint", "poisoning", "acid", "bullet", "bullets", "ore"}
    return "L EH1 D" if metal or place.before in {"contains", "containing", "heavy", "like"} else "L IY1 D"


def _wind(place: Place) -> str:
    turned = place.after in {"up", "down", "it", "the", "through", "around", "back"}
    return "W AY1 N D" if turned and place.before not in BEFORE_NOUN else "W IH1 N D"


def _tear(place: Place) -> str:
    torn = place.before in BEFORE_VERB or place.after in {"up", "down", "apart", "off", "it", "the", "in", "out"}
    return "T EH1 R" if torn else "T IH1 R"


def _used(place: Place) -> str:
    return "Y UW1 S T" if place.after == "to" and place.before not in BEING - {"i'm"} else "Y UW1 Z D"


def _content(place: Place) -> str:
    glad = place.before in BEING | {"feel", "felt", "quite", "very", "seems", "perfectly"} or place.after == "with"
    return "K AH0 N T EH1 N T" if glad else "K AA1 N T EH0 N T"


SPECIAL: dict[str, Callable[[Place], str]] = {
    "live": _live,
    "lives": _lives,
    "read": _read,
    "close": _close,
    "lead": _lead,
    "wind": _wind,
    "tear": _tear,
    "used": _used,
    "content": _content,
    "winds": lambda place: "W IH1 N D Z",
    "tears": lambda place: "T IH1 R Z",
    "leads": lambda place: "L IY1 D Z",
    "bow": lambda place: "B AW1" if place.before in BEFORE_VERB or place.after in {"to", "down"} else "B OW1",
    "bass": lambda place: "B AE1 S" if place.words & {"fish", "fishing", "lake", "caught"} else "B EY1 S",
    "wound": lambda place: "W AW1 N D" if place.after in {"up", "around", "down", "its", "through"} else "W UW1 N D",
    "dove": lambda place: "D OW1 V" if place.after in {"into", "in", "under"} else "D AH1 V",
    "polish": lambda place: "P OW1 L IH0 SH" if place.capital else "P AA1 L IH0 SH",
    "minute": lambda place: "M IH1 N AH0 T",
    "sow": lambda place: "S OW1",
    "invalid": lambda place: "IH2 N V AE1 L AH0 D",
    "upset": lambda place: "AH0 P S EH1 T",
    "does": lambda place: "D AH1 Z",
    "learned": lambda place: "L ER1 N D",
    "complex": lambda place: "K AA1 M P L EH0 K S",
    "compact": lambda place: "K AA1 M P AE0 K T" if place.before in BEFORE_NOUN - BEING else "K AH0 M P AE1 K T",
    "research": lambda place: "R IY1 S ER0 CH",
    "finance": lambda place: "F AY1 N AE2 N S",
    "concert": lambda place: "K AA1 N S ER0 T",
}
