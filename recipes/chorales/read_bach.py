"""Read Bach's chorales as text from the MusicXML files of the music21 package: for yourself, not for models to share.

pip download music21 --no-deps && python recipes/chorales/read_bach.py music21-*.whl data/bach
"""

from __future__ import annotations

import argparse
import io
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools

from fastwave.errors import InputError
from fastwave.music.composer import text
from fastwave.music.composer.chorale import HELD, MAX_PHRASES, METRES, REST, Chorale, Form, Step

LARGEST = 1 << 24  # bytes of one unpacked file
SIXTEENTH = Fraction(1, 4)  # of a quarter note
NATURAL = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
SHIFTS = range(-3, 4)
HELD_OUT = 10  # every so many chorales one is held out


class Part:
    """One voice: its notes by the sixteenth, the ends of notes under a fermata, and the length of its first bar."""

    def __init__(self, part: ElementTree.Element) -> None:
        self.signs: list[int] = []
        self.fermatas: list[int] = []
        self.first_bar = 0
        divisions, tied = 1, False
        for number, bar in enumerate(part.iter("measure")):
            for element in bar:
                if element.tag == "attributes" and element.findtext("divisions"):
                    divisions = int(element.findtext("divisions") or 1)
                elif element.tag in ("backup", "forward"):
                    raise InputError("a part has several voices")
                elif element.tag == "note" and element.find("grace") is None and element.find("chord") is None:
                    tied = self._note(element, divisions, tied)
            if number == 0:
                self.first_bar = len(self.signs)

    def _note(self, note: ElementTree.Element, divisions: int, tied: bool) -> bool:
        steps = Fraction(int(note.findtext("duration") or 0), divisions) / SIXTEENTH
        if steps.denominator != 1 or not 1 <= steps <= 256:
            raise InputError("a note does not fit a grid of sixteenths")
        pitch = note.find("pitch")
        if pitch is None:
            self.signs += [REST] * int(steps)
            return False
        octave, alter = int(pitch.findtext("octave") or 0), int(pitch.findtext("alter") or 0)
        key = 12 * (octave + 1) + NATURAL[pitch.findtext("step") or ""] + alter
        self.signs += [HELD if tied else key] + [HELD] * (int(steps) - 1)
        if note.find("notations/fermata") is not None:
            self.fermatas.append(len(self.signs))
        return any(tie.get("type") == "start" for tie in note.iter("tie"))


def chorale(content: bytes) -> Chorale:
    """The chorale of a MusicXML document with four parts, or an InputError that says what is not so."""
    if b"<!ENTITY" in content:
        raise InputError("it declares entities")
    root = ElementTree.fromstring(content)
    parts = [Part(part) for part in root.iter("part")]
    if len(parts) != 4 or len({len(part.signs) for part in parts}) != 1:
        raise InputError("it has not four parts of one length")
    metres = {f"{time.findtext('beats')}/{time.findtext('beat-type')}" for time in root.iter("time")}
    if len(metres) != 1 or not metres <= METRES.keys():
        raise InputError(f"its metre is {', '.join(sorted(metres)) or 'not said'}")
    metre = metres.pop()
    steps: list[Step] = [(a, b, c, d) for a, b, c, d in zip(*(part.signs for part in parts), strict=True)]
    ends = sorted({end for end in parts[0].fermatas if end < len(steps)} | {len(steps)})
    if len(ends) > MAX_PHRASES:
        raise InputError("it has too many phrases")
    bass = [key for key in parts[3].signs if key >= 0][-1] % 12
    fifths = int(next(iter(root.iter("fifths"))).text or 0)
    major = fifths * 7 % 12
    minor = bass == (major + 9) % 12 or (bass != major and root.findtext(".//mode") == "minor")
    form = Form((major + 9) % 12 if minor else major, minor, metre, "sixteenths", len(ends))
    bar = form.steps_a_bar or 1
    return Chorale(form, tuple(steps), parts[0].first_bar % bar, tuple(ends))


def documents(path: Path) -> dict[str, bytes]:
    """The MusicXML of every chorale of Bach in a wheel of music21, or in a folder of .mxl files."""
    if path.is_dir():
        packed = {file.name: file.read_bytes() for file in sorted(path.glob("*.mxl"))}
    else:
        with zipfile.ZipFile(path) as wheel:
            names = [name for name in wheel.namelist() if "/corpus/bach/" in name and name.endswith(".mxl")]
            packed = {name.rsplit("/", 1)[1]: wheel.read(name) for name in sorted(names)}
    found = {}
    for name, content in packed.items():
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            scores = [
                info
                for info in archive.infolist()
                if info.filename.endswith(".xml") and "META-INF" not in info.filename
            ]
            if scores and scores[0].file_size <= LARGEST:
                found[name] = archive.read(scores[0])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="the wheel of music21, or a folder of .mxl files")
    parser.add_argument("out", help="new or empty folder: train/ and held-out/ will lie in it")
    parser.add_argument(
        "--figures", action="store_true", help="also print what measure.py counts, of all in their keys"
    )
    options = parser.parse_args()
    source, folder = Path(options.source), tools.empty_folder(options.out)
    if not source.exists():
        raise InputError(f"{source}: there is no such file or folder")
    found, refused = [], {}
    for name, content in documents(source).items():
        try:
            found.append(chorale(content))
            text.read(text.write(found[-1]))
        except (InputError, ElementTree.ParseError, KeyError, ValueError, IndexError, StopIteration) as error:
            refused[name] = str(error)
    for name in ("train", "held-out"):
        (folder / name).mkdir()
    for index, each in enumerate(found):
        held = index % HELD_OUT == 0
        shifted = [each] if held else [shift for shift in map(each.transposed, SHIFTS) if shift is not None]
        name = f"{'held-out' if held else 'train'}/bach-{index:03d}.txt"
        tools.write_text(folder / name, "".join(map(text.write, shifted)))
    print(f"{folder}: {len(found)} chorales, {len(refused)} left out")
    for reason in sorted(set(refused.values())):
        print(f"  {sum(each == reason for each in refused.values())}: {reason[:100]}")
    if options.figures:
        from measure import column

        for row, value in column("".join(map(text.write, found)), None).items():
            print(f"| {row} | {value} |")


if __name__ == "__main__":
    tools.run(main)
