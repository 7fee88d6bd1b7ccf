"""From a folder and a few options to a config and a preparation, for the verbs `train` and `prepare`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config import PRESETS, WaveNetConfig, dilation_cycle
from ..data.preparation import Preparation
from ..data.shards import INDEX, Data
from ..data.sources import find, name_speakers
from ..errors import ConfigError, InputError
from ..sound import features as kinds

SPEAKER_CHANNELS, BANDS, HOP = 16, 80, 256  # defaults where neither an option nor the preset says otherwise


def add_data_options(verb: argparse.ArgumentParser) -> None:
    """Add the options for the data and for the shape of the model that learns from them."""
    verb.add_argument("folder", metavar="FOLDER", help="sound or text files, at any depth; or data already prepared")
    verb.add_argument("--preset", default="small", help="the model's shape to start from (default: small)")
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
    verb.add_argument("--bands", type=int, help=f"width of a frame of features (default: the preset's, or {BANDS})")
    verb.add_argument("--channel", default="mix", help="channel of a file: mix, or a number from 0 (default: mix)")
    verb.add_argument("--trim", type=float, metavar="DB", help="cut both ends of a file where quieter: such as -50")
    verb.add_argument(
        "--normalize",
        choices=get_args(Normalize),
        help="bring each file to a common loudness or peak, or leave levels as they are (default: loudness; off for "
        "text, for features that you bring, and for data or a run that began without)",
    )
    verb.add_argument("--held-out", type=float, default=0.05, help="share of the files to validate on (default: 0.05)")
    verb.add_argument("--workers", type=int, help="processes that prepare data (default: all cores)")


def plan(options: argparse.Namespace) -> tuple[WaveNetConfig, Preparation | None]:
    """The model that fits the data and the options, and how to prepare the data, or None where they are prepared."""
    if options.preset not in PRESETS:
        WaveNetConfig.preset(options.preset)  # raises an error that names the presets
    fields: dict[str, Any] = dict(PRESETS[options.preset])
    changes = _changes(options.set)
    if options.sample_rate is not None:
        changes["sample_rate"] = options.sample_rate
    if (Path(options.folder) / INDEX).exists():
        return _config_of_prepared(options, fields, changes), None
    sound, text = find(options.folder)
    if not sound and "codec" not in changes:
        fields |= {"codec": "bytes", "classes": 256, "sample_rate": 0}
    elif text and sound and changes.get("codec") != "bytes":
        print(f"fastwave: {len(text)} text files among the sound are left out", file=sys.stderr)
    fields["normalize"] = _normalize(options, changes.get("codec", fields.get("codec")) == "bytes")
    sources = text if changes.get("codec", fields.get("codec")) == "bytes" else sound
    speakers = len(name_speakers(sources, options.speakers)[1])
    if options.bands is not None and options.features is None:
        raise InputError("--bands is the width of features: add --features mel, or a folder of arrays.")
    bands = options.bands or fields.get("condition_channels") or BANDS
    config = _config(fields, changes, _kind(options.features), bands, None, speakers)
    preparation = Preparation(
        codec=config.codec,
        classes=config.classes,
        sample_rate=config.sample_rate,
        channel=options.channel,
        trim=options.trim,
        normalize=config.normalize,
        features=options.features,
        feature_channels=config.local_channels,
        hop=config.hop,
        speakers=options.speakers,
        held_out=options.held_out,
        codec_parameters=config.codec_parameters,
        feature_parameters=config.features.changed() if config.features else {},
    )
    return config, preparation


def _normalize(options: argparse.Namespace, is_text: bool) -> Normalize:
    """The level to bring files to: what the user says, what the data or the run in --out began with, or the default."""
    if options.normalize is not None or is_text:
        return options.normalize or "off"
    out = Path(options.out)
    data = Path(getattr(options, "prepared", None) or (out / "data" if options.verb == "train" else out))
    if (data / INDEX).exists():
        return Data(data).preparation.normalize
    if (out / RUN).exists():  # its prepared data were removed, or are not finished
        return normalize_of(out / RUN)
    return "loudness" if options.features is None or kinds.is_heard(options.features) else "off"


def _config_of_prepared(options: argparse.Namespace, fields: dict[str, Any], changes: dict[str, Any]) -> WaveNetConfig:
    data = Data(options.folder)
    preparation = data.preparation
    settled = (options.features, options.speakers, options.trim, options.normalize, options.bands)
    if any(option is not None for option in settled):
        raise InputError(
            f"{options.folder} is prepared already, and its features, speakers and levels are settled: leave out "
            "--features, --speakers, --trim, --normalize and --bands, or prepare the sound again with them."
        )
    fields |= {"codec": preparation.codec, "classes": preparation.classes, "sample_rate": preparation.sample_rate}
    fields |= {"codec_parameters": preparation.codec_parameters, "normalize": preparation.normalize}
    features, kind = preparation.feature_kind, None
    if features is not None:
        kind, changes["features"] = features.kind, features.changed() | changes.get("features", {})
    return _config(fields, changes, kind, preparation.feature_channels, preparation.hop, len(data.speakers))


def _config(
    fields: dict[str, Any], changes: dict[str, Any], kind: str | None, bands: int, hop: int | None, speakers: int
) -> WaveNetConfig:
    """The preset's fields, conditioned on features of a kind and on speakers, with the user's changes."""
    if speakers:
        fields |= {"speakers": speakers, "speaker_channels": changes.get("speaker_channels", SPEAKER_CHANNELS)}
    if kind is not None:
        fields["hop"] = hop or fields.get("hop", HOP)
        fields.setdefault("upsampling", "linear")
    elif fields.get("condition_channels"):
        raise InputError("this preset is conditioned on features: add --features mel, or a folder of arrays.")
    fields["condition_channels"] = (bands if kind is not None else 0) + fields.get("speaker_channels", 0)
    parameters = changes.pop("features", {})
    fields |= changes
    if kind is not None:
        width = fields["condition_channels"] - fields.get("speaker_channels", 0)
        fields["features"] = kinds.of_width(kind, width, parameters)
    elif parameters:
        raise InputError("--set features.NAME=VALUE needs features: add --features mel.")
    return WaveNetConfig.from_dict(fields)


def _kind(features: str | None) -> str | None:
    """The kind of features that --features names."""
    if features is None or kinds.is_heard(features):
        return features
    if not Path(features).is_dir():
        computed = [kind for kind in kinds.kinds() if kinds.is_heard(kind)]
        raise InputError(
            f"--features {features} is neither a kind of features that is computed from sound ({', '.join(computed)}) "
            "nor a folder of .npy arrays."
        )
    return "array"


def _changes(texts: Sequence[str]) -> dict[str, Any]:
    """Fields of the config from FIELD=VALUE, and objects of parameters from FIELD.NAME=VALUE."""
    changes: dict[str, Any] = {}
    for name, value in map(_field, texts):
        field, dot, parameter = name.partition(".")
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


def report_skipped(skipped: list[Any], place: Path) -> None:
    """Say which files could not be used, and why."""
    if not skipped:
        return
    print(f"fastwave: {len(skipped)} files were skipped (all in {place / 'prepared.json'}):", file=sys.stderr)
    for name, reason in skipped[:10]:
        print(f"  {name}: {reason}", file=sys.stderr)
