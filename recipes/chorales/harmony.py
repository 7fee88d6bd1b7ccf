"""Functional harmony: which chords follow which, cadences, and the chords of a phrase that may modulate."""

from __future__ import annotations

import dataclasses
import functools
import re

import numpy as np

QUALITIES = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "dim": (0, 3, 6),
    "dom": (0, 4, 7, 10),
    "min7": (0, 3, 7, 10),
    "half": (0, 3, 6, 10),
    "dim7": (0, 3, 6, 9),
    "maj7": (0, 4, 7, 11),
}

# symbol: semitones from the tonic to the root, quality, which member lies in the bass
MAJOR = {
    "I": (0, "maj", 0), "I6": (0, "maj", 1), "I64": (0, "maj", 2), "ii": (2, "min", 0), "ii6": (2, "min", 1),
    "ii65": (2, "min7", 1), "ii7": (2, "min7", 0), "iii": (4, "min", 0), "IV": (5, "maj", 0), "IV6": (5, "maj", 1),
    "V": (7, "maj", 0), "V6": (7, "maj", 1), "V7": (7, "dom", 0), "V65": (7, "dom", 1), "V43": (7, "dom", 2),
    "V42": (7, "dom", 3), "vi": (9, "min", 0), "vi6": (9, "min", 1), "viio6": (11, "dim", 1), "IVmaj7": (5, "maj7", 0),
    "V/V": (2, "maj", 0), "V65/V": (2, "dom", 1), "V42/V": (2, "dom", 3), "V/vi": (4, "maj", 0),
    "V65/vi": (4, "dom", 1), "V65/IV": (0, "dom", 1), "V42/IV": (0, "dom", 3), "V65/ii": (9, "dom", 1),
    "viio6/ii": (1, "dim", 1),
}  # fmt: skip
MINOR = {
    "I": (0, "min", 0), "I6": (0, "min", 1), "I64": (0, "min", 2), "ii6": (2, "dim", 1), "ii65": (2, "half", 1),
    "III": (3, "maj", 0), "III6": (3, "maj", 1), "IV": (5, "min", 0), "IV6": (5, "min", 1), "iv7": (5, "min7", 0),
    "v6": (7, "min", 1), "V": (7, "maj", 0), "V6": (7, "maj", 1), "V7": (7, "dom", 0), "V65": (7, "dom", 1),
    "V43": (7, "dom", 2), "V42": (7, "dom", 3), "VI": (8, "maj", 0), "VII": (10, "maj", 0), "VII6": (10, "maj", 1),
    "viio6": (11, "dim", 1), "viio7": (11, "dim7", 0), "V65/III": (10, "dom", 1), "V65/IV": (0, "dom", 1),
    "V42/IV": (0, "dom", 3), "V65/V": (2, "dom", 1), "picardy": (0, "maj", 0),
}  # fmt: skip

