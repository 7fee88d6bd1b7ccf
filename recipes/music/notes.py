"""Single notes of the instruments of a soundfont, with their times, as `fastwave.music.corpus` describes them.

    apt-get install fluidsynth musescore-general-soundfont
    python recipes/music/notes.py data/notes --minutes 6 --struck 18

Every key of an instrument's range comes equally often, in random order; velocities are 25 to 120, and a key is held for
0.08 to 2.6 s. Struck strings change most with the velocity, so that they need more notes. Chorus and reverberation are
off. An onset lies on a whole millisecond that is a multiple of 100, where fluidsynth, which moves in steps of 64
samples, is exact at 48 kHz. The soundfont is MuseScore General (MIT licence).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import tempfile
from pathlib import Path

import soundfile

from fastwave.music.midi_writing import write
from fastwave.music.notes import Note, Piece, Track

SOUNDFONT = "/usr/share/sounds/sf3/MuseScore_General_Full.sf3"
RATE = 48_000
STRUCK = ("piano", "guitar", "harp")  # they decay while the key is down
LEAST, MOST = 0.08, 2.6  # seconds that a key is held
TAIL = 0.9  # seconds after it, before the next note
# name: program of General MIDI, lowest and highest key
INSTRUMENTS = {
    "piano": (0, 33, 96),
    "organ": (20, 36, 96),
    "guitar": (24, 40, 84),
    "violin": (40, 55, 96),
    "cello": (42, 36, 72),
    "harp": (46, 36, 96),
    "strings": (48, 36, 93),
    "trumpet": (56, 54, 84),
    "horn": (60, 38, 77),
    "oboe": (68, 58, 91),
    "bassoon": (70, 34, 74),
    "clarinet": (71, 50, 91),
    "flute": (73, 60, 96),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=6.0, help="of each instrument")
    parser.add_argument("--struck", type=float, help=f"minutes of each of {', '.join(STRUCK)} (as --minutes)")
    parser.add_argument("--instruments", nargs="+", choices=list(INSTRUMENTS), default=list(INSTRUMENTS))
    parser.add_argument("--soundfont", default=SOUNDFONT)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    (arguments.out / "wavs").mkdir(parents=True, exist_ok=True)
    lines = []
    for name in arguments.instruments:
        program, low, high = INSTRUMENTS[name]
        minutes = arguments.struck if name in STRUCK and arguments.struck else arguments.minutes
        notes = plan(low, high, 60 * minutes, random.Random(f"{name} {arguments.seed}"))
        file = f"wavs/{name}.flac"
        render(Piece((Track(tuple(notes), program),)), arguments.out / file, arguments.soundfont)
        known = notes[:-1]  # fluidsynth stops with the last key, so that the last note has no tail
        lines += [json.dumps(line(file, name, note)) for note in known]
        print(f"{name}: {len(known)} notes", flush=True)
    (arguments.out / "notes.jsonl").write_text("\n".join(lines) + "\n")


def plan(low: int, high: int, seconds: float, draw: random.Random) -> list[Note]:
    """Notes one after another, each with room to die away."""
    notes: list[Note] = []
    keys: list[int] = []
    time = 0.1
    while time < seconds:
        if not keys:
            keys = draw.sample(range(low, high + 1), high + 1 - low)
        held = round(math.exp(draw.uniform(math.log(LEAST), math.log(MOST))), 3)
        notes.append(Note(round(time, 3), held, keys.pop(), draw.randint(25, 120)))
        time = math.ceil((time + held + TAIL) * 10 - 1e-6) / 10
    return notes


def render(piece: Piece, out: Path, soundfont: str) -> None:
    """The piece as fluidsynth plays it, in one channel."""
    with tempfile.TemporaryDirectory() as folder:
        midi, wav = Path(folder, "notes.mid"), Path(folder, "notes.wav")
        write(piece, midi, tempo=125)  # half a millisecond a tick
        options = ["-ni", "-q", "-g", "0.6", "-R", "0", "-C", "0", "-r", str(RATE), "-O", "float", "-T", "wav"]
        subprocess.run(["fluidsynth", *options, "-F", wav, soundfont, midi], check=True, stdout=subprocess.DEVNULL)
        wave, rate = soundfile.read(wav, dtype="float32", always_2d=True)
        soundfile.write(out, wave.mean(axis=1), rate, subtype="PCM_24")


def line(file: str, name: str, note: Note) -> dict[str, object]:
    """As notes.jsonl has it."""
    end = round(note.end + TAIL - 0.02, 3)
    values = {"file": file, "instrument": name, "key": note.key, "velocity": note.velocity}
    return {**values, "begin": note.onset, "held": note.length, "end": end}


if __name__ == "__main__":
    main()
