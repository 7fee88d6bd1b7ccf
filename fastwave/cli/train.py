"""The verbs `prepare` and `train`: from a folder and a few words to a config, prepared data and a run."""

from __future__ import annotations

import argparse
import dataclasses
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, InputError
from ..training.settings import PRECISIONS, SCHEDULES, Settings

if TYPE_CHECKING:
    from ..config import WaveNetConfig
    from ..data.preparation import Preparation

HELP = {
    "steps": "length of the whole run; the schedule ends there",
    "minutes": "stop sooner, with a checkpoint; the same command resumes the run",
    "batch": "windows in a step, over all processes",
    "window": "samples to predict in a window",
    "micro_batch": "windows at a time in one process, for less memory; 0: about 8,192 targets on a CPU, else all",
    "learning_rate": "the highest learning rate",
    "schedule": "of the learning rate: " + ", ".join(SCHEDULES),
    "warmup": "steps from zero to the highest learning rate",
    "decay_every": "steps after which the step schedule halves the learning rate",
    "weight_decay": "of AdamW, not for biases",
    "clip": "largest norm of the gradient; a longer one is scaled down",
    "average": "decay of the averaged weights, which are validated, sampled and exported",
    "precision": " or ".join(PRECISIONS),
    "seed": "decides the first weights and the order of the data",
    "validate_every": "steps between validations",
    "validation_targets": "samples of the held-out data to validate on",
    "sample_every": "steps between generated samples",
    "sample_seconds": "length of a generated sample",
    "save_every": "steps between checkpoints",
    "keep": "checkpoints to keep",
    "log_every": "steps between lines of the log",
}
SPEAKER_CHANNELS, BANDS, HOP = 16, 80, 256  # where nobody says otherwise


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add them to the command."""
    verb = verbs.add_parser("train", help=train.__doc__, description=train.__doc__)
    verb.set_defaults(run=train)
    _add_data_options(verb)
    verb.add_argument("--out", required=True, metavar="RUN", help="the run's folder; an existing run is resumed")
    verb.add_argument("--prepared", metavar="DATA", help="where the prepared data go (default: RUN/data)")
    verb.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    verb.add_argument("--backend", default="auto", help="of the training kernels: auto, reference, cpu or triton")
    verb.add_argument("--threads", type=int, help="of torch in each process")
    for field in dataclasses.fields(Settings):
        if field.name in HELP:
            kind: Any = {"int": int, "str": str}.get(str(field.type), float)
            shown = HELP[field.name] + ("" if field.default is None else f" (default: {field.default})")
            verb.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default, help=shown)
    memory = "store fewer activations for the backward pass: less memory, a little slower"
    verb.add_argument("--recompute", action="store_true", help=memory)
    verb.add_argument("--tensorboard", action="store_true", help="also write for TensorBoard (the train extra)")
    verb = verbs.add_parser("prepare", help=prepare.__doc__, description=prepare.__doc__)
    verb.set_defaults(run=prepare)
    _add_data_options(verb)
    verb.add_argument("--out", required=True, metavar="DATA", help="where the shards go")


def _add_data_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("folder", metavar="FOLDER", help="sound or text files, at any depth; or data already prepared")
    verb.add_argument("--preset", default="small", help="the model's shape to start from (default: small)")
    verb.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="FIELD=VALUE",
        help="change the shape: residual_channels=48 dilations=10x3",
    )
    verb.add_argument("--sample-rate", type=int, help="Hz of the model; sound is resampled (default: the preset's)")
    verb.add_argument(
        "--speakers", metavar="HOW", help="folders: a sub-folder a speaker; or a CSV file of name,speaker"
    )
    verb.add_argument("--features", metavar="HOW", help="condition on: mel, or a folder with NAME.npy for every file")
    verb.add_argument("--bands", type=int, help=f"width of a frame of features (default: the preset's, or {BANDS})")
    verb.add_argument("--channel", default="mix", help="of files with several: mix, or its number (default: mix)")
    verb.add_argument("--trim", type=float, metavar="DB", help="cut what is below this at both ends, such as -50")
    verb.add_argument("--held-out", type=float, default=0.05, help="share of the files to validate on (default: 0.05)")
    verb.add_argument("--workers", type=int, help="processes that prepare data (default: all cores)")


def train(options: argparse.Namespace) -> int:
    """Train a model on a folder of sound or text. The same command again resumes it where it stopped."""
    import torch

    from ..data.prepare import prepare as make
    from ..data.shards import Data
    from ..training.loop import train as run
    from ..training.parallel import Group
    from ..training.wavenet import WaveNetTask

    if options.threads is not None:
        if options.threads < 1:
            raise InputError(f"--threads must be at least 1, got {options.threads}.")
        torch.set_num_threads(options.threads)
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(Settings) if field.name in HELP}
    settings = Settings(**values, recompute=options.recompute, tensorboard=options.tensorboard)
    out, folder = Path(options.out), Path(options.folder)
    if out.resolve() == folder.resolve():
        raise InputError(f"--out {out} is the folder of the data: its sounds would be learned from. Give another.")
    group = Group(options.device)
    try:
        config, how = plan(options)
        place = folder if how is None else Path(options.prepared or out / "data")
        if how is not None and group.first:
            index = make(folder, place, how, options.workers, progress=True)
            _report_skipped(index["skipped"], place)
        group.wait()
        command = shlex.join(["fastwave", *sys.argv[1:]])
        task = WaveNetTask(Data(place), config, settings, options.backend)
        bits = run(task, out, group, command, show=True)
    finally:
        group.leave()
    if group.first:
        unit = "character" if not config.sample_rate else "sample"
        print(f"{bits:.4f} bits a {unit} on held-out data" if math.isfinite(bits) else "no held-out data")
        print(f"look and listen: {out / 'report.html'}")
        ending = "--samples 500" if not config.sample_rate else f"-o {out / 'out.wav'}"
        print(f"more of it:      fastwave generate {out} {ending}")
    return 0


def prepare(options: argparse.Namespace) -> int:
    """Decode a folder of sound or text once, into files that training reads."""
    from ..data.prepare import prepare as make

    _, how = plan(options)
    if how is None:
        raise InputError(f"{options.folder} holds prepared data already.")
    index = make(options.folder, options.out, how, options.workers, progress=True)
    _report_skipped(index["skipped"], Path(options.out))
    samples = sum(file["samples"] for file in index["files"])
    length = f"{samples / how.sample_rate / 60:.1f} minutes" if how.sample_rate else f"{samples:,} bytes"
    print(f"{len(index['files'])} files, {length}, {len(index['skipped'])} skipped, in {options.out}")
    print(f"order-0 entropy {index['order0_bits']:.3f} bits, white noise {index['white_noise_bits']:.3f}")
    return 0


def plan(options: argparse.Namespace) -> tuple[WaveNetConfig, Preparation | None]:
    """The model that fits the data and what was asked, and how to prepare them; None where that is done."""
    from ..config import PRESETS, WaveNetConfig
    from ..data.preparation import Preparation
    from ..data.shards import INDEX, Data
    from ..data.sources import find, name_speakers

    if options.preset not in PRESETS:
        WaveNetConfig.preset(options.preset)  # says which there are
    fields: dict[str, Any] = dict(PRESETS[options.preset])
    asked = dict(map(_field, options.set))
    if options.sample_rate is not None:
        asked["sample_rate"] = options.sample_rate
    if (Path(options.folder) / INDEX).exists():
        data = Data(options.folder)
        how, speakers = data.how, len(data.speakers)
        given = (options.features, options.speakers, options.trim, options.bands)
        if any(option is not None for option in given):
            raise InputError(
                f"{options.folder} is prepared already, with what it has of features and speakers: leave --features, "
                "--speakers, --trim and --bands out, or prepare the sound again with them."
            )
        fields |= {"codec": how.codec, "classes": how.classes, "sample_rate": how.sample_rate}
        return _config(fields, asked, bool(how.features), how.feature_channels, how.hop, speakers), None
    sound, text = find(options.folder)
    if not sound and "codec" not in asked:
        fields |= {"codec": "bytes", "classes": 256, "sample_rate": 0}
    elif text and sound and asked.get("codec") != "bytes":
        print(f"fastwave: {len(text)} text files among the sound are left out", file=sys.stderr)
    chosen = text if asked.get("codec", fields.get("codec")) == "bytes" else sound
    speakers = len(name_speakers(chosen, options.speakers)[1])
    if options.bands is not None and options.features is None:
        raise InputError("--bands is the width of features: add --features mel, or a folder of arrays.")
    bands = options.bands or fields.get("condition_channels") or BANDS
    config = _config(fields, asked, options.features is not None, bands, None, speakers)
    made = Preparation(
        codec=config.codec,
        classes=config.classes,
        sample_rate=config.sample_rate,
        channel=options.channel,
        trim=options.trim,
        features=options.features,
        feature_channels=config.local_channels,
        hop=config.hop,
        speakers=options.speakers,
        held_out=options.held_out,
    )
    return config, made


def _config(
    fields: dict[str, Any], asked: dict[str, Any], features: bool, bands: int, hop: int | None, speakers: int
) -> WaveNetConfig:
    from ..config import WaveNetConfig

    if speakers:
        fields |= {"speakers": speakers, "speaker_channels": asked.get("speaker_channels", SPEAKER_CHANNELS)}
    if features:
        fields["hop"] = hop or fields.get("hop", HOP)
        fields.setdefault("upsampling", "linear")
    elif fields.get("condition_channels"):
        raise InputError("this preset is conditioned on features: add --features mel, or a folder of arrays.")
    fields["condition_channels"] = (bands if features else 0) + fields.get("speaker_channels", 0)
    return WaveNetConfig.from_dict(fields | asked)


def _field(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise InputError(f"--set takes FIELD=VALUE, got {text!r}.")
    try:
        if name == "dilations" and "x" in value:
            from ..config import dilation_cycle

            depth, stacks = value.split("x")
            return name, dilation_cycle(int(depth), int(stacks))
        if name in ("dilations", "upsample_scales"):
            return name, tuple(int(part) for part in value.split(","))
        return name, int(value) if value.lstrip("-").isdecimal() else value
    except ConfigError:
        raise
    except ValueError as error:
        raise InputError(f"--set {text}: give whole numbers, as in dilations=1,2,4 or dilations=10x2.") from error


def _report_skipped(skipped: list[Any], place: Path) -> None:
    if not skipped:
        return
    print(f"fastwave: {len(skipped)} files were skipped (all in {place / 'prepared.json'}):", file=sys.stderr)
    for name, reason in skipped[:10]:
        print(f"  {name}: {reason}", file=sys.stderr)
