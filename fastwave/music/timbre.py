"""The network of an instrument: which note it is and for how long it has sounded -> a row as `analysis` describes it.

Every row is computed alone, from the instrument, the key, the velocity, the time since the onset, the time since the
key was let go, and how long it was held. Times and velocity enter as hats: 1 at a knot, 0 at its neighbours.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..errors import ConfigError
from . import harmonics
from .analysis import FRAMES, LEAD, TONE, WIDTH
from .notes import Note, hertz

STEP = FRAMES.hop / FRAMES.sample_rate  # seconds from row to row
ATTACK = [STEP * number for number in range(-4, 8)]
SINCE_ONSET = (*ATTACK, *(0.05 * 2 ** (number / 2) for number in range(14)))  # seconds, up to 4.5
SINCE_RELEASE = (*ATTACK, *(0.05 * 2 ** (number / 2) for number in range(10)))
HELD = tuple(0.08 * 2.0**number for number in range(7))
VELOCITIES = (0.0, 20.0, 40.0, 60.0, 80.0, 100.0, 127.0)
INPUTS = len(SINCE_ONSET) + len(SINCE_RELEASE) + len(HELD) + len(VELOCITIES)
KEYS = 128
CENTS = 12.0  # ln F0 beyond that of the key is learned times this, so that it is as large as the other values
LEARNED = 2.4  # seconds: what sounds longer goes on fading as it did in the last DECAY seconds before
DECAY = 0.8
STEADY = 3 / 50  # a level that falls by less, 3 dB, a second is that of a tone that is held
SILENT = -0.5  # a level from which on a tail is cut, 75 dB below full scale
LONGEST_TAIL = 0.85  # seconds after the key was let go


@dataclasses.dataclass(frozen=True)
class Shape:
    """How large the network is: 140,000 parameters for six instruments."""

    instruments: int = 1
    width: int = 192
    key_width: int = 24

    def __post_init__(self) -> None:
        for name, highest in (("instruments", 1_000), ("width", 2_048), ("key_width", 512)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= highest:
                raise ConfigError(f"{name} of a timbre is a whole number of 1..{highest}, got {str(value)[:60]!r}.")

    @classmethod
    def from_dict(cls, values: Any) -> Shape:
        """From JSON values; unknown ones are refused."""
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, Mapping) or values.keys() - known:
            raise ConfigError(f"the shape of a timbre is an object of {', '.join(sorted(known))}.")
        return cls(**values)


class Linear(nn.Module):
    """x @ weight + bias; the weight is [inputs, outputs]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]"""
        return torch.addmm(self.bias, x, self.weight)


class Timbre(nn.Module):
    """A table of what each key of each instrument is like, and three layers that all of them share."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, width, key_width = shape, shape.width, shape.key_width
        self.key = nn.Parameter(0.3 * torch.randn(shape.instruments, KEYS, key_width))
        self.slope = nn.Parameter(0.3 * torch.randn(shape.instruments, 2, key_width))  # what keys have in common
        self.first, self.gate = Linear(INPUTS + key_width, width), Linear(key_width, width)
        self.second, self.third = Linear(width, width), Linear(width, width)
        self.last, self.direct = Linear(width, WIDTH), Linear(key_width, WIDTH)

    def forward(self, instrument: Tensor, key: Tensor, inputs: Tensor) -> Tensor:
        """[N] int64, [N] int64, [N, INPUTS] -> [N, WIDTH], where ln F0 is `relative`"""
        height = ((key - 60) / 24).to(inputs)[:, None]
        slope = self.slope[instrument]
        kind = self.key[instrument, key] + slope[:, 0] * height + slope[:, 1] * height**2
        x = torch.relu(self.first(torch.cat([inputs, kind], dim=1))) * (1 + self.gate(kind))
        x = torch.relu(self.second(x))
        x = x + torch.relu(self.third(x))
        rows: Tensor = self.last(x) + self.direct(kind)
        return rows


