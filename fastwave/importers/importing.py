"""From another project's checkpoint to a model of ours: read, recognise, convert, prove, and only then save."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import __version__
from ..config import WaveNetConfig
from ..errors import CheckpointError, InputError
from ..files import replacing
from ..model import WaveNet
from .notes import Notes

if TYPE_CHECKING:
    from .source import Source

REPORT_FILE = "import.json"


@dataclasses.dataclass(frozen=True)
class Report:
    """What an import found and did."""

    source: str  # the checkpoint
    digests: Mapping[str, str]  # SHA-256 of every file that was read
    project: str
    mapping: str  # what --from takes
    notes: Notes
    config: WaveNetConfig
    difference: float  # from the original network, relative, both computed in float64

    def as_dict(self) -> dict[str, Any]:
        """For import.json."""
        return {
            "fastwave": __version__,
            "source": Path(self.source).name,
            "sha256": dict(self.digests),
            "project": self.project,
            "from": self.mapping,
            **self.notes.as_dict(),
            "codec": self.codec,
            "silence": self.config.codec_object.silence,
            "difference": self.difference,
            "config": self.config.to_dict(),
        }

    @property
    def codec(self) -> str:
        """The codec with its parameters, in words."""
        config = self.config
        parameters = ", ".join(f"{name} {value}" for name, value in config.codec_parameters.items())
        classes = f", {config.classes} classes" if config.classes else ""
        return f"{config.codec}{classes}, {config.sample_rate} Hz" + (f" ({parameters})" if parameters else "")

    def lines(self) -> list[tuple[str, str]]:
        """The report as rows of two columns."""
        headings = (
            ("recognised", self.notes.recognised_lines),
            ("folded", self.notes.folded_lines),
            ("dropped", self.notes.dropped_lines),
            ("assumed", self.notes.assumed_lines),
            ("give", self.notes.condition_lines or ["no conditions: it makes sound from nothing"]),
        )
        proof = f"{self.difference:.1e} of the largest output, float64, against the original network written anew"
        rows = [("project", f"{self.project} ({self.mapping})")]
        rows += [(heading, line) for heading, lines in headings for line in lines]
        rows += [("codec", self.codec), ("silence", str(self.config.codec_object.silence)), ("difference", proof)]
        return rows


def import_model(
    src: str | os.PathLike[str],
    hparams: str | os.PathLike[str] | None = None,
    source: str = "auto",
    *,
    sample_rate: int | None = None,
    speakers: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[WaveNet, Report]:
    """The model in another project's checkpoint, as a model of fastwave, and a report of what was recognised.

    `src` is a file or a folder; `hparams` a file of hyper-parameters in place of the one beside it, of which `settings`
    replaces some; `source` names the project (registry.MAPPINGS) where the tensors alone do not. Nothing that the files
    contain is run.
    """
    # Readers of other formats, which only this needs: imported above, they would make `import fastwave` slower
    from . import mapping, verify
    from .hyperparameters import Hyperparameters
    from .source import open_source
    from .weights import Weights

    notes = Notes()
    importer = None if source == "auto" else mapping.by_name(source)
    checkpoint = open_source(Path(src), None if hparams is None else Path(hparams), notes)
    if importer is None:
        importer = mapping.recognise(checkpoint)
    elif importer.matches(checkpoint) is None:
        raise CheckpointError(
            f"{checkpoint.name} is no checkpoint of {importer.PROJECT}: its tensors have other names or shapes, such "
            f"as {', '.join(list(checkpoint.shapes)[:3])[:200]}. Leave --from out."
        )
    places = [*checkpoint.places, ("--speakers", {} if speakers is None else {"speakers": speakers})]
    hyper = Hyperparameters([*places, ("--set", settings or {})], notes, _checked_rate(sample_rate))
    weights = Weights(checkpoint.tensors, checkpoint.name, notes)
    imported = importer.convert(checkpoint, weights, hyper, notes)
    weights.finish()
    model = _build(imported.config, imported.tensors, checkpoint)
    found = verify.check(model, imported)
    digests = checkpoint.digests()
    return model, Report(checkpoint.name, digests, importer.PROJECT, importer.NAME, notes, imported.config, found)


def save(model: WaveNet, report: Report, folder: str | os.PathLike[str]) -> None:
    """The model with its import.json in a new folder, which appears whole or not at all."""
    target = Path(folder)
    check_target(target)
    temporary = target.with_name(f".{target.name[:32]}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.mkdir(parents=True)
        model.save_pretrained(temporary)
        with replacing(temporary / REPORT_FILE) as path:
            path.write_text(json.dumps(report.as_dict(), indent=2) + "\n", encoding="utf-8")
        if target.exists():
            target.rmdir()  # empty: check_target has looked
        temporary.rename(target)
    except OSError as error:
        raise CheckpointError(f"cannot save the model in {target}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_target(folder: Path) -> None:
    """Refuse a folder that holds something already."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f"{folder} exists already and is not empty: give a new folder, or remove that one.")


def _checked_rate(sample_rate: int | None) -> int | None:
    if sample_rate is not None and not 1 <= sample_rate <= 768_000:
        raise InputError(f"a sample rate of {sample_rate} Hz: give one of 1..768000.")
    return sample_rate


def _build(config: WaveNetConfig, tensors: Mapping[str, Tensor], source: Source) -> WaveNet:
    """A float32 model of checked tensors."""
    shapes = config.parameter_shapes()
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if given != shapes:
        wrong = sorted(name for name in shapes.keys() | given.keys() if shapes.get(name) != given.get(name))[0]
        raise CheckpointError(
            f"{source.name}: {wrong} comes out as {given.get(wrong)}, and the config asks for {shapes.get(wrong)}: the "
            "hyper-parameters are those of another model."
        )
    parameters = {name: tensor.to(torch.float32).contiguous() for name, tensor in tensors.items()}
    for name, tensor in parameters.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{source.name}: {name} is not finite in float32: its weights are too large.")
    with torch.device("meta"):
        model = WaveNet(config)
    model.load_state_dict(parameters, assign=True)
    return model
