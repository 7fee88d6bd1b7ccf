"""Measures of a text: how far it compresses, how often it repeats itself, how many words it has."""

from __future__ import annotations

import dataclasses
import lzma
import re
import zlib
from typing import Any

import numpy as np

STUCK_CHARACTERS = 200  # of one short pattern, again and again
STUCK_SHARE = 0.5  # of a shorter text
_LONGEST_PATTERN = 64  # characters
_LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 9}]
RANDOM_BITS = 5.5  # a character, compressed: letters of no language; English prose needs 3 to 4
VALID_SHARE = 0.99  # of the bytes of a text

ORDINARY = "reads ordinary"


@dataclasses.dataclass(frozen=True)
class TextMeasures:
    """One text."""

    characters: int
    utf8_share: float  # share of its bytes that are valid UTF-8
    zlib_bits: float  # bits a character after compression by zlib
    lzma_bits: float  # the same by lzma, which sees repetition further away
    longest_repeat: int  # characters in the longest stretch of one pattern of up to 64, at least twice in a row
    words: int
    distinct_words: int
    distinct_share: float  # of all words

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, every field."""
        return dataclasses.asdict(self)


def of(data: bytes) -> TextMeasures:
    """The bytes of a text file."""
    text = data.decode("utf-8", errors="replace")
    characters = max(1, len(text))
    words = words_of(text)
    return TextMeasures(
        characters=len(text),
        utf8_share=len(data.decode("utf-8", errors="ignore").encode()) / max(1, len(data)),
        zlib_bits=8 * len(zlib.compress(data, 9)) / characters,
        lzma_bits=8 * len(lzma.compress(data, lzma.FORMAT_RAW, filters=_LZMA)) / characters,
        longest_repeat=_longest_repeat(text),
        words=len(words),
        distinct_words=len(set(words)),
        distinct_share=len(set(words)) / max(1, len(words)),
    )


def compare(generated: bytes, reference: bytes) -> dict[str, float]:
    """Of two texts: the share of words that the reference knows, and the difference in bits a character."""
    words = words_of(generated.decode("utf-8", errors="replace"))
    vocabulary = set(words_of(reference.decode("utf-8", errors="replace")))
    return {
        "known_words_share": sum(word in vocabulary for word in words) / max(1, len(words)),
        "zlib_bits_difference": of(generated).zlib_bits - of(reference).zlib_bits,
    }


def verdict(measured: TextMeasures) -> str:
    """What the text is like, in words."""
    if not measured.characters:
        return "empty"
    problems = []
    if measured.utf8_share < VALID_SHARE:
        problems.append("not valid UTF-8")
    if measured.longest_repeat >= min(STUCK_CHARACTERS, max(20, STUCK_SHARE * measured.characters)):
        problems.append("stuck on one pattern")
    elif measured.zlib_bits > RANDOM_BITS and measured.characters >= STUCK_CHARACTERS:
        problems.append("noise: it hardly compresses")
    return "; ".join(problems) or ORDINARY


def words_of(text: str) -> list[str]:
    """Runs of letters, in small letters."""
    return re.findall(r"[^\W\d_]+", text.lower())


def _longest_repeat(text: str) -> int:
    codes = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
    longest = 0
    for pattern in range(1, min(_LONGEST_PATTERN, len(codes) // 2) + 1):
        same = np.concatenate([[False], codes[pattern:] == codes[:-pattern], [False]])
        edges = np.flatnonzero(np.diff(same.astype(np.int8)))
        run = int((edges[1::2] - edges[::2]).max(initial=0))
        longest = max(longest, run + pattern if run >= pattern else 0)
    return longest