# what follows a chord, and how often; a chord that is not named as a successor of any is reached by cadences alone
_AFTER_MAJOR = """
I: IV 3, V 3, vi 2.5, ii6 2, ii65 1.2, I6 2.5, V6 2.5, V43 1.5, viio6 1.5, iii .7, V65 1.5, V42 .5, IV6 1, ii 1, \
   V65/V .5, V42/IV .5, V65/IV .6, V/vi .4, V65/vi .3, V65/ii .4
I6: IV 3, ii65 2, V 2, viio6 1.5, V43 1.2, I 1.5, ii6 1.5, V65/V .5, ii7 .6, vi 1, V65/IV .4
ii: V 3, V6 1.5, V65 1, V7 .6, vi6 .4, viio6 .6, I6 .8, V42 .7
ii6: V 4, V7 1, V42 .6, viio6 .4
ii65: V 5, V42 .5
ii7: V 3, V65 1, V7 .5
iii: vi 2, IV 3, I6 .6, ii6 .5
IV: V 3, I 1.5, I6 1.5, ii 1, ii65 1.5, ii6 .8, V6 1.2, viio6 1.2, V42 1, V65 .8, V65/V .8
IVmaj7: viio6 1, V 1
IV6: V 2, I6 1, V65 1.5, ii 1, V6 1, V65/V .8, I .4
V: I 6, vi 2, I6 1.2, V42 1, IV6 1.2, V65/vi .5, V6 .8, V65/ii .2
V6: I 6, vi .5, V65/IV .3, V65 .5
V7: I 6, vi 1.5
V65: I 6
V43: I 3, I6 4
V42: I6 8
vi: ii 1.5, ii65 1.5, ii6 1.5, IV 2.5, V 2, V6 1.2, I6 1, iii .8, V65/V 1, V42/V .4, V65 .8, viio6 .5, IVmaj7 .4
vi6: V 1, ii7 .5, V65/V .5
viio6: I 4, I6 4, vi .5
V/V: V 6, V42 1
V65/V: V 6, V42 .6
V42/V: V6 6, V65 2
V/vi: vi 6, IV .6
V65/vi: vi 6
V65/IV: IV 6
V42/IV: IV6 6
V65/ii: ii 6
viio6/ii: ii 4
"""
_AFTER_MINOR = """
I: IV 3, V 3, VI 2, ii6 1.5, ii65 2, I6 2.5, V6 2.5, V43 1.2, viio6 1.5, V65 1.5, viio7 .8, v6 1.5, IV6 .6, VII 1, \
   V65/IV .6, V42/IV .5, III .8, V65/III .6
I6: IV 3, ii65 2, V 2, viio6 1.5, V43 1.2, I 1.5, ii6 1.5, iv7 .6, VI .5
ii6: V 4, V7 1, V42 .6
ii65: V 5, V42 .5
III: VI 2, IV 1.5, VII .8, V6 1, ii65 1, I 1, viio6 .6
III6: IV 1.5, VI .5, ii6 .5
IV: V 3, I 1.5, I6 1.5, ii65 1.5, ii6 .8, V6 1, viio6 1, V42 1, VII 1, viio7 .5
iv7: V 1.5, VII 1.5, viio6 .4
IV6: V 4, V65/V .6
v6: IV6 2.5, VI 2, IV .5
V: I 6, VI 2, I6 1.2, V42 1, V6 .6, IV6 .5
V6: I 6, V65 .5
V7: I 6, VI 1.5
V65: I 6
V43: I 3, I6 4
V42: I6 8
VI: ii65 2, ii6 1.5, IV 2, V 2, V65/III .8, VII 1.2, III6 .4, V65 .6, I6 .8
VII: III 4, VI .8, I6 .5, VII6 .4
VII6: III 3, I .5
viio6: I 4, I6 4
viio7: I 6, V65 .6
V65/III: III 6
V65/IV: IV 6
V42/IV: IV6 6
V65/V: V 6
"""

