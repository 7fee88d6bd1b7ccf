"""`fastwave copy`: a recording through a model that follows its features, and how near the copy comes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..errors import InputError
from .judge import print_report
from .options import Verbs, add_engine, add_verb, check_model, load_any_model


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "copy", copy, check)
    verb.add_argument("model", metavar="MODEL", help="a model that was trained with --features mel, or with --parallel")
    verb.add_argument("input", metavar="INPUT", help="a recording of any sample rate, or a folder of them")
    verb.add_argument(
        "-o", "--output", required=True, metavar="OUTPUT",
        help="where to save the copy: .wav, .flac, .ogg, .mp3; for a folder of recordings a folder, whose files then "
        "have the same names",
    )  # fmt: skip
    add_engine(verb)
    verb.add_argument("--speaker", metavar="NAME", help="a speaker's name or number, for a model of several")
    verb.add_argument("--seed", type=int, default=0, help="the same seed gives the same copy (default: 0)")
    verb.add_argument(
        "--temperature", type=float, default=1.0, help="below 1 is safer, 0 always takes the likeliest (default: 1)"
    )
    verb.add_argument("--json", action="store_true", help="print JSON, with the keys that docs/judging.md lists")


def check(options: argparse.Namespace) -> None:
    """Refuse what needs no model to be refused."""
    check_model(options)
    if not Path(options.input).exists():
        raise InputError(f"there is no {options.input}: give a recording, or a folder of them.")


def copy(options: argparse.Namespace) -> int:
    """Copy recordings: compute their features, make sound of these, and compare it with the recordings."""
    from ..generation.copy import check_copies, copies
    from ..generation.loading import generator_of
    from ..generation.saving import save_or_rescue
    from ..tools.judge import of_pairs

    model, config = load_any_model(options)
    check_copies(config)
    pairs = _pairs(Path(options.input), Path(options.output))
    for _, output in pairs:
        _check_writable(output)
    engine = generator_of(model, options.backend, options.dtype, options.threads)
    made = copies(
        engine,  # type: ignore[arg-type]
        [recording for recording, _ in pairs],
        seed=options.seed,
        temperature=options.temperature,
        speaker=options.speaker,
        progress=True,
    )
    for index, result in made:
        pairs[index][1].parent.mkdir(parents=True, exist_ok=True)
        save_or_rescue(result, pairs[index][1])
    print_report(of_pairs([(output, recording) for recording, output in pairs]), options.json)
    return 0


def _pairs(recording: Path, output: Path) -> list[tuple[Path, Path]]:
    """(recording, its copy): one file, or every sound file of a folder and the same name in the other folder."""
    from ..data.sources import find

    sounds, _ = find(recording)
    if not sounds:
        raise InputError(f"{recording} holds no sound: give a .wav, .flac, .ogg or .mp3 file, or a folder of them.")
    if recording.is_file():
        output = output / recording.name if output.is_dir() else output
        pairs = [(recording, output)]
    else:
        if output.is_file():
            raise InputError(f"-o {output} is a file and {recording} a folder: give a folder for the copies.")
        if recording.resolve() in (output.resolve(), *output.resolve().parents):
            raise InputError(f"-o {output} lies in the folder of the recordings, {recording}: give another folder.")
        pairs = [(Path(sound.path), output / sound.name) for sound in sounds]
    if any(output.resolve() == recording.resolve() for recording, output in pairs):
        raise InputError(f"-o {output} is the recording itself: give another name.")
    return pairs


def _check_writable(output: Path) -> None:
    """Refuse, before the work, a file that could not be written after it."""
    from ..data.sources import SOUND

    if output.suffix.lower() not in SOUND:
        raise InputError(f"-o {output} must end in {', '.join(sorted(SOUND))}, got {output.suffix!r}.")
    folder = next(folder for folder in output.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"cannot write {output}: no file can be made in {folder}. Choose another place.")
