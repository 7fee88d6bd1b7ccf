"""Files, or folders of them, judged: the measures of each, distances to its reference, a verdict in words.

The report is one object of JSON values; docs/judging.md lists its keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import sources
from ..errors import InputError
from ..sound import audio, measures, verdict
from . import judge_pair, judge_scores, judge_text

Place = str | Path
Report = dict[str, Any]


def report(generated: Place, reference: Place | None = None, unaligned: bool = False) -> Report:
    """Judge a file, or every file of a folder, alone or against a reference.

    References belong to the generated files by their names. `unaligned` compares each generated file with all
    references together, by what does not depend on the moment.
    """
    names = _files(generated)
    if unaligned:
        if reference is None:
            raise InputError("--unaligned compares with a REFERENCE: give one, a file or a folder.")
        return _finished(_against_all(names, list(_files(reference).values())))
    references = {} if reference is None else _references(names, generated, reference)
    files = [_judged(path, references.get(name)) for name, path in names.items()]
    if reference is not None and not all(references.get(name) for name in names):
        absent = [name for name in names if name not in references]
        return {**_finished(files), "without_reference": absent}
    return _finished(files)


def of_pairs(pairs: Sequence[tuple[Place, Place]]) -> Report:
    """Judge each generated file against its reference."""
    return _finished([_judged(Path(generated), Path(reference)) for generated, reference in pairs])


def _finished(files: list[Report]) -> Report:
    """With the mean row, where there are several of one kind."""
    kinds = {each["kind"] for each in files}
    if len(files) < 2 or len(kinds) > 1:
        return {"files": files}
    parts = ("measures", "reference_measures", "comparison", "scores")
    return {"files": files, "mean": {part: _mean([each[part] for each in files if each[part]]) for part in parts}}


def _mean(rows: list[Report]) -> Report:
    """Of every value that is a number in at least one row, over the rows that have it."""
    means = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if row.get(name) is not None]
        means[name] = sum(values) / len(values) if values else None
    return means


def _files(path: Place) -> dict[str, Path]:
    """Relative name without suffix -> file, of all sound and text files; one file has its own name."""
    found: dict[str, Path] = {}
    for source in (each for kind in sources.find(path) for each in kind):
        name = PurePosixPath(source.name).with_suffix("").as_posix()
        if name in found:
            raise InputError(
                f"{found[name]} and {source.path} differ in their suffix only: pairs go by the name before it."
            )
        found[name] = Path(source.path)
    return found


def _references(names: dict[str, Path], generated: Place, reference: Place) -> dict[str, Path]:
    """The reference of each generated file, by name; two single files belong together whatever they are called."""
    references = _files(reference)
    if Path(generated).is_file() and Path(reference).is_file():
        return dict(zip(names, references.values(), strict=True))
    if not names.keys() & references.keys():
        raise InputError(
            f"no file of {generated} has the name of a file of {reference} (first ones: {next(iter(names))}, "
            f"{next(iter(references))}): give pairs of one name, or --unaligned to compare whole folders."
        )
    return references


def _judged(path: Path, reference: Path | None) -> Report:
    if _is_text(path):
        return _judged_text(path, reference)
    wave, rate = _load(path)
    measured = measures.of(wave, rate)
    entry = _entry(path, reference, "sound", measured.to_dict(), str(verdict.of_measures(measured)))
    if reference is not None:
        if _is_text(reference):
            raise InputError(f"{path} is a sound and its reference {reference} a text: give two of a kind.")
        true, true_rate = _load(reference)
        entry["reference_measures"] = measures.of(true, true_rate).to_dict()
        rate, (wave, true) = _at_one_rate([(path, wave, rate), (reference, true, true_rate)])
        entry["comparison"] = judge_pair.compare(wave, true, rate).to_dict()
        entry["scores"] = judge_scores.scores(*judge_pair.aligned(wave, true, rate)[1:], rate)
    return entry


def _judged_text(path: Path, reference: Path | None) -> Report:
    data = _bytes(path)
    measured = judge_text.of(data)
    entry = _entry(path, reference, "text", measured.to_dict(), judge_text.verdict(measured))
    if reference is not None:
        if not _is_text(reference):
            raise InputError(f"{path} is a text and its reference {reference} a sound: give two of a kind.")
        entry["reference_measures"] = judge_text.of(_bytes(reference)).to_dict()
        entry["comparison"] = judge_text.compare(data, _bytes(reference))
    return entry


def _against_all(names: dict[str, Path], references: list[Path]) -> list[Report]:
    """Sounds against all references, at the lowest rate of any of them."""
    paths = [*names.values(), *references]
    texts = [path for path in paths if _is_text(path)]
    if texts:
        raise InputError(f"--unaligned compares sounds, and {texts[0]} is a text: leave it out.")
    rate, waves = _at_one_rate([(path, *_load(path)) for path in paths])
    true = judge_pair.summary(waves[len(names) :], rate)
    files = []
    for path, heard in zip(names.values(), waves, strict=False):
        measured = measures.of(*_load(path))
        entry = _entry(path, None, "sound", measured.to_dict(), str(verdict.of_measures(measured)))
        compared = judge_pair.distributions(judge_pair.summary([heard], rate), true)
        files.append({**entry, "comparison": compared.to_dict()})
    return files


def _entry(path: Path, reference: Path | None, kind: str, measured: Report, words: str) -> Report:
    return {
        "generated": str(path),
        "reference": None if reference is None else str(reference),
        "kind": kind,
        "measures": measured,
        "reference_measures": None,
        "comparison": None,
        "scores": None,
        "verdict": words,
    }


def _at_one_rate(sounds: Sequence[tuple[Path, NDArray[np.float32], int]]) -> tuple[int, list[NDArray[np.float32]]]:
    """The lowest rate of all, where none has anything above half of it that another lacks, and all sounds at it."""
    lowest = min(rate for _, _, rate in sounds)
    return lowest, [wave if rate == lowest else _load(path, lowest)[0] for path, wave, rate in sounds]


def _load(path: Path, sample_rate: int | None = None) -> tuple[NDArray[np.float32], int]:
    wave, rate = audio.load(path, sample_rate)
    return wave.numpy(), rate


def _is_text(path: Path) -> bool:
    return path.suffix.lower() in sources.TEXT


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error
