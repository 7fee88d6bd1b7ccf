"""What several verbs share: their arguments, and how a model and an input file are read."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import AudioError, InputError, did_you_mean
from ..locate import locate
from .parser import Parser, table, whole_number
from .presets import check_preset

if TYPE_CHECKING:
    from ..config import WaveNetConfig
    from ..model import WaveNet

DEFAULT_MODEL = "pluck"
BACKENDS = ("auto", "reference", "cpu", "cuda")  # of generation; runtime/dispatch.py chooses among them
DTYPES = ("auto", "float32", "bfloat16", "int8", "float64")

Verbs: TypeAlias = "argparse._SubParsersAction[Parser]"
Run = Callable[[argparse.Namespace], int]
Check = Callable[[argparse.Namespace], None]


def add_verb(verbs: Verbs, name: str, run: Run, check: Check | None = None, computes: bool = True) -> Parser:
    """A verb of the command, whose help is the docstring of the function that runs it.

    `check` refuses, before torch is imported, what can be refused without it. A verb that `computes` needs torch.
    """
    verb = verbs.add_parser(name, help=run.__doc__, description=run.__doc__)
    verb.set_defaults(run=run, check=check or (lambda _: None), computes=computes, untrained=None)
    verb.add_argument("--quiet", action="store_true", help="write nothing to standard error but errors")
    return verb


def add_model(verb: argparse.ArgumentParser) -> None:
    """The model: a checkpoint, a bundled model, or an untrained preset."""
    verb.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a checkpoint folder, one step of a run (RUN/checkpoints/step-N.safetensors), or the name of a bundled "
        f"model (default: {DEFAULT_MODEL})",
    )
    verb.add_argument("--untrained", metavar="PRESET", help="random weights of a preset shape instead: ref, small, ...")


def add_engine(verb: argparse.ArgumentParser, dtype: str = "auto") -> None:
    """What computes, in which numbers (by default in `dtype`), on how many threads."""
    verb.add_argument(
        "--backend", choices=BACKENDS, default="auto", metavar="BACKEND", help=f"{', '.join(BACKENDS)} (default: auto)"
    )
    add_dtype(verb, "the smallest that costs this model next to nothing", dtype)
    verb.add_argument("--threads", type=whole_number(1), help="threads of the engine (default: all cores; 1 for bench)")


def add_dtype(verb: argparse._ActionsContainer, auto: str, default: str = "auto") -> None:
    """In which numbers it computes; `auto` says what that choice is."""
    others = ", ".join(DTYPES[1:])
    verb.add_argument(
        "--dtype", choices=DTYPES, default=default, metavar="DTYPE",
        help=f"{others}, or auto: {auto} (default: {default})",
    )  # fmt: skip


def add_conditioning(verb: argparse.ArgumentParser) -> None:
    """What a conditioned model follows."""
    verb.add_argument(
        "--condition",
        metavar="FILE",
        help="the features to follow: a file of the kind that the model was trained on, such as a recording for mel "
        "features (see fastwave info), or a .npy array [frames, channels]",
    )
    verb.add_argument("--speaker", metavar="NAME", help="the name or number of a speaker, for a model of several")


def add_json(verb: argparse.ArgumentParser) -> None:
    """The choice of JSON in place of a table."""
    verb.add_argument("--json", action="store_true", help="print JSON, for other programs")


# Before torch is imported


def check_model(options: argparse.Namespace) -> None:
    """Refuse a model that does not exist; the default one takes the place of none."""
    if options.model is not None and options.untrained is not None:
        raise InputError("give MODEL or --untrained PRESET, not both.")
    if options.untrained is not None:
        check_preset(options.untrained)
    else:
        options.model = DEFAULT_MODEL if options.model is None else options.model
        locate(options.model)


def check_file(option: str, path: str | None) -> None:
    """Refuse a file that does not exist, under the name of the option that names it."""
    if path is None or Path(path).is_file():
        return
    if Path(path).exists():
        raise InputError(f"{option} {path} is a folder or a device: give a file.")
    raise InputError(f"{option} {path}: there is no such file.{did_you_mean(Path(path).name, siblings(path))}")


def check_data(options: argparse.Namespace) -> None:
    """Refuse a folder of data that does not exist, a preset that is not known, and a file in place of a folder."""
    if not Path(options.folder).exists():
        hint = did_you_mean(Path(options.folder).name, siblings(options.folder))
        raise InputError(f"there is no {options.folder}: give a folder of sound or text files.{hint}")
    if options.preset is not None:
        check_preset(options.preset)
    if Path(options.out).is_file():
        raise InputError(f"--out {options.out} is a file: give a folder, which need not exist yet.")


def check_material(folder: str, out: str, material: str) -> None:
    """Refuse a folder of `material` that does not exist, and an `out` that is a file, before torch is imported."""
    place = Path(folder)
    if not place.is_dir():
        kind = "is a file" if place.exists() else "does not exist"
        hint = "" if place.exists() else did_you_mean(place.name, siblings(folder))
        raise InputError(f"{place} {kind}: give a folder of {material}.{hint}")
    if Path(out).is_file():
        raise InputError(f"--out {out} is a file: give a folder, which need not exist yet.")


def siblings(path: str) -> list[str]:
    """The names of what lies beside a path."""
    try:
        return [each.name for each in Path(path).parent.iterdir()]
    except OSError:
        return []


# What runs


def load_any_model(options: argparse.Namespace) -> tuple[Any, Any]:
    """The model that the arguments name, of any kind that generates, and its config."""
    from ..generation.loading import load

    if options.untrained is not None:
        return load_model(options)
    model = load(options.model)
    return model, model.config


def load_model(options: argparse.Namespace) -> tuple[WaveNet, WaveNetConfig]:
    """The WaveNet that the arguments name, and its config."""
    import torch

    from ..config import WaveNetConfig
    from ..model import WaveNet

    if options.untrained is None:
        model = WaveNet.from_pretrained(options.model)
        return model, model.config
    torch.manual_seed(0)
    model = WaveNet(WaveNetConfig.preset(options.untrained))
    if options.verb == "generate":
        note("the weights are random (--untrained): expect noise.")
    return model, model.config


def read_input(path: str, config: WaveNetConfig) -> object:
    """A sound file at the rate and the level that the model was trained at, or the bytes of a text file."""
    if config.codec_object.is_audio:
        from ..sound import audio, loudness

        with contextlib.suppress(AudioError):  # a FLAC that was written as a stream does not say how long it is
            rate = audio.info(path).sample_rate
            if rate != config.sample_rate:
                note(f"{path} has {rate} Hz and the model {config.sample_rate} Hz: it is resampled.")
        return loudness.load(path, config.sample_rate, config.normalize)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error


def note(text: str) -> None:
    """A sentence beside the result."""
    print(f"fastwave: {text}", file=sys.stderr)


def print_rows(rows: Sequence[tuple[str, str]]) -> None:
    """A table of two columns."""
    print(table(rows))


def print_json(values: Any) -> None:
    """One JSON value."""
    print(json.dumps(values, indent=2))
