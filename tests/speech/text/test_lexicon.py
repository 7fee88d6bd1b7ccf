"""The pronouncing dictionary: its words, its inflections, its loading time."""

import subprocess
import sys

import pytest

from fastwave.speech.phones import PAUSES, SYMBOLS
from fastwave.speech.text import lexicon


def phones(word):
    found = lexicon.pronounce(word)
    return found and " ".join(found)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("hello", "HH AH0 L OW1"),
        ("kettle", "K EH1 T AH0 L"),
        ("thorough", "TH ER1 OW0"),
        ("colonel", "K ER1 N AH0 L"),
        ("json", "JH EY1 S AH0 N"),
        ("A", "EY1"),
        ("W", "D AH1 B AH0 L Y UW0"),
    ],
)
def test_words_and_letters_are_known(word, expected):
    assert phones(word) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("kettles", "K EH1 T AH0 L Z"),
        ("kettle's", "K EH1 T AH0 L Z"),
        ("laptops", "L AE1 P T AA2 P S"),
        ("glitches", "G L IH1 CH IH0 Z"),
        ("bakeries", "B EY1 K ER0 IY0 Z"),
        ("emojis", "IH0 M OW1 JH IY0 Z"),
        ("blogged", "B L AO1 G D"),
        ("tweeted", "T W IY1 T IH0 D"),
        ("vlogging", "V L AO1 G IH0 NG"),
        ("baked", "B EY1 K T"),
        ("B's", "B IY1 Z"),
        ("X's", "EH1 K S AH0 Z"),
    ],
)
def test_inflections_of_known_words_are_derived(word, expected):
    assert phones(word) == expected


@pytest.mark.parametrize("word", ["zorblatt", "", "'", "s", "'s'", "qqqs", "éé"])
def test_unknown_words_are_unknown(word):
    assert lexicon.pronounce(word) is None or word in lexicon.entries()


def test_every_entry_is_made_of_phones():
    codes = lexicon.entries()
    assert len(codes) > 90_000
    speech = {chr(lexicon.FIRST + SYMBOLS.index(symbol)) for symbol in SYMBOLS if symbol not in PAUSES}
    assert set("".join(codes.values())) <= speech
    assert all(codes.values())


def test_the_file_is_small():
    assert lexicon.FILE.stat().st_size < 750_000


@pytest.mark.alone
def test_loading_takes_under_300_ms():
    code = (
        "import time; from fastwave.speech.text import lexicon; begun = time.perf_counter(); "
        "lexicon.entries(); print(time.perf_counter() - begun)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert min(float(run.stdout) for run in runs) < 0.3
