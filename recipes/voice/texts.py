"""Thousands of different sentences to be spoken, out of texts that Debian packages ship and words of a dictionary.

    apt-get download wordnet-base fortunes r-cran-janeaustenr anarchism
    for package in *.deb; do dpkg -x "$package" texts; done
    python recipes/voice/texts.py texts sentences.txt

WordNet gives short sentences of today, Jane Austen questions and exclamations, the others long sentences with clauses.
Every tenth sentence is of numbers, every twelfth of random words, so that rare phones and rare neighbours occur.
"""

from __future__ import annotations

import argparse
import gzip
import html
import random
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from understood import spoken

from fastwave.speech.text.lexicon import entries, pronounce

LEAST, MOST = 3, 25  # words
SHARES = {"wordnet": 0.36, "austen": 0.2, "fortunes": 0.14, "anarchism": 0.12, "numbers": 0.1, "random": 0.08}
NUMBERS = (
    "There are {a} {things} in the {place}.",
    "I counted {a} {things}, then {b} more.",
    "We paid {a} dollars and {c} cents for the {things}.",
    "Is it {d} o'clock already?",
    "The {place} opens at {d} thirty, and closes at {e}.",
    "It was in the year nineteen {c}, I think.",
    "Did you say {a}, or {b}?",
    "Only {a} of the {b} {things} were left!",
    "Turn to page {a}, and read the first {d} lines.",
    "My number is {f} {g} {h}, {i} {d} {g} {f}.",
    "How many {things} can you see from the {place}?",
    "That makes {a} {things}, and not {b}!",
    "About {c} percent of the {things} came back by {day}.",
    "Meet me at the {place} on {day}, at {d} fifteen.",
    "Why are there {c} {things} on my {place}?",
    "The {d} {things} weigh {a} pounds.",
)
THINGS = "apples books people trains letters chairs horses windows cups children miles songs stars coins eggs".split()
PLACES = "garden kitchen station library market harbor office museum village table school bridge theater city".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April June October".split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, help="the folder that the packages were unpacked in")
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=9000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    chosen: dict[str, None] = {}
    sources = {name: list(dict.fromkeys(spoken_ones(lines))) for name, lines in texts(arguments.texts).items()}
    sources["numbers"] = [with_numbers(draw) for _ in range(arguments.count)]
    rare = [word for word in entries() if re.fullmatch("[a-z]{3,10}", word)]
    sources["random"] = [random_words(draw, rare) for _ in range(arguments.count)]
    for name, share in SHARES.items():
        draw.shuffle(sources[name])
        # long sentences less often, so that the mean stays near ten words; questions and exclamations are rare
        kept = [s for s in sources[name] if s[-1] in "?!" or draw.random() < min(0.5, 6 / len(s.split()))]
        chosen |= dict.fromkeys(kept[: round(share * arguments.count)])
        print(f"{name:10} {len(sources[name]):7} sentences, {min(len(kept), round(share * arguments.count))} taken")
    lines = list(chosen)
    draw.shuffle(lines)
    arguments.out.write_text("\n".join(lines) + "\n")


def texts(folder: Path) -> dict[str, Iterator[str]]:
    """Raw text of every source, a paragraph or an example at a time."""
    return {
        "wordnet": _wordnet(folder / "usr/share/wordnet"),
        "austen": _austen(folder / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"),
        "fortunes": _fortunes(folder / "usr/share/games/fortunes"),
        "anarchism": _pages(folder / "usr/share/doc/anarchism/html"),
    }


def _wordnet(folder: Path) -> Iterator[str]:
    """The quoted examples of the glosses, made sentences."""
    for path in sorted(folder.glob("data.*")):
        for example in re.findall(r'"([^"]+)"', path.read_text(errors="replace")):
            text = example.strip().rstrip(";,")
            if len(text.split()) >= 4 and "(" not in text:
                yield text[0].upper() + text[1:] + ("" if text[-1] in ".?!" else ".")


def _austen(path: Path) -> Iterator[str]:
    """The lines of six novels from R's file of them: blocks of zlib, in which strings follow a header of type 9."""
    data = path.read_bytes()
    lines: list[str] = []
    at = 0
    while at + 4 < len(data):
        at = data.find(b"\x78", at)
        if at < 0:
            break
        try:
            unpacked = zlib.decompressobj()
            block = unpacked.decompress(data[at:])
            at = len(data) - len(unpacked.unused_data)
        except zlib.error:
            at += 1
            continue
        for match in re.finditer(rb"\x00[\x00-\x08]\x00\x09\x00\x00\x00([\x00-\xff])", block):
            length = match.group(1)[0]
            lines.append(block[match.end() : match.end() + length].decode(errors="replace"))
    yield from re.split(r"\n\s*\n", "\n".join(lines))


def _fortunes(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*")):
        if path.suffix not in (".dat", ".u8") and path.is_file() and "ascii" not in path.name:
            for fortune in re.split(r"\n%\n", path.read_text(errors="replace")):
                yield re.split(r"\n\s*-- ", fortune)[0]


def _pages(folder: Path) -> Iterator[str]:
    for path in sorted([*folder.glob("sec[A-I]*.html"), *folder.glob("sec[A-I]*.html.gz")]):
        data = path.read_bytes()
        page = (gzip.decompress(data) if path.suffix == ".gz" else data).decode(errors="replace")
        for paragraph in re.findall(r"<p>(.*?)</p>", page, re.DOTALL | re.IGNORECASE):
            yield html.unescape(re.sub(r"<[^>]*>", " ", paragraph))


def spoken_ones(paragraphs: Iterable[str]) -> Iterator[str]:
    """The sentences whose every word the dictionary has, without anything that is not said."""
    for paragraph in paragraphs:
        paragraph = re.sub(r"\s+", " ", paragraph).replace("\u2019", "'").replace("--", ", ").replace("_", "")
        for sentence in re.split(r"(?<=[.?!])[\"'”)]*\s+(?=[\"'“(]?[A-Z])", paragraph):
            text = re.sub(r"\s*[;:]\s*", ", ", re.sub(r'["“”]', "", sentence).strip())
            text = re.sub(r"(\s*,)+\s*", ", ", text).strip(" ,'")
            if not re.fullmatch(r"[A-Z][A-Za-z' ,-]*[.?!]", text) or re.search(r"[A-Z]{2}|\b[b-hj-zB-HJ-Z]\b", text):
                continue
            words = re.findall(r"[a-z]+(?:'[a-z]+)*", text.lower())
            if LEAST <= len(words) <= MOST and all(map(pronounce, words)):
                yield text


def with_numbers(draw: random.Random) -> str:
    """A sentence with numbers in words."""
    small = {name: spoken(draw.randint(1, 12)) for name in "defghi"}
    large = {name: spoken(int(10 ** draw.uniform(1, 4.3))) for name in "ab"}
    names = {"things": draw.choice(THINGS), "place": draw.choice(PLACES), "day": draw.choice(DAYS)}
    text = draw.choice(NUMBERS).format(**small, **large, c=spoken(draw.randint(20, 99)), **names)
    return text[0].upper() + text[1:]


def random_words(draw: random.Random, rare: list[str]) -> str:
    """Three to nine words in no order, with a comma now and then."""
    words = draw.sample(rare, draw.randint(3, 9))
    text = "".join(word + (", " if draw.random() < 0.15 else " ") for word in words).strip(" ,")
    return text[0].upper() + text[1:] + draw.choice("....?!")


if __name__ == "__main__":
    main()
