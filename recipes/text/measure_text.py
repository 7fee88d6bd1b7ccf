"""Say how readable a text is: the share of its words, and of its sentences, that the grammar could have written."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import grammar
import tools


def known_words(text: str) -> tuple[int, int]:
    """How many of its words the vocabulary holds, and how many it has."""
    words = grammar.words(text)
    vocabulary = grammar.vocabulary()
    return sum(word in vocabulary for word in words), len(words)


def covered(text: str) -> tuple[int, int]:
    """How many of its characters stand in whole sentences of the grammar, and how many it has; blanks do not count."""
    inside = sum(len(re.sub(r"\s", "", found[0])) for found in grammar.sentence_pattern().finditer(text))
    return inside, len(re.sub(r"\s", "", text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", nargs="+", help="text files, or folders of them")
    options = parser.parse_args()
    print(f"a text of this grammar has {grammar.bits_per_character():.4f} bits a character")
    print(" words  known  in correct sentences  file")
    for file in tools.files_of(options.text, (".txt",)):
        text = file.read_bytes().decode(errors="replace")
        (known, words), (inside, characters) = known_words(text), covered(text)
        print(f"{words:6d} {known / max(1, words):6.1%} {inside / max(1, characters):21.1%}  {file}")


if __name__ == "__main__":
    tools.run(main)
