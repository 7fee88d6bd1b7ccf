"""Weak forms: how little words sound in running speech. Before a pause they are strong, as in "What for?"."""

from __future__ import annotations

from fastwave.speech.phones import PAUSES, VOWELS
from fastwave.speech.text.lexicon import Phones, pronounce

FORMS = {
    word: tuple(phones.split())
    for word, phones in {
        "a": "AH0",
        "am": "AE0 M",
        "an": "AH0 N",
        "and": "AH0 N D",
        "are": "AA0 R",
        "as": "AE0 Z",
        "at": "AE0 T",
        "be": "B IY0",
        "been": "B IH0 N",
        "but": "B AH0 T",
        "can": "K AH0 N",
        "could": "K UH0 D",
        "do": "D UW0",
        "does": "D AH0 Z",
        "for": "F ER0",
        "from": "F R AH0 M",
        "had": "HH AE0 D",
        "has": "HH AE0 Z",
        "have": "HH AE0 V",
        "he": "HH IY0",
        "her": "HH ER0",
        "him": "HH IH0 M",
        "his": "HH IH0 Z",
        "in": "IH0 N",
        "is": "IH0 Z",
        "it": "IH0 T",
        "its": "IH0 T S",
        "just": "JH AH0 S T",
        "me": "M IY0",
        "must": "M AH0 S T",
        "my": "M AY0",
        "of": "AH0 V",
        "on": "AA0 N",
        "or": "AO0 R",
        "our": "AW0 ER0",
        "she": "SH IY0",
        "should": "SH UH0 D",
        "some": "S AH0 M",
        "than": "DH AH0 N",
        "that": "DH AH0 T",
        "the": "DH AH0",
        "their": "DH EH0 R",
        "them": "DH AH0 M",
        "there": "DH EH0 R",
        "they": "DH EY0",
        "to": "T AH0",
        "us": "AH0 S",
        "was": "W AH0 Z",
        "we": "W IY0",
        "were": "W ER0",
        "will": "W IH0 L",
        "with": "W IH0 DH",
        "would": "W UH0 D",
        "you": "Y UW0",
        "your": "Y AO0 R",
    }.items()
}
STRONG = {  # where the lexicon has a weak form, or one that is seldom heard
    "a": ("EY1",),
    "the": ("DH", "IY1"),
    "to": ("T", "UW1"),
    "for": ("F", "AO1", "R"),
    "you": ("Y", "UW1"),
    "and": ("AE1", "N", "D"),
    "an": ("AE1", "N"),
    "of": ("AH1", "V"),
    "was": ("W", "AA1", "Z"),
    "our": ("AW1", "ER0"),
    "him": ("HH", "IH1", "M"),
    "them": ("DH", "EH1", "M"),
}
BEFORE_VOWEL = {"the": ("DH", "IY0"), "to": ("T", "UW0")}
SUBJECTS = set("i you he she it we they there this that these those someone everyone nobody".split())
ARTICLES = set("the a an my your his her its our their no any".split())
BEING = set("is are was were be been will would isn't wasn't aren't weren't has have had".split())
AUXILIARIES = set("am are can could do does had has have is must should was were will would".split())


def reduced(word: str, phones: Phones, before: str, after: str, after_phones: Phones) -> Phones:
    """The phones that `word` has between two other words or marks; `phones` are those of the lexicon.

    `before` and `after` are words in lower case or marks of PAUSES.
    """
    form = FORMS.get(word)
    if form is None:
        return phones
    if after in PAUSES or not _is_weak(word, before, after):
        return STRONG.get(word, phones)
    if after_phones[:1] and after_phones[0][:-1] in VOWELS:
        return BEFORE_VOWEL.get(word, form)
    return form


def strong(word: str) -> Phones | None:
    """The phones of a little word that is emphasised; None for words without a weak form."""
    return STRONG.get(word) or pronounce(word) if word in FORMS else None


def _is_weak(word: str, before: str, after: str) -> bool:
    if word in AUXILIARIES and after == "not":
        return False
    if word == "that":  # "I know that he came", but "that man", "that is"
        return before not in PAUSES and (after in SUBJECTS or after in ARTICLES)
    if word == "there":  # "there is", but "over there he saw"
        return after in BEING
    if word == "do":
        return after in SUBJECTS
    if word in ("have", "has", "had"):  # of another verb, "have gone", but "have a look"
        return after not in ARTICLES and after != "to"
    return True
