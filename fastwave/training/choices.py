"""From a folder and a few choices to a config and a preparation, for the command and for `fastwave.train`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import checkpoint
from ..config import PRESETS, WaveNetConfig
from ..data.preparation import Preparation
from ..data.shards import INDEX, Data
from ..data.sources import find, name_speakers
from ..errors import InputError
from ..sound import features as kinds
from ..sound.loudness import Normalize

SPEAKER_CHANNELS, BANDS, HOP = 16, 80, 256  # defaults where neither a choice nor the preset says otherwise
PRESET = "small"


@dataclasses.dataclass(frozen=True)
class Choices:
    """What a user may choose about the data and the model's shape. None leaves it to the preset or the data."""

    folder: str  # of sound or text files, or of prepared data
    preset: str | None = None
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # fields of the config
    sample_rate: int | None = None
    speakers: str | None = None  # "folders", or a CSV file of name,speaker
    features: str | None = None  # a kind such as "mel", or a folder of arrays
    bands: int | None = None
    channel: str = "mix"
    trim: float | None = None  # dB
    normalize: Normalize | None = None  # the level that files are brought to
    held_out: float = 0.05
    start: str | None = None  # a model to train further: its weights, its config, its codec and features


def settle(choices: Choices) -> tuple[WaveNetConfig, Preparation | None]:
    """The model that fits the data and the choices, and how to prepare the data, or None where they are prepared."""
    if choices.start is not None:
        return _settle_start(choices, choices.start)
    preset = choices.preset or PRESET
    if preset not in PRESETS:
        WaveNetConfig.preset(preset)  # raises an error that names the presets
    fields: dict[str, Any] = dict(PRESETS[preset])
    changes = dict(choices.changes)
    if choices.sample_rate is not None:
        changes["sample_rate"] = choices.sample_rate
    if (Path(choices.folder) / INDEX).exists():
        return _config_of_prepared(choices, fields, changes), None
    sound, text = find(choices.folder)
    if not sound and "codec" not in changes:
        fields |= {"codec": "bytes", "classes": 256, "sample_rate": 0}
    elif text and sound and changes.get("codec") != "bytes":
        print(f"fastwave: {len(text)} text files among the sound are left out", file=sys.stderr)
    is_text = changes.get("codec", fields.get("codec")) == "bytes"
    fields["normalize"] = choices.normalize or _usual_level(choices.features, is_text)
    sources = text if is_text else sound
    speakers = name_speakers(sources, choices.speakers)[1]
    if choices.bands is not None and choices.features is None:
        raise InputError("--bands is the width of features: add --features mel, or a folder of arrays.")
    bands = choices.bands or fields.get("condition_channels") or BANDS
    config = _config(fields, changes, _kind(choices.features), bands, None, speakers)
    return config, _preparation(choices, config, choices.features)


def _settle_start(choices: Choices, start: str) -> tuple[WaveNetConfig, Preparation | None]:
    """The same for a model that is to be trained further: its config leaves nothing to choose but arrays."""
    settled = {"--preset": choices.preset, "--set": choices.changes, "--bands": choices.bands}
    settled |= {"--sample-rate": choices.sample_rate}
    for option in [name for name, value in settled.items() if value]:
        raise InputError(f"{option} has no place beside --from {start}: the model's own config is kept.")
    config = checkpoint.load(start)[0]
    if config.excitation_channels:
        raise InputError(f"{start} takes an excitation, which these data do not have: it cannot be trained here.")
    if (Path(choices.folder) / INDEX).exists():
        return config, None
    features = choices.features
    heard = config.features is not None and config.features.hears_sound
    if heard and config.features is not None and features in (None, config.features.kind):
        features = config.features.kind
    elif heard or (config.local_channels == 0 and features is not None):
        kind = config.features.kind if config.features else "none"
        raise InputError(f"--features {features}: {start} has features of kind {kind}. Leave --features out.")
    elif config.local_channels and _kind(features) != "array":
        raise InputError(
            f"{start} follows arrays of {config.local_channels} values a frame of {config.hop} samples: add --features "
            "with a folder that has NAME.npy for every file."
        )
    return config, _preparation(choices, config, features)


def _preparation(choices: Choices, config: WaveNetConfig, features: str | None) -> Preparation:
    return Preparation(
        codec=config.codec,
        classes=config.classes,
        sample_rate=config.sample_rate,
        channel=choices.channel,
        trim=choices.trim,
        normalize=config.normalize,
        features=features,
        feature_channels=config.local_channels,
        hop=config.hop,
        speakers=choices.speakers,
        held_out=choices.held_out,
        codec_parameters=config.codec_parameters,
        feature_parameters=config.features.changed() if config.features else {},
    )


def keep_level(choices: Choices, data: Path, run: Mapping[str, Any] | None = None) -> Choices:
    """The choices; where they leave the level open, with that of the data in a folder, or of a run by its run.json.

    So data and runs that began without a common level, as those of an early fastwave, go on without one.
    """
    if choices.normalize is not None or (Path(choices.folder) / INDEX).exists():
        return choices
    if (data / INDEX).exists():
        return dataclasses.replace(choices, normalize=Data(data).preparation.normalize)
    if run is not None:
        return dataclasses.replace(choices, normalize=run["config"].get("normalize", "off"))
    return choices


def _usual_level(features: str | None, is_text: bool) -> Normalize:
    """Features that the user brings belong to the sound as it is."""
    return "off" if is_text or not (features is None or kinds.is_heard(features)) else "loudness"


def _config_of_prepared(choices: Choices, fields: dict[str, Any], changes: dict[str, Any]) -> WaveNetConfig:
    data = Data(choices.folder)
    preparation = data.preparation
    settled = (choices.features, choices.speakers, choices.trim, choices.normalize, choices.bands)
    if any(choice is not None for choice in settled):
        raise InputError(
            f"{choices.folder} is prepared already, and its features, speakers and levels are settled: leave out "
            "--features, --speakers, --trim, --normalize and --bands, or prepare the sound again with them."
        )
    fields |= {"codec": preparation.codec, "classes": preparation.classes, "sample_rate": preparation.sample_rate}
    fields |= {"codec_parameters": preparation.codec_parameters, "normalize": preparation.normalize}
    features, kind = preparation.feature_kind, None
    if features is not None:
        kind, changes["features"] = features.kind, features.changed() | changes.get("features", {})
    return _config(fields, changes, kind, preparation.feature_channels, preparation.hop, data.speakers)


def _config(
    fields: dict[str, Any], changes: dict[str, Any], kind: str | None, bands: int, hop: int | None, speakers: list[str]
) -> WaveNetConfig:
    """The preset's fields, conditioned on features of a kind and on speakers, with the user's changes."""
    if speakers:
        fields |= {"speakers": len(speakers), "speaker_names": speakers}
        fields |= {"speaker_channels": changes.get("speaker_channels", SPEAKER_CHANNELS)}
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
