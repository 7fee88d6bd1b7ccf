"""`fastwave music`: a MIDI file, or a piece that a model composes, as sound."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..generation.saving import check_folder, check_place
from ..music import bands
from ..music.casting import Cast, assign
from ..music.midi import SUFFIXES, read
from ..music.notes import Piece
from ..music.options import SAMPLE_RATES, Playing
from .options import Verbs, add_json, add_verb, check_file, note, print_json
from .parser import number_above_zero, table
from .player import find_player

STANDARD_OUTPUT = "-"
COMPOSED_SECONDS = 30.0
EXAMPLES = """\
examples:
  fastwave music song.mid -o song.wav
  fastwave music song.mid --play --start 1:05 --end 1:30 --tempo 0.8
  fastwave music choir.mid -o choir.flac --stems parts --sample-rate 48000
  fastwave music song.mid -o flutes.mp3 --instrument flute --transpose 12
  fastwave music --compose --seconds 40 --key "D minor" --seed 3 -o new.wav
  fastwave music --compose --seed 3 -o new.mid            the same piece, as notes
"""


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "music", music, check)
    verb.formatter_class = argparse.RawDescriptionHelpFormatter
    verb.epilog = EXAMPLES
    verb.add_argument("file", nargs="?", metavar="FILE.mid", help="the MIDI file to play")
    verb.add_argument(
        "-o", "--output", metavar="FILE",
        help=".wav, .flac, .ogg or .mp3 for sound, .mid for the notes; - streams a .wav to standard output",
    )  # fmt: skip
    verb.add_argument("--play", action="store_true", help="play it, by a player of this machine")
    verb.add_argument("--stems", metavar="FOLDER", help="also write a file of every track, which together are the mix")
    add_json(verb)
    _add_sound(verb.add_argument_group("how it sounds"))
    _add_composing(verb.add_argument_group("a new piece"))


def _add_sound(group: Any) -> None:
    group.add_argument(
        "--instrument", metavar="NAME",
        help="the instrument that plays all tracks, or the folder of a trained one (default: the nearest to each)",
    )  # fmt: skip
    group.add_argument("--list-instruments", action="store_true", help="list the instruments")
    group.add_argument("--tempo", type=float, default=1.0, help="2 is twice as fast (default: 1)")
    group.add_argument("--transpose", type=int, default=0, metavar="KEYS", help="12 is an octave higher (default: 0)")
    group.add_argument("--start", type=_moment, default=0.0, metavar="TIME", help="where to begin: seconds, or 1:30")
    group.add_argument("--end", type=_moment, metavar="TIME", help="where to end (default: with the piece)")
    group.add_argument(
        "--gain", type=float, default=0.0, metavar="DB", help="6 is twice as loud; it never clips (default: 0)"
    )
    group.add_argument(
        "--sample-rate", type=int, choices=SAMPLE_RATES, default=SAMPLE_RATES[0], metavar="HZ",
        help=f"{' or '.join(map(str, SAMPLE_RATES))} (default: {SAMPLE_RATES[0]})",
    )  # fmt: skip
    group.add_argument("--seed", type=int, default=0, help="the same seed gives the same samples (default: 0)")
    group.add_argument(
        "--temperature", type=float,
        help="below 1 is smoother (default: what the instrument was made for); with --compose it is the composer's",
    )  # fmt: skip


def _add_composing(group: Any) -> None:
    group.add_argument("--compose", action="store_true", help="write a piece in place of reading one")
    group.add_argument(
        "--seconds", type=number_above_zero, help=f"about how long it is (default: {COMPOSED_SECONDS:g})"
    )
    group.add_argument("--key", metavar="KEY", help='such as "C major" or "F# minor" (default: the seed chooses)')


def _moment(text: str) -> float:
    """Seconds, also as minutes:seconds."""
    minutes, _, seconds = text.rpartition(":")
    try:
        moment = 60 * int(minutes or 0) + float(seconds)
    except ValueError:
        moment = -1.0
    if not 0 <= moment < float("inf"):
        raise argparse.ArgumentTypeError(f"must be seconds, such as 90, or minutes and seconds, 1:30, got {text!r}.")
    return moment


# Before torch is imported


def check(options: argparse.Namespace) -> None:
    """Refuse what needs no sound to be refused; a MIDI file is read and cast here."""
    if options.list_instruments:
        options.computes = False
        return
    options.playing = _playing(options)
    options.to_midi = (options.output or "").lower().endswith(SUFFIXES)
    _check_source(options)
    _check_output(options)
    options.computes = options.compose or not options.to_midi
    if not options.to_midi:
        options.choice = bands.choose(options.instrument)
        options.instruments = bands.instruments_of(options.choice.folder)
    if not options.compose:
        options.piece = options.playing.edit(read(options.file))
        if not options.to_midi:
            _cast(options.piece, options)


def _playing(options: argparse.Namespace) -> Playing:
    return Playing(
        options.tempo, options.transpose, options.start, options.end, options.gain, options.sample_rate, options.seed,
        None if options.compose else options.temperature,
    )  # fmt: skip


def _cast(piece: Piece, options: argparse.Namespace) -> Cast:
    return assign(piece, options.instruments, options.choice.instrument)


def _check_source(options: argparse.Namespace) -> None:
    if options.compose and options.file is not None:
        raise InputError(f"give {options.file} or --compose, which writes a piece of its own, not both.")
    if not options.compose:
        if options.file is None:
            raise InputError("say what to play: FILE.mid, or --compose for a new piece.")
        for name in ("seconds", "key"):
            if getattr(options, name) is not None:
                cure = " Use --start and --end for a part of a file." if name == "seconds" else ""
                raise InputError(f"--{name} belongs to --compose: a MIDI file has its own.{cure}")
        check_file("FILE.mid", options.file)


def _check_output(options: argparse.Namespace) -> None:
    if (options.output is None) != options.play:
        both = "give -o FILE or --play, not both." if options.play else (
            "say where the music goes: -o FILE.wav (or .flac, .ogg, .mp3, .mid), -o - for a pipe, or --play."
        )  # fmt: skip
        raise InputError(both)
    if options.to_midi:
        for name in ("stems", "instrument"):
            if getattr(options, name) is not None:
                raise InputError(f"--{name} is for sound: give -o FILE.wav, or leave out --{name} for a MIDI file.")
    if options.play:
        find_player()
    elif options.output == STANDARD_OUTPUT:
        if sys.stdout.isatty():
            raise InputError("-o - would write sound to the terminal: send it to a program or a file, or give -o FILE.")
        if options.json:
            raise InputError("standard output takes the sound or JSON, not both: give -o FILE.")
    else:
        check_place(options.output)
        if not options.to_midi:
            _check_suffix(Path(options.output))
        if options.file is not None and Path(options.output).resolve() == Path(options.file).resolve():
            raise InputError(f"-o {options.output} is the file that is read: give another name.")
    if options.stems is not None:
        if options.play or options.output == STANDARD_OUTPUT:
            raise InputError(f"--stems {options.stems} goes with a file: give -o FILE.wav.")
        check_folder(options.stems, "--stems")


def _check_suffix(path: Path) -> None:
    """What `sound.audio` says again, whose import takes seconds."""
    known = (".wav", ".flac", ".ogg", ".mp3")
    if path.suffix.lower() not in known:
        raise InputError(
            f"{path}: cannot tell the format from the suffix {path.suffix!r}: use {', '.join(known)}, or .mid."
        )


# What runs


def music(options: argparse.Namespace) -> int:
    """Play a MIDI file, or compose a piece: stereo sound, made by trained instruments."""
    if options.list_instruments:
        return _list_instruments(options)
    begun = time.perf_counter()
    piece = options.playing.edit(_composed(options)) if options.compose else options.piece
    row = _write_notes(piece, options) if options.to_midi else _write_sound(_cast(piece, options), options)
    elapsed = time.perf_counter() - begun
    for sentence in row["notices"]:
        note(sentence)
    if sys.stderr.isatty() and not options.to_midi:
        seconds = row["seconds"]
        print(f"{seconds:.1f} s of music in {elapsed:.1f} s: {seconds / elapsed:.1f} times real time", file=sys.stderr)
    if options.json:
        print_json(row | {"elapsed": round(elapsed, 3)})
    return 0


def _composed(options: argparse.Namespace) -> Piece:
    from importlib import import_module

    given = {"temperature": options.temperature, "key": options.key}
    given = {name: value for name, value in given.items() if value is not None}
    compose = import_module("fastwave.music.composer").compose
    piece: Piece = compose(options.seconds or COMPOSED_SECONDS, seed=options.seed, **given)
    return piece


def _write_notes(piece: Piece, options: argparse.Namespace) -> dict[str, Any]:
    from ..music.midi_writing import write

    if not piece.tracks:
        raise InputError(f"there is nothing to write. {' '.join(piece.notices)}".strip())
    write(piece, options.output)
    return {
        "output": options.output, "title": piece.title, "seconds": round(piece.seconds, 3),
        "tracks": [track.name for track in piece.tracks], "notices": list(piece.notices),
    }  # fmt: skip


def _write_sound(cast: Cast, options: argparse.Namespace) -> dict[str, Any]:
    from ..music import rendering
    from .music_output import Progress, deliver_live

    band = bands.load_folder(options.choice.folder)
    blocks = band.stream(cast.parts, options.playing.seed, options.playing.temperature)
    progress = Progress(blocks, cast.seconds, band.sample_rate)
    files: list[str] = []
    try:
        if options.play or options.output == STANDARD_OUTPUT:
            deliver_live(progress, cast, band.sample_rate, options)
        else:
            made = rendering.recorded(progress, cast, band.sample_rate, options.playing, options.output, options.stems)
            files = [str(path) for path in made.paths]
    finally:
        progress.close()
    return {
        "output": options.output, "seconds": round(progress.seconds, 3), "sample_rate": options.sample_rate,
        "tracks": [
            {"name": name, "instrument": part.instrument, "notes": len(part.notes)}
            for name, part in zip(cast.names, cast.parts, strict=True)
        ],
        "stems": files[1:], "notices": list(cast.notices),
    }  # fmt: skip


def _list_instruments(options: argparse.Namespace) -> int:
    rows = []
    for band in bands.band_names():
        description = bands.read_band(bands.BUNDLED / band)
        for name in bands.instruments_of(bands.BUNDLED / band):
            rows.append(
                {"name": name, "band": band, **{key: description.get(key) for key in ("licence", "description")}}
            )
    if options.json:
        print_json(rows)
    elif rows:
        print(table([("instrument", *list(rows[0])[1:]), *(tuple(str(cell) for cell in row.values()) for row in rows)]))
    else:
        note("this installation has no bundled instruments: name a folder of them with --instrument FOLDER.")
    return 0
