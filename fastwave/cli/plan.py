"""The options for the data and the shape of the model, which the verbs `train` and `prepare` share."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, InputError, did_you_mean

if TYPE_CHECKING:  # imported where it is used, as it imports torch
    from ..training.choices import Choices


def add_data_options(verb: argparse.ArgumentParser) -> None:
    """Add the options for the data and for the shape of the model that learns from them."""
    verb.add_argument("folder", metavar="FOLDER", help="sound or text files, at any depth; or data already prepared")
    verb.add_argument("--preset", help="the model's shape to start from (default: chosen by the time there is)")
    verb.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="FIELD=VALUE",
        help="change fields of the config: residual_channels=48 dilations=10x3 features.window=2048",
    )
    verb.add_argument("--sample-rate", type=int, help="Hz of the model; sound is resampled (default: the preset's)")
    verb.add_argument(
        "--speakers",
        metavar="SPEAKERS",
        help="who speaks: folders, where each sub-folder is a speaker, or a CSV file of name,speaker",
    )
    verb.add_argument(
        "--features",
        metavar="FEATURES",
        help="condition the model on features of the sound: mel, or a folder with NAME.npy for every file",
    )
    verb.add_argument("--bands", type=int, help="width of a frame of features (default: as the preset, or as vocoder)")
    verb.add_argument("--channel", default="mix", help="channel of a file: mix, or a number from 0 (default: mix)")
    verb.add_argument("--trim", type=float, metavar="DB", help="cut both ends of a file where quieter: such as -50")
    verb.add_argument(
        "--normalize",
        choices=("off", "peak", "loudness"),
        help="bring each file to a common loudness or peak, or leave its level (default: loudness; off for text, for "
        "features that you bring, and for data or a run that began with off)",
    )
    verb.add_argument("--held-out", type=float, default=0.05, help="share of the files to validate on (default: 0.05)")
    verb.add_argument("--workers", type=int, help="processes that prepare data (default: all cores)")


def choices_of(options: argparse.Namespace) -> Choices:
    """What the options choose."""
    from ..training.choices import Choices

    names = {field.name for field in dataclasses.fields(Choices)} - {"changes", "start"}
    start = getattr(options, "start", None)  # of train alone
    return Choices(**{name: getattr(options, name) for name in names}, changes=_changes(options.set), start=start)


def _changes(texts: Sequence[str]) -> dict[str, Any]:
    """Fields of the config from FIELD=VALUE, and objects of parameters from FIELD.NAME=VALUE."""
    from ..config import WaveNetConfig

    known = [field.name for field in dataclasses.fields(WaveNetConfig)]
    changes: dict[str, Any] = {}
    for name, value in map(_field, texts):
        field, dot, parameter = name.partition(".")
        if field not in known:
            raise InputError(
                f"--set {name}: unknown config field {field!r}.{did_you_mean(field, known)} Fields are "
                f"{', '.join(known)}."
            )
        if dot and field not in ("features", "codec_parameters"):
            raise InputError(f"--set {name}: only features and codec_parameters have parameters.")
        if dot:
            changes.setdefault(field, {})[parameter] = value
        else:
            changes[field] = value
    return changes


def _parameter(text: str) -> Any:
    """The value of a text: None for none, else an int or a float where it is one, else the text itself."""
    if text == "none":
        return None
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _field(text: str) -> tuple[str, Any]:
    """FIELD=VALUE -> the field and its value."""
    from ..config import dilation_cycle

    name, equals, value = text.partition("=")
    if not equals or not value:
        raise InputError(f"--set takes FIELD=VALUE, got {text!r}.")
    try:
        if name == "dilations" and "x" in value:
            depth, stacks = value.split("x")
            return name, dilation_cycle(int(depth), int(stacks))
        if name in ("dilations", "upsample_scales"):
            return name, tuple(int(part) for part in value.split(","))
        if "." in name:
            return name, _parameter(value)
        return name, int(value) if value.lstrip("-").isdecimal() else value
    except ConfigError:
        raise
    except ValueError as error:
        raise InputError(f"--set {text}: give whole numbers, as in dilations=1,2,4 or dilations=10x2.") from error
