"""The report of a training run: one HTML file with its curves, sounds and settings, which opens in any browser."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import TrainingError
from ..files import replacing
from .drawing import chart
from .history import DONE, INTERRUPTED, QUIET_SECONDS, STOPPED, History, number, points, read
from .page import document, duration, escape, section, table, words
from .report_samples import samples

FILE = "report.html"
MOST_EVENTS = 50
MOST_SKIPPED = 20
RELOAD_SECONDS = 20.0
# Bits that it takes without looking at what came before
BLIND = {"white_noise_bits": "white noise", "order0_bits": "guessing from how often each value occurs"}

# Shows the page anew unless somebody listens or has selected something, and no longer when it has become old
RELOAD = """
const written = 1000 * %.0f, quiet = 1000 * %.0f;
setInterval(() => {
  const listening = [...document.querySelectorAll('audio')].some(sound => !sound.paused && !sound.ended);
  if (Date.now() - written > quiet) document.getElementById('quiet').textContent =
    'The page is no longer up to date: the run was killed, or this is a copy of its page.';
  else if (!listening && !String(getSelection())) location.reload();
}, 1000 * %.0f);
"""


def write(run: str | os.PathLike[str]) -> Path:
    """Draw RUN/report.html from RUN/log.jsonl and RUN/samples, whole or not at all -> its path."""
    folder = Path(run)
    history = read(folder)
    page = _page(folder, history)
    path = folder / FILE
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(page.encode("utf-8", "replace"))  # file names may hold lone surrogates
    except OSError as error:
        raise TrainingError(
            f"cannot write {path}: {error.strerror or error}. The run is intact; remove the cause, and report again."
        ) from error
    return path


def _page(run: Path, history: History) -> str:
    name = run.resolve().name
    start = history.start
    body = [
        f"<header><p class=eyebrow>fastwave training run</p><h1>{escape(name)}</h1>",
        f"<p class=state>{escape(_state(history))}</p>{_ending(history)}</header>",
        section("Plan", _plan(history)),
        section("Samples", samples(run, history)),
        section("Loss", _losses(history)),
        section("Events", _events(history.events)) if history.events else "",
        section("Files left out", _left_out(history.part("data").get("skipped"))),
        section("Configuration", _configuration(history)),
        section("Resume", f"<p>The same command resumes the run.</p><pre>{escape(start['command'])}</pre>")
        if start.get("command")
        else "",
    ]
    return document(name, body, RELOAD % (time.time(), QUIET_SECONDS, RELOAD_SECONDS) if history.is_on else "")


def ending(history: History) -> str:
    """Whether the run is finished, was stopped, or is still on, in one sentence."""
    place = f"at step {history.step:,}"
    again = "The same command resumes it."
    if history.ended == DONE:
        return f"Finished: all of its {history.step:,} steps are done."
    if history.ended.startswith(STOPPED):
        return f"Stopped by the clock {place}, before the last step of its schedule. {again}"
    if history.ended == INTERRUPTED:
        return f"Interrupted {place}, which is saved. {again}"
    if history.ended:
        return f"Ended {place}: {history.ended}."
    if history.is_on:
        return f"Still on, {place}."
    return f"Broken off: its log ends {place}, at {_clock(history.changed)}. {again}"


def _ending(history: History) -> str:
    sentence = escape(ending(history))
    if history.is_on:
        sentence += f" This page is of {_clock(time.time())} and reloads itself, except while a sound plays."
        return f"<p class=status>{sentence}</p><p class=status id=quiet></p>"
    if history.verdict:
        sentence += f" What it makes {escape(history.verdict)}."
    return f"<p class=status>{sentence}</p>"


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M on %d %B %Y", time.localtime(seconds))


def _plan(history: History) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in history.plan)


def _state(history: History) -> str:
    """The state of the run in one sentence."""
    steps = number(history.part("settings").get("steps"))
    sentence = f"Step {history.step:,}" + (f" of {int(steps):,}" if steps else "")
    sentence += f" after {duration(history.elapsed)}"
    losses = points(history.validation, history.loss_name)
    loss = losses[1, -1] if history.final is None and losses.size else history.final
    if loss is not None:
        sentence += f": {loss:.3f} {_loss_unit(history)} on held-out data"
    rate = points(history.train[-1:], "samples_per_second")
    if rate.size:
        sentence += f", {rate[1, -1]:,.0f} {history.unit}s a second"
    return sentence + (f"; {history.ended}." if history.ended.startswith(STOPPED) else ".")


def _loss_unit(history: History) -> str:
    return f"bits a {history.unit}" if history.loss_name == "bits" else words(history.loss_name)


def _losses(history: History) -> str:
    data = history.part("data")
    levels = {label: value for key, label in BLIND.items() if (value := number(data.get(key))) is not None}
    name = history.loss_name
    curves = {"training": points(history.train, name), "held out": points(history.validation, name)}
    unit = _loss_unit(history)
    loss = chart(f"{escape(unit[:1].upper() + unit[1:])}, by step", history.step, curves, levels)
    if not loss:
        return "<p>Nothing has been measured yet.</p>"
    small = [
        chart("Learning rate", history.step, {"": points(history.train, "learning_rate")}),
        chart(
            f"Training speed, {history.unit}s a second",
            history.step,
            {"": points(history.train, "samples_per_second")},
        ),
    ]
    about = "<p>Lower is better: the fewer bits, the less surprises the model.</p>" if name == "bits" else ""
    return f"{about}{loss}<div class=pair>{''.join(small)}</div>"


def _events(events: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for event in events[-MOST_EVENTS:]:
        kind, detail = str(event["event"]), str(event.get("reason", ""))
        if kind == "resume":
            detail = "; ".join(map(str, event.get("bad") or []))
        elif kind == "rollback":
            detail = f"{detail}: back to step {event.get('to', event['step'])}"
            detail += f", learning rate times {event['learning_rate_scale']}" if "learning_rate_scale" in event else ""
        elif kind == "micro_batch":
            detail = f"out of memory: {event.get('size')} windows at a time"
        cells = (f"{int(event['step']):,}", duration(number(event.get("elapsed")) or 0), words(kind)[:20], detail)
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    more = f"<p>The last {MOST_EVENTS} of {len(events):,}.</p>" if len(events) > MOST_EVENTS else ""
    headings = "".join(f"<th scope=col>{heading}</th>" for heading in ("Step", "After", "Event", "Detail"))
    return f"{more}<table class=events><thead><tr>{headings}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _left_out(skipped: Any) -> str:
    if not isinstance(skipped, list) or not skipped:
        return ""
    pairs = [(each[0], each[1]) for each in skipped[:MOST_SKIPPED] if isinstance(each, (list, tuple)) and len(each) > 1]
    more = f", of which the first {MOST_SKIPPED}" if len(skipped) > MOST_SKIPPED else ""
    files = "1 data file" if len(skipped) == 1 else f"{len(skipped):,} data files"
    return f"<p>{files} could not be used{more}:</p>" + table(pairs)


def _configuration(history: History) -> str:
    start = history.start
    data = {
        f"{BLIND[name]}, bits" if name in BLIND else name: value
        for name, value in history.part("data").items()
        if name != "skipped"
    }
    about: dict[str, Any] = {name: start[name] for name in ("parameters", "device") if name in start}
    tables: dict[str, dict[str, Any]] = {
        "Model": {**about, **history.part("config")},
        "Training": history.part("settings"),
        "Data": data,
    }
    parts = [
        f"<div><h3>{title}</h3>{table((words(key), value) for key, value in rows.items())}</div>"
        for title, rows in tables.items()
        if rows
    ]
    return f"<div class=tables>{''.join(parts)}</div>" if parts else ""
