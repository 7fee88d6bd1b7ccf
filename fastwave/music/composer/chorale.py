"""A chorale in four parts on a grid of equal steps, as the composer reads and writes it."""

from __future__ import annotations

import dataclasses

from ...errors import InputError

VOICES = ("soprano", "alto", "tenor", "bass")
LOWEST, HIGHEST = 36, 81  # MIDI keys: C2 to A5
HELD, REST = -1, -2  # in place of a key: the note before goes on, or silence
MAX_STEPS, MAX_PHRASES = 8192, 99
GRIDS = {"eighths": 2, "sixteenths": 4}  # steps a quarter note
METRES = {"4/4": 4, "3/4": 3}  # quarter notes a bar
TONICS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
OTHER_NAMES = {"C#": 1, "D#": 3, "Gb": 6, "G#": 8, "A#": 10, "Cb": 11, "E#": 5, "Fb": 4, "B#": 0}

Step = tuple[int, int, int, int]  # what each voice does: the key of a new note, HELD or REST


@dataclasses.dataclass(frozen=True)
class Form:
    """What is known of a chorale before its first note. None: unknown, as in data without bars or phrases."""

    tonic: int | None = None  # 0 is C, 11 is B
    minor: bool = False
    metre: str | None = None  # one of METRES
    grid: str = "eighths"  # one of GRIDS
    phrases: int | None = None

    @property
    def steps_a_bar(self) -> int | None:
        """None without a metre."""
        return None if self.metre is None else METRES[self.metre] * GRIDS[self.grid]

    @property
    def key(self) -> str:
        """The key in words, such as `Eb major`, or `any key`."""
        return "any key" if self.tonic is None else f"{TONICS[self.tonic]} {'minor' if self.minor else 'major'}"


@dataclasses.dataclass(frozen=True)
class Chorale:
    """All steps of a chorale; `ends` counts the steps up to the end of each phrase."""

    form: Form
    steps: tuple[Step, ...]
    pickup: int = 0  # steps before the first full bar
    ends: tuple[int, ...] = ()

    def sounding(self) -> list[list[int]]:
        """The key that each voice sounds at each step: [steps][4], REST where it is silent."""
        now = [REST] * 4
        rows = []
        for step in self.steps:
            now = [old if new == HELD else new for old, new in zip(now, step, strict=True)]
            rows.append(list(now))
        return rows

    def transposed(self, semitones: int) -> Chorale | None:
        """The same music higher or lower; None where a voice would leave what can be written."""
        if any(key >= 0 and not LOWEST <= key + semitones <= HIGHEST for step in self.steps for key in step):
            return None
        tonic = None if self.form.tonic is None else (self.form.tonic + semitones) % 12
        steps = tuple(
            (a + semitones * (a >= 0), b + semitones * (b >= 0), c + semitones * (c >= 0), d + semitones * (d >= 0))
            for a, b, c, d in self.steps
        )
        return dataclasses.replace(self, form=dataclasses.replace(self.form, tonic=tonic), steps=steps)


def parse_key(name: str) -> tuple[int, bool]:
    """The tonic and whether it is minor, of a name such as `C`, `Eb major`, `f# minor` or `Am`."""
    words = name.split() if isinstance(name, str) and len(name) < 40 else []
    minor = False
    if len(words) == 2 and words[1].lower() in ("major", "minor"):
        minor = words.pop().lower() == "minor"
    elif len(words) == 1 and len(words[0]) > 1 and words[0].endswith("m"):
        words[0], minor = words[0][:-1], True
    tonic = words[0][:1].upper() + words[0][1:] if len(words) == 1 else ""
    if tonic in TONICS:
        return TONICS.index(tonic), minor
    if tonic in OTHER_NAMES:
        return OTHER_NAMES[tonic], minor
    raise InputError(f"key is a tonic with major or minor, such as 'Eb major' or 'F# minor', got {name!r:.60}.")
