"""What several verbs share: their arguments, and how a model and an input file are read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ..errors import InputError

if TYPE_CHECKING:
    from ..config import WaveNetConfig
    from ..model import WaveNet

DEFAULT_MODEL = "pluck"

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Run = Callable[[argparse.Namespace], int]


def add_verb(verbs: Verbs, name: str, run: Run) -> argparse.ArgumentParser:
    """A verb of the command, whose help is the docstring of the function that runs it."""
    verb = verbs.add_parser(name, help=run.__doc__, description=run.__doc__)
    verb.set_defaults(run=run, untrained=None)
    return verb


def add_model(verb: argparse.ArgumentParser) -> None:
    """The model: a checkpoint, a bundled model, or an untrained preset."""
    verb.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help=f"a checkpoint folder, or the name of a bundled model (default: {DEFAULT_MODEL})",
    )
    verb.add_argument("--untrained", metavar="PRESET", help="random weights of a preset shape instead: ref, small, ...")


def add_engine(verb: argparse.ArgumentParser) -> None:
    """What computes, in which numbers, on how many threads."""
    verb.add_argument("--backend", default="auto", help="auto, reference, cpu or cuda (default: auto)")
    verb.add_argument("--dtype", default="float32", help="float32, bfloat16, int8 or float64 (default: float32)")
    verb.add_argument("--threads", type=int, help="threads of the engine (default: all cores; 1 for bench)")


def add_conditioning(verb: argparse.ArgumentParser) -> None:
    """What a conditioned model follows."""
    verb.add_argument(
        "--condition",
        metavar="FILE",
        help="the features to follow: a file of the kind that the model was trained on, such as a recording for mel "
        "features (see fastwave info), or a .npy array [frames, channels]",
    )
    verb.add_argument("--speaker", type=int, metavar="ID", help="the number of a speaker, for a model of several")


def load_model(options: argparse.Namespace) -> tuple[WaveNet, WaveNetConfig]:
    """The model that the arguments name, and its config."""
    import torch

    from ..config import WaveNetConfig
    from ..model import WaveNet

    if options.model is not None and options.untrained is not None:
        raise InputError("give MODEL or --untrained PRESET, not both.")
    if options.model is None and options.untrained is None:
        options.model = DEFAULT_MODEL
    if options.model is not None:
        model = WaveNet.from_pretrained(options.model)
        return model, model.config
    torch.manual_seed(0)
    model = WaveNet(WaveNetConfig.preset(options.untrained))
    if options.verb == "generate":
        print("fastwave: the weights are random (--untrained): expect noise.", file=sys.stderr)
    return model, model.config


def read_input(path: str, config: WaveNetConfig) -> object:
    """A sound file at the rate and the level that the model was trained at, or the bytes of a text file."""
    if config.codec_object.is_audio:
        from ..sound import loudness

        return loudness.load(path, config.sample_rate, config.normalize)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error


def print_rows(rows: Sequence[tuple[str, str]]) -> None:
    """A table of two columns."""
    width = max(len(key) for key, _ in rows)
    for key, value in rows:
        print(f"{key.ljust(width)}  {value}")