def inputs_of(velocity: int, held: float, rows: int) -> npt.NDArray[np.float32]:
    """What the network hears of a note at each of its first rows, [rows, INPUTS]."""
    time = np.arange(rows) * STEP - LEAD / FRAMES.sample_rate
    fixed = np.concatenate([_hats(np.array([held]), HELD), _hats(np.array([float(velocity)]), VELOCITIES)], axis=1)
    moving = [_hats(time, SINCE_ONSET), _hats(time - held, SINCE_RELEASE)]
    return np.concatenate([*moving, np.repeat(fixed, rows, axis=0)], axis=1)


def relative(rows: npt.NDArray[np.float32], key: int) -> npt.NDArray[np.float32]:
    """Rows of a note as the network learns them: ln F0 against that of the key."""
    result = rows.copy()
    result[:, FRAMES.log_f0] = (rows[:, FRAMES.log_f0] - math.log(hertz(key))) * CENTS
    return result


@torch.no_grad()
def rows_of(
    timbre: Timbre, instrument: int, note: Note, keys: Sequence[int], stretch: float = 0.0
) -> npt.NDArray[np.float32]:
    """A note as a network plays it, from LEAD samples before its onset to the end of its tail, [frames, WIDTH].

    A key outside of `keys`, the lowest and the highest that were learned, sounds like the nearest of them. `stretch` is
    B of `stiffness`.
    """
    learned = min(note.length, LEARNED)
    count = 1 + round((learned + LONGEST_TAIL) / STEP) + LEAD // FRAMES.hop
    like = min(max(note.key, keys[0]), keys[1])
    inputs = torch.from_numpy(inputs_of(note.velocity, learned, count))
    same = torch.full((count,), 1, dtype=torch.int64)
    rows = timbre(same * instrument, same * like, inputs).numpy()
    rows[:, FRAMES.log_f0] = math.log(hertz(note.key)) + np.clip(rows[:, FRAMES.log_f0], -1, 1) / CENTS
    rows[:, FRAMES.voicing] = np.clip(rows[:, FRAMES.voicing], 0, 1)
    rows[:, TONE + harmonics.count(hertz(note.key), stretch) :] = -1
    return _without_silence(_prolonged(rows, note.length, learned))


def _prolonged(rows: npt.NDArray[np.float32], held: float, learned: float) -> npt.NDArray[np.float32]:
    """Put rows of a held tone where the key is let go later than was learned; the release comes after them."""
    more = round((held - learned) / STEP)
    if more <= 0:
        return rows
    end = LEAD // FRAMES.hop + round(learned / STEP) - len(ATTACK)  # before the release is felt
    begin = end - round(DECAY / STEP)
    fall = (rows[end] - rows[begin]) / DECAY
    fall[FRAMES.bands : TONE] = 0  # only levels fall
    fall[fall > -STEADY] = 0
    between = rows[end] + fall * (STEP * np.arange(1, more + 1))[:, None]
    later = rows[end + 1 :] + fall * (more * STEP)
    return np.asarray(np.concatenate([rows[: end + 1], between, later]), dtype=np.float32)


def _without_silence(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Up to the last row that is heard."""
    heard = np.maximum(rows[:, : FRAMES.bands].max(axis=1), rows[:, TONE:].max(axis=1)) > SILENT
    last = int(np.flatnonzero(heard)[-1]) if heard.any() else 0
    return rows[: max(last + 2, LEAD // FRAMES.hop + 2)]


def _hats(values: npt.NDArray[np.floating], knots: Sequence[float]) -> npt.NDArray[np.float32]:
    """[n] -> [n, knots]: 1 at a knot, falling to 0 at its neighbours; beyond the ends as at the ends."""
    places = np.interp(values, knots, np.arange(len(knots)))
    return np.asarray(np.clip(1 - np.abs(places[:, None] - np.arange(len(knots))), 0, 1), dtype=np.float32)
