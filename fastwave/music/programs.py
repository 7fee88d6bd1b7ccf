"""The 128 programs of General MIDI, and which instrument of a band plays one."""

from __future__ import annotations

import re
from collections.abc import Iterable

# One line for each family of the standard
PROGRAMS = tuple(
    name
    for line in """
    acoustic grand piano, bright acoustic piano, electric grand piano, honky-tonk piano, electric piano 1, electric piano 2, harpsichord, clavinet
    celesta, glockenspiel, music box, vibraphone, marimba, xylophone, tubular bells, dulcimer
    drawbar organ, percussive organ, rock organ, church organ, reed organ, accordion, harmonica, tango accordion
    nylon guitar, steel guitar, jazz guitar, clean guitar, muted guitar, overdriven guitar, distortion guitar, guitar harmonics
    acoustic bass, fingered bass, picked bass, fretless bass, slap bass 1, slap bass 2, synth bass 1, synth bass 2
    violin, viola, cello, contrabass, tremolo strings, pizzicato strings, harp, timpani
    strings, slow strings, synth strings 1, synth strings 2, choir aahs, voice oohs, synth voice, orchestra hit
    trumpet, trombone, tuba, muted trumpet, french horn, brass section, synth brass 1, synth brass 2
    soprano sax, alto sax, tenor sax, baritone sax, oboe, english horn, bassoon, clarinet
    piccolo, flute, recorder, pan flute, bottle, shakuhachi, whistle, ocarina
    square lead, saw lead, calliope lead, chiff lead, charang lead, voice lead, fifths lead, bass and lead
    new age pad, warm pad, polysynth pad, choir pad, bowed pad, metallic pad, halo pad, sweep pad
    rain, soundtrack, crystal, atmosphere, brightness, goblins, echoes, science fiction
    sitar, banjo, shamisen, koto, kalimba, bagpipe, fiddle, shanai
    tinkle bell, agogo, steel drums, woodblock, taiko, melodic tom, synth drum, reverse cymbal
    guitar fret noise, breath noise, seashore, bird tweet, telephone ring, helicopter, applause, gunshot
    """.strip().splitlines()  # noqa: E501
    for name in line.strip().split(", ")
)

# Programs that stand in for each other. They follow the families of the standard, but for programs that are played like
# those of another family: a harp is plucked, a fiddle bowed.
FAMILIES: dict[str, tuple[int, ...]] = {
    "piano": tuple(range(8)),
    "mallets and bells": (*range(8, 16), 108, 112, 114),
    "organ": tuple(range(16, 24)),
    "plucked strings": (*range(24, 32), 45, 46, *range(104, 108)),
    "bass": tuple(range(32, 40)),
    "strings": (*range(40, 45), *range(48, 52), 110),
    "voice": (52, 53, 54, 85, 91),
    "brass": tuple(range(56, 64)),
    "reed": (*range(64, 72), 109, 111),
    "flute": tuple(range(72, 80)),
    "synthesiser lead": (*range(80, 85), 86, 87),
    "synthesiser pad": (*range(88, 91), *range(92, 104)),
    "percussion": (47, 55, 113, *range(115, 120)),
    "sound effects": tuple(range(120, 128)),
}
_FAMILY = {program: name for name, programs in FAMILIES.items() for program in programs}

# Where a band has nobody of a family, these families are asked, in this order
STAND_INS: dict[str, tuple[str, ...]] = {
    "mallets and bells": ("plucked strings", "piano"),
    "bass": ("plucked strings", "strings"),
    "voice": ("strings", "organ"),
    "synthesiser lead": ("reed", "flute"),
    "synthesiser pad": ("strings", "organ"),
}

# Names that a band may give to an instrument beside those above, and the programs that it plays exactly
_ALSO: dict[str, tuple[int, ...]] = {
    "piano": (0, 1, 2), "electric piano": (4, 5), "organ": (16, 17, 18, 19), "guitar": (24, 25, 26, 27),
    "bass": (32, 33, 34, 35), "double bass": (43,), "strings": (48, 49), "string ensemble": (48, 49),
    "choir": (52, 53), "voice": (52, 53), "horn": (60,), "brass": (61,), "saxophone": (64, 65, 66, 67),
    "sax": (64, 65, 66, 67), "cor anglais": (69,), "pluck": (24, 45, 46), "trumpet": (56, 59), "lead": (80, 81),
    "pad": (88, 89), "bells": (14,), "cello": (42,), "flute": (73,), "pan pipes": (75,),
}  # fmt: skip


def family(program: int) -> str:
    """The name of the programs that stand in for this one."""
    return _FAMILY[program]


def programs_of(instrument: str) -> tuple[int, ...]:
    """The programs that an instrument of this name plays exactly; none for a name that says nothing."""
    words = " ".join(re.split(r"[\s_-]+", instrument.strip().lower()))
    exact = tuple(index for index, name in enumerate(PROGRAMS) if name.replace("-", " ") == words)
    return exact + tuple(program for program in _ALSO.get(words, ()) if program not in exact)


def nearest(program: int, instruments: Iterable[str]) -> str | None:
    """The instrument that plays a program: an exact one, else the closest of the same family, else of a family that
    stands in for it, else None.
    """
    known = [(other, name) for name in instruments for other in programs_of(name)]
    for other, name in known:
        if other == program:
            return name
    for family_name in (_FAMILY[program], *STAND_INS.get(_FAMILY[program], ())):
        relatives = [(abs(other - program), place) for place, (other, _) in enumerate(known)
                     if _FAMILY[other] == family_name]  # fmt: skip
        if relatives:
            return known[min(relatives)[1]][1]
    return None
