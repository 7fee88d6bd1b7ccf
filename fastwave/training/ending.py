"""The last sentences of a run: how it ended, what its model makes, where everything is, and how to get more of it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from ..errors import AudioError
from ..sound import audio
from . import report
from .hearing import problems, problems_of_text
from .history import History, number, read

ORDINARY = "sounds ordinary"


def sentences(run: str | os.PathLike[str]) -> list[str]:
    """What to tell when a run has ended, from its folder."""
    folder = Path(run)
    history = read(folder)
    lines = [report.ending(history), _quality(history), *_places(folder, history), *_more(folder, history)]
    return [line for line in lines if line]


def verdict(run: Path) -> str:
    """What the samples of the last step are like: ordinary, or what is wrong with which of them."""
    lines = read(run).samples
    newest = [line for line in lines if line["step"] == lines[-1]["step"]]
    faults: dict[str, list[str]] = {}
    faulty = 0
    for line in newest:
        found = _problems(run / "samples" / Path(str(line.get("file"))).name, line)
        faulty += bool(found)
        for problem in found:
            faults.setdefault(problem, []).append(str(line.get("label", "")))
    if not faults:
        return ORDINARY if newest else ""
    named = ((problem, [label for label in labels if label]) for problem, labels in faults.items())
    sentence = "is " + "; ".join(
        problem + (f" ({'; '.join(labels)})" if 0 < len(labels) < len(newest) else "") for problem, labels in named
    )
    return f"{ORDINARY}, but {sentence}" if faulty < len(newest) else sentence


def _problems(path: Path, line: dict[str, Any]) -> tuple[str, ...]:
    prime = int(number(line.get("prime")) or 0)
    try:
        if path.suffix == ".txt":
            return problems_of_text(path.read_text(encoding="utf-8", errors="replace")[prime:])
        rate = audio.info(path).sample_rate
        return problems(audio.load(path)[0][prime:].double().numpy(), rate)
    except (AudioError, OSError):  # it was there a moment ago: whoever took it away knows
        return ()


def _quality(history: History) -> str:
    text = history.unit == "character"
    if not history.verdict:
        return ""
    if history.verdict == ORDINARY:
        return "The text that it makes changes all the time." if text else "What it makes sounds ordinary."
    if history.verdict.startswith(ORDINARY):
        return f"What it makes {history.verdict}. The report shows all its samples."
    return f"What it makes {history.verdict}: more training usually helps. The report shows all its samples."


def _places(run: Path, history: History) -> list[str]:
    paths = {"the model:": run, "its samples:": run / "samples", "look and listen:": run / report.FILE}
    saved = {
        "the model:": (run / "model.safetensors").exists(),
        "its samples:": bool(history.samples),
        "look and listen:": (run / report.FILE).exists(),
    }
    return [f"{title:<17}{path}" for title, path in paths.items() if saved[title]]


def _more(run: Path, history: History) -> list[str]:
    command = more_of_it(run, history)
    return [f"{'more of it:':<17}{command}"] if command else []


def more_of_it(run: Path, history: History) -> str:
    """A command that works for this model; nothing for a model that `fastwave generate` does not take."""
    config = history.part("config")
    kind = history.start.get("kind", "wavenet")
    is_student = kind in ("student", "distillation")
    if not (kind == "wavenet" or is_student) or not (run / "model.safetensors").exists():
        return ""
    words = ["fastwave", "generate", str(run)]
    speakers = int(number(config.get("speakers")) or 0)
    speaker_channels = int(number(config.get("speaker_channels")) or 0)
    if is_student or int(number(config.get("condition_channels")) or 0) > speaker_channels:
        excerpts = [run / "samples" / name for name in ("real.npy", "real.wav")]
        words += ["--condition", next((str(path) for path in excerpts if path.exists()), "FILE")]
    if speakers:
        names = config.get("speaker_names") or ["0"]
        words += ["--speaker", str(names[0])]
    words += ["-o", str(run / "out.wav")] if is_student or config.get("sample_rate") else ["--samples", "500"]
    return shlex.join(words)
