"""The page of a voice in training: its plan, sentences to listen to, the pages of its runs, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..files import replacing
from ..training.page import data_uri, document, escape, section, table

FILE = "report.html"
MOST_LEFT_OUT = 50
PARTS = {
    "acoustic/duration": "how long each phone lasts",
    "acoustic/pitch": "the melody",
    "acoustic/mel": "the spectrum",
    "vocoder": "the WaveNet",
}
SENTENCES = (
    "Good morning, the kettle is on.",
    "Did you hear the rain last night?",
    "The train to the coast leaves at a quarter past seven, from platform two.",
    "What a lovely surprise!",
    "Thick grey fog rolled over the quiet harbour, and the gulls fell silent.",
)


def write_report(out: Path, name: str, plan: Sequence[str], left_out: Mapping[str, str]) -> Path:
    """Write OUT/report.html, whole or not at all -> its path."""
    sounds = "".join(
        f"<figure><h3>{escape(sentence)}</h3><audio controls src='{data_uri('audio/wav', wave.read_bytes())}'></audio>"
        "</figure>"
        for number, sentence in enumerate(SENTENCES, 1)
        if (wave := out / "samples" / f"{number}.wav").exists()
    )
    runs = "".join(
        f"<p><a href='runs/{part}/report.html'>{escape(meaning)}</a></p>"
        for part, meaning in PARTS.items()
        if (out / "runs" / part / "report.html").exists()
    )
    rows = list(left_out.items())[:MOST_LEFT_OUT]
    title = f"{len(left_out):,} recording{'s' if len(left_out) > 1 else ''} left out"
    body = [
        f"<header><p class=eyebrow>fastwave voice</p><h1>{escape(name)}</h1></header>",
        section("Sentences", f"<div class=sounds>{sounds}</div>"),
        section("Plan", "".join(f"<p>{escape(line)}</p>" for line in plan)),
        section("Runs", runs),
        section(title, table(rows)) if left_out else "",
    ]
    path = out / FILE
    with replacing(path) as temporary:
        temporary.write_bytes(document(name, body).encode("utf-8", "replace"))
    return path
