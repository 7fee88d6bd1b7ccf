"""The report of `judge.py` as a table: two columns for one file, a row a file for several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..sound.verdict import ORDINARY
from . import judge_text
from .judge import Report

# key -> its name in the table, and how its value is written
Formats = dict[str, tuple[str, Callable[[Any], str]]]


def _number(digits: int, unit: str = "") -> Callable[[Any], str]:
    return lambda value: f"{value:.{digits}f}{unit}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


SOUND_FORMATS: Formats = {
    "seconds": ("duration", _number(2, " s")),
    "sample_rate": ("sample rate", _number(0, " Hz")),
    "peak_db": ("peak", _number(1, " dB")),
    "rms_db": ("RMS level", _number(1, " dB")),
    "loudness_lufs": ("loudness", _number(1, " LUFS")),
    "loud_db": ("loud frames", _number(1, " dB")),
    "silent_share": ("silent", _percent),
    "noise_floor_db": ("noise floor", _number(1, " dB")),
    "hiss_db": ("hiss", _number(1, " dB")),
    "clipped_share": ("at full scale", _percent),
    "clipped_runs": ("clipped runs", _number(0)),
    "clicks": ("clicks", _number(0)),
    "voiced_share": ("voiced", _percent),
    "pitch_hz": ("pitch", _number(1, " Hz")),
    "pitch_low_hz": ("pitch, 10%", _number(1, " Hz")),
    "pitch_high_hz": ("pitch, 90%", _number(1, " Hz")),
    "flatness": ("flatness", _number(3)),
    "held_seconds": ("held value", _number(3, " s")),
    "repetition": ("repetition", _number(2)),
    "steady_share": ("steady", _percent),
}
TEXT_FORMATS: Formats = {
    "characters": ("characters", _number(0)),
    "utf8_share": ("valid UTF-8", _percent),
    "zlib_bits": ("zlib", _number(2, " bits")),
    "lzma_bits": ("lzma", _number(2, " bits")),
    "longest_repeat": ("longest repeat", _number(0)),
    "words": ("words", _number(0)),
    "distinct_words": ("distinct words", _number(0)),
    "distinct_share": ("distinct share", _percent),
}
PAIR_FORMATS: Formats = {
    "shift_ms": ("shift", _number(1, " ms")),
    "log_mel_distance_db": ("log-mel distance", _number(2, " dB")),
    "log_spectral_distance_db": ("log-spectral distance", _number(2, " dB")),
    "pitch_within_50_cents": ("pitch within 50 cents", _percent),
    "pitch_rmse_cents": ("pitch error", _number(1, " cents")),
    "voicing_error": ("voicing error", _percent),
    "loudness_difference_db": ("loudness difference", _number(1, " dB")),
    "pitch_difference_cents": ("pitch difference", _number(0, " cents")),
    "voiced_difference": ("voiced difference", _percent),
    "average_spectrum_distance_db": ("spectrum distance", _number(2, " dB")),
    "known_words_share": ("known words", _percent),
    "zlib_bits_difference": ("zlib difference", _number(2, " bits")),
    "stoi": ("STOI", _number(3)),
    "visqol": ("ViSQOL", _number(2)),
    "pesq": ("PESQ", _number(2)),
}
FORMATS = {**SOUND_FORMATS, **TEXT_FORMATS, **PAIR_FORMATS}
# Of several files, a row each: what fits into a line
COLUMNS = (
    "seconds", "peak_db", "loudness_lufs", "silent_share", "noise_floor_db", "voiced_share", "pitch_hz",
    "characters", "zlib_bits", "longest_repeat", "distinct_share", "log_mel_distance_db", "log_spectral_distance_db",
    "pitch_within_50_cents", "voicing_error", "pitch_difference_cents", "voiced_difference",
    "average_spectrum_distance_db", "known_words_share", "stoi", "visqol", "pesq",
)  # fmt: skip


def table(report: Report) -> str:
    """The report in lines, its verdicts last."""
    files = report["files"]
    if len(files) == 1:
        return "\n".join([*_one(files[0]), "", f"verdict: {files[0]['verdict']}"])
    kinds = {each["kind"] for each in files}
    blocks = []
    for kind in sorted(kinds):
        rows = [(_named(each), each) for each in files if each["kind"] == kind]
        if "mean" in report:
            rows.append((f"mean of {len(files)}", report["mean"]))
        blocks.append("\n".join(_several(rows)))
    verdicts = dict.fromkeys(each["verdict"] for each in files)
    counts = [f"{sum(each['verdict'] == words for each in files)} of {len(files)}: {words}" for words in verdicts]
    return "\n\n".join([*blocks, "verdict: " + ", ".join(counts)])


def _one(entry: Report) -> list[str]:
    """A line a measure, with the reference beside it, then the distances."""
    rows = []
    other = entry["reference_measures"]
    if other is not None:
        rows.append(["", "generated", "reference"])
    for name, value in entry["measures"].items():
        rows.append([FORMATS[name][0], _shown(name, value), *([_shown(name, other[name])] if other else [])])
    for name, value in _distances(entry).items():
        rows.append([FORMATS[name][0], _shown(name, value)])
    return _in_columns(rows)


def _several(rows: Sequence[tuple[str, Report]]) -> list[str]:
    """A line a file, of the measures that some of them have."""
    values = [{**each["measures"], **_distances(each)} for _, each in rows]
    names = [name for name in COLUMNS if any(name in each for each in values)]
    lines = [[*(FORMATS[name][0] for name in names), "file"]]
    for (path, _), each in zip(rows, values, strict=True):
        lines.append([*(_shown(name, each.get(name)) for name in names), path])
    return _in_columns(lines, last_is_free=True)


def _named(entry: Report) -> str:
    """The file, and what is wrong with it."""
    words = entry["verdict"]
    return str(entry["generated"]) + ("" if words in (ORDINARY, judge_text.ORDINARY) else f" ({words})")


def _distances(entry: Report) -> Report:
    return {**(entry["comparison"] or {}), **(entry["scores"] or {})}


def _shown(name: str, value: Any) -> str:
    return "-" if value is None else FORMATS[name][1](value)


def _in_columns(rows: Sequence[Sequence[str]], last_is_free: bool = False) -> list[str]:
    """Numbers to the right; the first column, or with `last_is_free` the last one, holds words."""
    width = max(map(len, rows))
    widths = [max((len(row[column]) for row in rows if column < len(row)), default=0) for column in range(width)]
    lines = []
    for row in rows:
        words = width - 1 if last_is_free else 0
        cells = [
            cell.ljust(wide) if column == words else cell.rjust(wide)
            for column, (cell, wide) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
