"""Letters of five by seven dots for the axes of pictures: no font is at hand where there is no plotting library."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import InputError

HEIGHT, ADVANCE = 7, 6  # dots, of a line and from one letter to the next

# Rows from the top, five bits each, the leftmost dot the highest bit
_LETTERS = {
    " ": (0, 0, 0, 0, 0, 0, 0),
    "-": (0, 0, 0, 31, 0, 0, 0),
    ".": (0, 0, 0, 0, 0, 12, 12),
    "0": (14, 17, 19, 21, 25, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12),
    "H": (17, 17, 17, 31, 17, 17, 17),
    "M": (17, 27, 21, 21, 17, 17, 17),
    "e": (0, 0, 14, 17, 31, 16, 14),
    "k": (16, 16, 18, 20, 24, 20, 18),
    "s": (0, 0, 14, 16, 14, 1, 30),
    "z": (0, 0, 31, 2, 4, 8, 31),
}


def letters(text: str) -> npt.NDArray[np.bool_]:
    """[HEIGHT, width] dots of a line of text; a true minus is written as a hyphen."""
    written = text.replace("\u2212", "-")
    unknown = sorted(set(written) - set(_LETTERS))
    if unknown:
        raise InputError(f"{text!r} cannot be lettered: there are no dots for {''.join(unknown)!r}.")
    rows = np.array([_LETTERS[letter] for letter in written], dtype=np.uint8).reshape(-1, HEIGHT)
    dots = (rows[:, :, None] >> np.arange(ADVANCE - 2, -1, -1, dtype=np.uint8)) & 1  # [letter, row, column]
    spaced = np.pad(dots, ((0, 0), (0, 0), (0, ADVANCE - 5)))
    return spaced.transpose(1, 0, 2).reshape(HEIGHT, -1).astype(bool)