# the last chords of a phrase and how often they are taken
CADENCES = {
    "perfect": {
        "ii65 V I": 3, "ii6 V I": 2, "IV V I": 2.5, "ii65 V7 I": 2, "I6 ii65 V I": 2, "IV I64 V I": .7,
        "ii6 I64 V7 I": .7, "viio6 I V I": 1, "vi ii65 V I": 2, "I6 IV V7 I": 1, "V42 I6 ii65 V I": 1,
    },
    "half": {"I V": 2, "IV V": 1.5, "ii6 V": 2, "vi V": 1, "V65/V V": 1.5, "I6 V": 1.5, "IV6 V": 2.5, "V6 I V": 1.5},
    "deceptive": {"ii65 V vi": 1, "IV V vi": 1},
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Chord:
    """A chord in a key: absolute pitch classes, root first, and what voice leading must know of it."""

    symbol: str
    tonic: int
    minor: bool
    pitches: tuple[int, ...]
    bass: int  # the pitch class
    leading: int | None  # the note that must rise by a semitone
    seventh: int | None  # the note that must fall by a step


@functools.cache
def chord(symbol: str, tonic: int, minor: bool) -> Chord:
    root, quality, member = (MINOR if minor else MAJOR)[symbol]
    pitches = tuple((tonic + root + interval) % 12 for interval in QUALITIES[quality])
    dominant = symbol.startswith(("V", "vii")) and quality in ("maj", "dom", "dim", "dim7") and symbol not in _PLAIN
    leading = (pitches[0] if quality.startswith("dim") else pitches[1]) if dominant else None
    seventh = pitches[3] if len(pitches) > 3 else None
    return Chord(symbol, tonic, minor, pitches, pitches[member], leading, seventh)


_PLAIN = ("VI", "VII", "VII6")  # majors of a minor key that lead nowhere in particular


@functools.cache
def _following(minor: bool) -> dict[str, dict[str, float]]:
    table = {}
    for line in (_AFTER_MINOR if minor else _AFTER_MAJOR).strip().splitlines():
        symbol, rest = line.split(": ")
        pairs = (pair.split() for pair in re.split(r",\s*", rest.strip()))
        table[symbol] = {name: float(weight) for name, weight in pairs}
    return table


Key = tuple[int, bool]
State = tuple[Key, str]


@functools.cache
def _chain(keys: tuple[Key, ...]) -> tuple[list[State], np.ndarray]:
    """The chords of one key, or of an old and a new one with pivots from the old, and the chances of what follows."""
    states = [(key, symbol) for key in keys for symbol in _following(key[1])]
    chances = np.zeros((len(states), len(states)))
    index = {state: number for number, state in enumerate(states)}
    for key, symbol in states:
        after = _following(key[1])[symbol]
        for name, weight in after.items():
            chances[index[key, symbol], index[key, name]] += weight
        if len(keys) == 2 and key == keys[0]:  # the chord is heard as one of the new key as well
            mine = chord(symbol, *key)
            for other in _following(keys[1][1]):
                pivot = chord(other, *keys[1])
                if (pivot.pitches, pivot.bass) == (mine.pitches, mine.bass) and mine.leading is None:
                    for name, weight in _following(keys[1][1])[other].items():
                        chances[index[key, symbol], index[keys[1], name]] += weight
    return states, chances / chances.sum(1, keepdims=True)


def phrase(rng: np.random.Generator, old: Key, new: Key, cadence: str, count: int, first: str | None) -> list[Chord]:
    """`count` chords from `old` to a cadence in `new`: drawn from the chain, given where it begins and ends."""
    kinds = CADENCES[cadence]
    known = MINOR if new[1] else MAJOR
    fitting = {
        tuple(kind.split()): weight
        for kind, weight in kinds.items()
        if len(kind.split()) < count and all(_in_mode(name, new[1]) in known for name in kind.split())
    }
    names = list(fitting)
    chosen = names[rng.choice(len(names), p=np.array(list(fitting.values())) / sum(fitting.values()))]
    formula = [_in_mode(name, new[1]) for name in chosen]
    states, chances = _chain((old,) if old == new else (old, new))
    begin = [number for number, (key, symbol) in enumerate(states) if key == old and symbol == (first or symbol)]
    free = count - len(formula)  # chords before the formula
    target = np.array([float(chances[number, states.index((new, formula[0]))]) for number in range(len(states))])
    reach = [target]  # reach[k][s]: the chance to come from s to the formula in k more chords
    for _ in range(free - 1):
        reach.append(chances @ reach[-1])
    weights = np.zeros(len(states))
    weights[begin] = 1.0
    if first is None:
        weights *= [_BEGINNINGS.get(symbol, 0.0) for _, symbol in states]
    path: list[int] = []
    for left in range(free - 1, -1, -1):
        weights = weights * reach[left]
        if weights.sum() <= 0:
            raise ValueError("no such phrase")
        path.append(int(rng.choice(len(states), p=weights / weights.sum())))
        weights = chances[path[-1]]
    return [chord(states[number][1], *states[number][0]) for number in path] + [chord(name, *new) for name in formula]


_BEGINNINGS = {"I": 8.0, "V": 1.5, "vi": 1.0, "VI": 0.6, "I6": 1.5, "IV": 0.6, "V6": 0.8}


def _in_mode(symbol: str, minor: bool) -> str:
    return {"vi": "VI", "V65/V": "V65/V"}.get(symbol, symbol) if minor else symbol
