"""`fastwave speak`: a text as speech."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..generation.saving import check_folder, check_place
from ..speech.locate import default_voice, locate_voice, read_description, voices
from ..speech.options import RANGES, Delivery
from .options import Verbs, add_dtype, add_json, add_verb, note, print_json
from .parser import table, whole_number
from .player import find_player
from .speak_text import Text, check_text, texts_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..speech.spoken import Spoken
    from ..speech.voice import Voice

STANDARD_OUTPUT = "-"
EXAMPLES = """\
examples:
  fastwave speak "Good morning, the kettle is on." -o morning.wav
  fastwave speak -f chapter.txt -o chapter.mp3 --speed 1.1
  echo "Hello." | fastwave speak --raw | aplay -r 16000 -f S16_LE -c 1
  fastwave speak -f lines.txt --lines --output-dir prompts
"""


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "speak", speak, check)
    verb.formatter_class = argparse.RawDescriptionHelpFormatter
    verb.epilog = EXAMPLES
    verb.add_argument(
        "text", nargs="*", metavar="TEXT", help="what to say; - or nothing reads a text from standard input"
    )
    verb.add_argument("-f", "--file", metavar="FILE", help="say a text file, or every .txt file of a folder")
    verb.add_argument("--lines", action="store_true", help="every line is a text of its own, in a file of its own")
    verb.add_argument("--ssml", action="store_true", help="the text is a document of SSML")
    verb.add_argument(
        "--from-phonemes", action="store_true", help="the text is made of phones, as --phonemes prints it"
    )
    output = verb.add_argument_group("where it goes")
    output.add_argument(
        "-o", "--output", "--output-file", "--output_file", metavar="FILE",
        help=".wav, .flac, .ogg or .mp3; - streams a .wav to standard output",
    )  # fmt: skip
    output.add_argument(
        "--output-dir", "--output_dir", "-d", metavar="FOLDER", help="a file for every line, or for every text file"
    )
    output.add_argument("--play", action="store_true", help="play it, by a player of this machine")
    output.add_argument(
        "--raw", "--output-raw", "--output_raw", action="store_true",
        help="stream 16-bit samples without a header to standard output",
    )  # fmt: skip
    output.add_argument("--phonemes", action="store_true", help="print the phones of the text, and say nothing")
    output.add_argument("--timings", metavar="FILE", help="write when each word and phone begins and ends, as JSON")
    add_json(verb)
    _add_voice(verb.add_argument_group("how it sounds"))


def _add_voice(group: Any) -> None:
    group.add_argument("-m", "--voice", "--model", metavar="VOICE", help="the name of a bundled voice, or a folder")
    group.add_argument("--list-voices", action="store_true", help="list the bundled voices")
    group.add_argument("--speed", type=float, help="2 is twice as fast (default: 1)")
    group.add_argument(
        "--length-scale",
        "--length_scale",
        type=float,
        metavar="SCALE",
        help="the inverse of --speed: 2 is half as fast",
    )
    group.add_argument("--pitch", type=float, default=1.0, help="1.1 is a tenth higher (default: 1)")
    group.add_argument("--volume", type=float, default=1.0, help="2 is twice as loud; it never clips (default: 1)")
    group.add_argument(
        "--sentence-silence", "--sentence_silence", type=float, default=0.2, metavar="SECONDS",
        help="silence between two sentences (default: 0.2)",
    )  # fmt: skip
    group.add_argument("--seed", type=int, default=0, help="the same seed gives the same samples (default: 0)")
    group.add_argument("--temperature", type=float, help="below 1 is smoother (default: what the voice was made for)")
    add_dtype(group, "what the voice was made for")
    group.add_argument("--threads", type=whole_number(1), help="threads of the engine (default: all cores)")


# Before torch is imported


def check(options: argparse.Namespace) -> None:
    """Refuse what needs no voice to be refused."""
    if options.list_voices:
        options.computes = False
        return
    check_text(options)
    _check_output(options)
    if options.speed is not None and options.length_scale is not None:
        raise InputError("give --speed or --length-scale, its inverse, not both.")
    slowest, fastest = RANGES["speed"]
    if options.length_scale is not None and not 1 / fastest <= options.length_scale <= 1 / slowest:
        raise InputError(
            f"--length-scale must be a number from {1 / fastest:g} to {1 / slowest:g}, got {options.length_scale:g}."
        )
    _delivery(options)
    options.voice = default_voice() if options.voice is None else options.voice
    locate_voice(options.voice)


def _check_output(options: argparse.Namespace) -> None:
    if options.raw and options.output is None:
        options.output = STANDARD_OUTPUT
    places = {
        f"-o {options.output}": options.output is not None,
        f"--output-dir {options.output_dir}": options.output_dir is not None,
        "--play": options.play,
        "--phonemes": options.phonemes,
    }
    chosen = [place for place, is_chosen in places.items() if is_chosen]
    if not chosen:
        raise InputError("say where the sound goes: -o FILE.wav (or .flac, .ogg, .mp3), -o - for a pipe, or --play.")
    if len(chosen) > 1:
        raise InputError(f"give one of {' and '.join(chosen)}, not {'both' if len(chosen) == 2 else 'all of them'}.")
    if options.raw and options.output != STANDARD_OUTPUT:
        raise InputError(f"--raw writes samples to standard output: leave out {chosen[0]}, or leave out --raw.")
    if options.lines and options.output_dir is None and not options.phonemes:
        raise InputError("--lines makes a file of every line: give --output-dir FOLDER.")
    if options.play:
        find_player()
    if options.output == STANDARD_OUTPUT:
        if sys.stdout.isatty():
            raise InputError("-o - would write sound to the terminal: send it to a program or a file, or give -o FILE.")
        if options.json or options.timings == STANDARD_OUTPUT:
            raise InputError("standard output takes the sound or JSON, not both: give -o FILE.")
    elif options.output is not None:
        check_place(options.output)
    if options.timings is not None:
        if options.output_dir is not None or options.phonemes:
            raise InputError(f"--timings {options.timings} belongs to one sound: give -o FILE or --play.")
        if options.timings != STANDARD_OUTPUT:
            check_place(options.timings)
    if options.output_dir is not None:
        check_folder(options.output_dir, "--output-dir")


def _delivery(options: argparse.Namespace) -> Delivery:
    speed = options.speed if options.speed is not None else 1 / (options.length_scale or 1.0)
    return Delivery(speed, options.pitch, options.volume, options.seed, options.temperature, options.sentence_silence)


# What runs


def speak(options: argparse.Namespace) -> int:
    """Say a text: speech from a voice, streamed as it is made."""
    if options.list_voices:
        return _list_voices(options)
    from ..speech.voice import Voice

    texts = texts_of(options)
    voice = Voice.load(options.voice, dtype=options.dtype, threads=options.threads)
    if options.phonemes:
        return _print_phones(voice, texts, options)
    if options.output not in (None, STANDARD_OUTPUT):
        from ..sound import audio

        audio.format_of(Path(options.output), voice.sample_rate)
    rows = [row for text in texts if (row := _say(voice, text, options)) is not None]
    if not rows:
        raise InputError("none of the texts holds anything that can be spoken: nothing was written.")
    if options.json:
        print_json(rows if options.output_dir is not None else rows[0])
    return 0


def _say(voice: Voice, text: Text, options: argparse.Namespace) -> dict[str, Any] | None:
    """Say one text; what was made of it, or None where one of several texts says nothing."""
    from ..speech.spoken import timing_values, write_timings
    from .speak_output import Recorder, deliver

    begun = time.perf_counter()
    try:
        parts = _parts(voice, text, options)
    except InputError as error:
        if options.output_dir is None:
            raise
        note(f"{text.name}: {error}")
        return None
    recorder = Recorder(parts, keeps_timings=options.timings is not None)
    deliver(recorder, text.output, voice.sample_rate, options)
    elapsed = time.perf_counter() - begun
    if options.timings == STANDARD_OUTPUT and not options.json:
        print_json({"words": list(timing_values(recorder.timings))})
    elif options.timings not in (None, STANDARD_OUTPUT):
        write_timings(options.timings, recorder.timings)
    recorder.complain()
    for sentence in recorder.notes:
        note(sentence)
    seconds = recorder.samples / voice.sample_rate
    if sys.stderr.isatty():
        print(f"{seconds:.1f} s of speech in {elapsed:.1f} s: {seconds / elapsed:.1f} times real time", file=sys.stderr)
    row = {
        "output": None if text.output is None else str(text.output),
        "voice": str(options.voice),
        "seconds": round(seconds, 3),
        "sample_rate": voice.sample_rate,
        "words": recorder.words,
        "elapsed": round(elapsed, 3),
        "notes": recorder.notes,
    }
    return row | ({"timings": list(timing_values(recorder.timings))} if options.timings == STANDARD_OUTPUT else {})


def _parts(voice: Voice, text: Text, options: argparse.Namespace) -> Iterator[Spoken]:
    return voice.stream(text.content, ssml=options.ssml, phonemes=options.from_phonemes, **vars(_delivery(options)))


def _print_phones(voice: Voice, texts: list[Text], options: argparse.Namespace) -> int:
    lines = [voice.phonemes(text.content, ssml=options.ssml) for text in texts]
    if options.json:
        print_json([{"name": text.name, "phones": line.splitlines()} for text, line in zip(texts, lines, strict=True)])
    else:
        print("\n".join(lines))
    return 0


def _list_voices(options: argparse.Namespace) -> int:
    keys = ("name", "language", "sample_rate", "speaker", "licence", "description")
    rows = [{key: read_description(locate_voice(name)).get(key) for key in keys} for name in voices()]
    if options.json:
        print_json(rows)
        return 0
    if not rows:
        note("this installation has no bundled voice: name the folder of one with --voice FOLDER.")
        return 0
    print(table([("voice", *keys[1:]), *(tuple(str(row[key]) for key in keys) for row in rows)]))
    return 0
