"""Words -> phones for the sentences that a teacher speaks: a dictionary of pronunciations and the weak forms."""

from __future__ import annotations

import random
import re
from pathlib import Path

VOWELS = set("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())
WEAK = {
    "a": "AH0", "an": "AH0 N", "and": "AH0 N D", "of": "AH0 V", "from": "F R AH0 M", "for": "F ER0", "as": "AE0 Z",
    "at": "AE0 T", "but": "B AH0 T", "than": "DH AH0 N", "that": "DH AE0 T", "can": "K AH0 N", "must": "M AH0 S T",
    "was": "W AH0 Z", "were": "W ER0", "has": "HH AE0 Z", "had": "HH AE0 D", "have": "HH AE0 V", "are": "AA0 R",
    "am": "AE0 M", "them": "DH EH0 M", "us": "AH0 S", "some": "S AH0 M", "your": "Y AO0 R", "or": "AO0 R",
    "could": "K UH0 D", "would": "W UH0 D", "should": "SH UH0 D", "you": "Y UW0", "her": "HH ER0",
}  # fmt: skip
# These lose their stress and keep their vowels.
UNSTRESSED = set(
    "i me my we our he him his she it its they their who in on by with be been is if so this do does did will shall "
    "may might there i'm i've i'll you're he's she's it's we're they're that's into nor".split()
)


class Lexicon:
    """A dictionary of pronunciations in ARPAbet."""

    def __init__(self, phones: dict[str, tuple[str, ...]]) -> None:
        self._phones = phones
        self.common_shape = [word for word in phones if re.fullmatch("[a-z]{3,10}", word)]

    @classmethod
    def read(cls, path: Path) -> Lexicon:
        """Lines of `"word": "P H O1 N Z"` or `word  P H O1 N Z`; later pronunciations of a word are left out."""
        phones = {}
        for line in path.read_text(errors="replace").splitlines():
            match = re.fullmatch(r"""\s*["']?([A-Za-z'.-]+)["']?:?\s+["']?([A-Z0-2 ]+?)["']?,?\s*(#.*)?""", line)
            if match:
                phones.setdefault(match.group(1).lower(), tuple(match.group(2).split()))
        return cls(phones)

    def __contains__(self, word: str) -> bool:
        return word in self._phones

    @staticmethod
    def words(text: str) -> list[str]:
        """The words of a sentence, in lower case."""
        return re.findall(r"[a-z]+(?:'[a-z]+)*", text.lower())

    def phones(self, words: list[str], draw: random.Random) -> list[tuple[str, ...]]:
        """Pronunciations in context; weak forms nine times in ten, so that strong ones are heard too."""
        spoken: list[tuple[str, ...]] = []
        for index, word in enumerate(words):
            following = self._phones[words[index + 1]] if index + 1 < len(words) else ("",)
            vowel_follows, final = following[0][:2] in VOWELS, index + 1 == len(words)
            if word == "the":
                phones: tuple[str, ...] = ("DH", "IY0" if vowel_follows else "AH0")
            elif word == "to" and not final:
                phones = ("T", "UW0" if vowel_follows else "AH0")
            elif word in WEAK and not final and draw.random() < 0.9:
                phones = tuple(WEAK[word].split())
            elif word in UNSTRESSED and not final and draw.random() < 0.9:
                phones = tuple(re.sub("[12]", "0", phone) for phone in self._phones[word])
            else:
                phones = self._phones[word]
            spoken.append(phones)
        return spoken
