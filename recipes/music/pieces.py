"""MIDI files as the bundled band and as fluidsynth play them, for transcribe.py, which counts the notes that are heard.

for seed in 1 2 3 4 5; do fastwave music --compose --seconds 20 --seed $seed -o chorale-$seed.mid; done
python recipes/music/pieces.py chorale-*.mid --out pieces
transcriber/bin/python recipes/music/transcribe.py pieces
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import soundfile
from notes import SOUNDFONT, render

from fastwave import music


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("midi", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True, help="a folder for the sounds")
    parser.add_argument("--program", type=int, help="0..127 of General MIDI, for all parts in place of their own")
    parser.add_argument("--soundfont", default=SOUNDFONT)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for midi in arguments.midi:
        piece = music.read_midi(midi)
        if arguments.program is not None:
            tracks = tuple(dataclasses.replace(track, program=arguments.program) for track in piece.tracks)
            piece = dataclasses.replace(piece, tracks=tracks)
        render(piece, arguments.out / f"{midi.stem}-reference.wav", arguments.soundfont)
        made = music.render(piece)
        assert made.samples is not None
        soundfile.write(arguments.out / f"{midi.stem}-band.wav", made.samples.mean(dim=0).numpy(), made.sample_rate)
        notes = sorted((note.onset, note.length, note.key) for track in piece.tracks for note in track.notes)
        (arguments.out / f"{midi.stem}.json").write_text(json.dumps(notes) + "\n")
        print(f"{midi.stem}: {len(notes)} notes, played by {', '.join(made.instruments)}", flush=True)


if __name__ == "__main__":
    main()
