"""Which band a name or a folder stands for: the bundled ones, or one of the user's. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import CheckpointError, did_you_mean
from ..locate import CONFIG_FILE, parse_object, read_bounded
from .band import Band

BAND_FILE = "instrument.json"
RESIDUALS = ("noise", "wavenet")  # what makes the breath, bow and hammer of a band
BUNDLED = Path(__file__).parent / "instruments"
_NONE = "this installation has no bundled instruments: name a folder of them with --instrument FOLDER."


class Choice(NamedTuple):
    """A band's folder, and the instrument of it that is to play everything; None where programs decide."""

    folder: Path
    instrument: str | None


def band_names() -> list[str]:
    """Names of the bands that come with the package; the first one plays where none is named."""
    return sorted(path.parent.name for path in BUNDLED.glob(f"*/{BAND_FILE}"))


def default_band() -> str:
    """The band that plays where none is named."""
    names = band_names()
    if not names:
        raise CheckpointError(_NONE)
    return names[0]


def read_band(folder: Path) -> dict[str, Any]:
    """What instrument.json holds: a JSON object, its fields not yet checked."""
    path = folder / BAND_FILE
    return parse_object(read_bounded(path, "band"), path, "description of a band")


def instruments_of(folder: Path) -> tuple[str, ...]:
    """The names in the `instruments` of a band: a list of names, or an object with a name as each key."""
    names = read_band(folder).get("instruments")
    if not isinstance(names, (list, dict)) or not names or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{folder / BAND_FILE}: `instruments` must hold the names of one or more instruments.")
    return tuple(names)


def choose(name_or_dir: str | os.PathLike[str] | None) -> Choice:
    """What a user means by a folder, by a bundled band, by one of its instruments, or by nothing."""
    if name_or_dir is None:
        return Choice(BUNDLED / default_band(), None)
    name, source, bands = str(name_or_dir), Path(name_or_dir), band_names()
    if source.is_dir() or source.name == BAND_FILE:
        folder = source if source.is_dir() else source.parent
        if (folder / BAND_FILE).is_file():
            names = instruments_of(folder)
            return Choice(folder, names[0] if len(names) == 1 else None)
        what = "a model without notes" if (folder / CONFIG_FILE).is_file() else "a folder"
        raise CheckpointError(f"{folder} is {what}, not a band: it lacks {BAND_FILE}.")
    if name in bands:
        return Choice(BUNDLED / name, None)
    known: dict[str, Path] = {}
    for band in bands:
        known |= {each: BUNDLED / band for each in instruments_of(BUNDLED / band) if each not in known}
    if name.lower() in known:
        return Choice(known[name.lower()], name.lower())
    if not known:
        raise CheckpointError(f"there is no instrument {name!r}, and {_NONE}")
    raise CheckpointError(
        f"there is no instrument {name!r}: choose one of {', '.join(known)}, or give a folder that holds {BAND_FILE}."
        + did_you_mean(source.name, known)
    )


def load_band(name_or_dir: str | os.PathLike[str] | None = None) -> Band:
    """A bundled band, the one that has an instrument of this name, or the band in a folder; None for the first."""
    return load_folder(choose(name_or_dir).folder)


def load_folder(folder: Path) -> Band:
    """The band in a folder."""
    from importlib import import_module

    band: Band = import_module(".instrument", __package__).Instruments.load(folder)
    return band
