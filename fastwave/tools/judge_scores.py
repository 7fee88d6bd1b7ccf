"""Scores of other projects, where they are installed: PESQ, STOI and ViSQOL. All of them are made for speech."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FastwaveError
from ..sound.libsndfile import imported

Array = NDArray[np.float64]

RATE = 16_000  # Hz, at which all three hear speech
# PESQ's own source may be used to evaluate only, so the extra leaves it out: whoever may use it installs it
_EXTRA = "pip install 'fastwave[judge]'"
HINTS = {"pystoi": _EXTRA, "visqol": _EXTRA, "pesq": "pip install pesq"}
NAMES = {"pystoi": "STOI", "visqol": "ViSQOL", "pesq": "PESQ"}


def scores(generated: Array, reference: Array, sample_rate: int) -> dict[str, float | None]:
    """Of aligned sounds of one length: a score for each package that is installed, None where it can give none."""
    packages = [name for name in _SCORES if _is_there(name)]
    if not packages:
        return {}
    if sample_rate != RATE:
        soxr = imported("soxr")
        generated, reference = (soxr.resample(wave, sample_rate, RATE) for wave in (generated, reference))
    return {_SCORES[name][0]: _guarded(_SCORES[name][1], generated, reference) for name in packages}


def missing() -> list[str]:
    """One line for each way to install scores that are missing here."""
    absent: dict[str, list[str]] = {}
    for name in _SCORES:
        if not _is_there(name):
            absent.setdefault(HINTS[name], []).append(NAMES[name])
    return [f"{hint} adds {' and '.join(names)}" for hint, names in absent.items()]


def _is_there(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True


def _guarded(score: Callable[[Array, Array], float], generated: Array, reference: Array) -> float | None:
    """A score, or None: each of these packages raises errors of its own, for silence or for a second of sound."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
            value = float(score(generated, reference))
    except FastwaveError:
        raise
    except Exception as error:
        logging.getLogger(__name__).info("%s: %s", score.__name__, error)
        return None
    return value if np.isfinite(value) else None


def _stoi(generated: Array, reference: Array) -> float:
    module: Any = importlib.import_module("pystoi")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # where there is too little sound it warns and returns 0.00001
        return float(module.stoi(reference, generated, RATE, extended=False))


def _pesq(generated: Array, reference: Array) -> float:
    module: Any = importlib.import_module("pesq")
    return float(module.pesq(RATE, reference.astype(np.float32), generated.astype(np.float32), "wb"))


def _visqol(generated: Array, reference: Array) -> float:
    module: Any = importlib.import_module("visqol")
    judge = module.VisqolApi()
    judge.create(mode="speech", use_lattice_model=False)  # the lattice needs a further package, of 100 MB
    return float(judge.measure_from_arrays(reference, generated, sample_rate=RATE).moslqo)


# The module that is imported -> the key of its score, and what computes it
_SCORES: dict[str, tuple[str, Callable[[Array, Array], float]]] = {
    "pystoi": ("stoi", _stoi),
    "visqol": ("visqol", _visqol),
    "pesq": ("pesq", _pesq),
}
