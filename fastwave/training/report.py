"""The page a training run draws of itself: one file with its curves, sounds and settings, which opens anywhere."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import html
import json
import math
import os
import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import AudioError, InputError, TrainingError
from ..files import replacing
from ..sound import audio
from .drawing import (
    COLOURS,
    COLUMNS,
    MINUS,
    RANGE_DB,
    axes,
    chart,
    palette,
    places,
    png,
    shades,
    spectrogram,
    ticks,
)

FILE = "report.html"
MOST_POINTS = 1000  # of a curve: no screen shows more
MOST_SAMPLES = 5  # beside the real stretch
MOST_SECONDS = 10.0  # of one sound
MOST_SOUND_BYTES = 3 << 20  # of all sounds together; base64 makes them a third larger
MOST_TEXT_BYTES = 2000
MOST_EVENTS = 50
MOST_SKIPPED = 20

Array = npt.NDArray[np.float64]

# What HTML cannot hold, or what would not be seen: a picture of each control character but tab and line feed
_CONTROLS = {code: 0x2400 + code for code in range(32) if code not in (9, 10)} | {127: 0x2421}


def write(run: str | os.PathLike[str]) -> Path:
    """Draw RUN/report.html from RUN/log.jsonl and RUN/samples, whole or not at all -> its path."""
    folder = Path(run)
    history = read(folder)
    page = _page(folder, history)
    path = folder / FILE
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(page.encode("utf-8", "replace"))  # names may hold halves of characters
    except OSError as error:
        raise TrainingError(
            f"cannot write {path}: {error.strerror or error}. The run is intact; mend that and report again."
        ) from error
    return path


# What happened


@dataclasses.dataclass
class History:
    """A run as its log tells it, without what a resume or a rollback made void."""

    start: dict[str, Any] = dataclasses.field(default_factory=dict)
    train: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    validation: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    samples: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    events: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    step: int = 0
    elapsed: float = 0.0  # seconds
    ended: str = ""  # the reason, if nothing came after it

    def note(self, line: dict[str, Any]) -> None:
        """The next line of the log."""
        event, step = line["event"], int(line["step"])
        if event in ("start", "resume", "rollback"):
            back = _number(line.get("to"))
            step = step if back is None else int(back)
            for kept in (self.train, self.validation, self.samples):
                while kept and kept[-1]["step"] > step:
                    kept.pop()
        if event == "start":
            self.start = line
        kinds = {"train": self.train, "validation": self.validation, "sample": self.samples}
        if event in kinds:
            kinds[event].append(line)
        elif event not in ("start", "checkpoint"):
            self.events.append(line)
        self.step = step
        self.elapsed = _number(line.get("elapsed")) or self.elapsed
        self.ended = str(line.get("reason", "done")) if event == "end" else ""


def read(run: Path) -> History:
    """The log of a run; lines that a kill cut short are passed over."""
    path = run / "log.jsonl"
    history = History()
    try:
        with open(path, "rb") as file:
            for raw in file:
                with contextlib.suppress(ValueError):
                    line = json.loads(raw)
                    if isinstance(line, dict) and "event" in line and _number(line.get("step")) is not None:
                        history.note(line)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}. Give the folder that `fastwave train --out` made."
        ) from error
    if (run / "run.json").exists():  # newer than the start: a resumed run may have more steps and another command
        with contextlib.suppress(OSError, ValueError, TypeError):
            history.start = {**history.start, **json.loads((run / "run.json").read_bytes())}
    return history


def points(lines: Iterable[Mapping[str, Any]], name: str) -> Array:
    """[2, n <= MOST_POINTS]: steps and values; of more lines, the means of stretches of equal length."""
    pairs = [(line["step"], value) for line in lines if (value := _number(line.get(name))) is not None]
    whole = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    count = whole.shape[1]
    if count <= MOST_POINTS:
        return whole
    edges = np.linspace(0, count, MOST_POINTS + 1).astype(np.int64)
    means: Array = np.add.reduceat(whole, edges[:-1], axis=1) / np.diff(edges)
    return means


# The page


def _page(run: Path, history: History) -> str:
    name = run.resolve().name
    start = history.start
    body = [
        f"<header><p class=eyebrow>fastwave training run</p><h1>{_text(name)}</h1>",
        f"<p class=state>{_text(_state(history))}</p></header>",
        _section("Loss", _losses(history)),
        _section("Samples", _samples(run, history)),
        _section("Events", _events(history.events)) if history.events else "",
        _section("Files left out", _left_out(_part(start, "data").get("skipped"))),
        _section("Configuration", _configuration(start)),
        _section("To go on", f"<p>The same command resumes the run.</p><pre>{_text(start['command'])}</pre>")
        if start.get("command")
        else "",
    ]
    return (
        f"<!doctype html>\n<html lang=en><meta charset=utf-8><title>{_text(name)} · fastwave</title>\n"
        f'<meta name=viewport content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv=Content-Security-Policy content="{_POLICY}">\n'
        f"<style>{_STYLE}</style>\n<body><main>\n" + "\n".join(filter(None, body)) + "\n</main>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>\n{content}</section>" if content else ""


def _state(history: History) -> str:
    """One sentence."""
    steps = _number(_part(history.start, "settings").get("steps"))
    said = f"Step {history.step:,}" + (f" of {int(steps):,}" if steps else "") + f" after {_duration(history.elapsed)}"
    bits = points(history.validation, "bits")
    if bits.size:
        said += f": {bits[1, -1]:.3f} bits a {_unit(history)} on held-out data"
    rate = points(history.train[-1:], "samples_per_second")
    if rate.size:
        said += f", {rate[1, -1]:,.0f} {_unit(history)}s a second"
    return said + (f"; {history.ended}." if history.ended else ".")


def _losses(history: History) -> str:
    data = _part(history.start, "data")
    named = {"white noise": "white_noise_bits", "order-0 model": "order0_bits"}
    levels = {name: value for name, key in named.items() if (value := _number(data.get(key))) is not None}
    curves = {"training": points(history.train, "bits"), "held out": points(history.validation, "bits")}
    loss = chart(f"Bits a {_unit(history)}, by step", history.step, curves, levels)
    if not loss:
        return "<p>Nothing has been measured yet.</p>"
    small = [
        chart("Learning rate", history.step, {"": points(history.train, "learning_rate")}),
        chart(
            f"Training speed, {_unit(history)}s a second",
            history.step,
            {"": points(history.train, "samples_per_second")},
        ),
    ]
    return f"{loss}<div class=pair>{''.join(small)}</div>"


def _events(events: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for event in events[-MOST_EVENTS:]:
        kind, said = str(event["event"]), str(event.get("reason", ""))
        if kind == "resume":
            said = "; ".join(map(str, event.get("bad") or []))
        elif kind == "rollback":
            said = f"{said}: back to step {event.get('to', event['step'])}"
            said += f", learning rate times {event['learning_rate_scale']}" if "learning_rate_scale" in event else ""
        elif kind == "micro_batch":
            said = f"out of memory: {event.get('size')} windows at a time"
        told = (f"{int(event['step']):,}", _duration(_number(event.get("elapsed")) or 0), _name(kind)[:20], said)
        rows.append("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in told) + "</tr>")
    more = f"<p>The last {MOST_EVENTS} of {len(events):,}.</p>" if len(events) > MOST_EVENTS else ""
    heads = "".join(f"<th scope=col>{head}</th>" for head in ("Step", "After", "Event", "Detail"))
    return f"{more}<table class=events><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _left_out(skipped: Any) -> str:
    if not isinstance(skipped, list) or not skipped:
        return ""
    pairs = [(each[0], each[1]) for each in skipped[:MOST_SKIPPED] if isinstance(each, (list, tuple)) and len(each) > 1]
    more = f", of which the first {MOST_SKIPPED}" if len(skipped) > MOST_SKIPPED else ""
    files = "1 data file" if len(skipped) == 1 else f"{len(skipped):,} data files"
    return f"<p>{files} could not be used{more}:</p>" + _table(pairs)


def _configuration(start: Mapping[str, Any]) -> str:
    data = {name: value for name, value in _part(start, "data").items() if name != "skipped"}
    about = {name: start[name] for name in ("parameters", "device") if name in start}
    tables = {
        "Model": {**about, **_part(start, "config")},
        "Training": _part(start, "settings"),
        "Data": data,
    }
    parts = [
        f"<div><h3>{title}</h3>{_table((_name(k), v) for k, v in rows.items())}</div>"
        for title, rows in tables.items()
        if rows
    ]
    return f"<div class=tables>{''.join(parts)}</div>" if parts else ""


def _table(rows: Iterable[tuple[Any, Any]]) -> str:
    """A name and a value a row."""
    cells = (f"<tr><th scope=row>{_text(name)}</th><td>{_text(_value(value))}</td></tr>" for name, value in rows)
    return f"<table>{''.join(cells)}</table>"


# What can be heard and read


class _Clip(NamedTuple):
    title: str
    wave: Array
    sample_rate: int
    wav: bytes
    cut: bool  # only its beginning

    @property
    def seconds(self) -> float:
        return len(self.wave) / self.sample_rate


def _samples(run: Path, history: History) -> str:
    """The real stretch, then what was generated, the newest first; of many, some in even steps."""
    lines = [line for line in history.samples if isinstance(line.get("file"), str)]
    if not lines:
        return "<p>There are no samples yet.</p>"
    chosen = [lines[round(i)] for i in np.linspace(len(lines) - 1, 0, min(len(lines), MOST_SAMPLES))]
    files = [("Real, held out", str(chosen[0].get("real") or ""))] if chosen[0].get("real") else []
    files += [(f"Step {int(line['step']):,}", line["file"]) for line in chosen]
    # by name alone: a log has no say over which folder is read
    paths = [(title, run / "samples" / Path(file).name) for title, file in files]
    if all(path.suffix == ".txt" for _, path in paths):
        return f"<div class=texts>{''.join(_written(*each) for each in paths)}</div>"
    clips: list[_Clip | str] = []
    for title, path in paths:
        try:
            clips.append(_clip(title, path, MOST_SOUND_BYTES // len(paths)))
        except (AudioError, OSError) as error:
            clips.append(f"<figure><h3>{title}</h3><p>It cannot be heard: {_text(error)}</p></figure>")
    levels = {clip.title: spectrogram(clip.wave, clip.sample_rate) for clip in clips if isinstance(clip, _Clip)}
    loudest = max((float(level.max()) for level in levels.values()), default=0.0)
    drawn = [clip if isinstance(clip, str) else _heard(clip, levels[clip.title] - loudest) for clip in clips]
    ramp = f"<i style='background:linear-gradient(to right, {', '.join(f'rgb{colour}' for colour in COLOURS)})'></i>"
    key = f"<p class=key>dB from the loudest of all: {MINUS}{RANGE_DB:g} {ramp} 0</p>"
    return f"{key}<div class=sounds>{''.join(drawn)}</div>"


def _written(title: str, path: Path) -> str:
    try:
        with open(path, "rb") as file:
            shown = file.read(MOST_TEXT_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError) as error:  # a name may hold what no path can
        shown = f"It cannot be read: {error}"
    return f"<figure><h3>{title}</h3><pre tabindex=0 aria-label='{title}'>{_text(shown)}</pre></figure>"


def _clip(title: str, path: Path, most_bytes: int) -> _Clip:
    """A sound and the bytes to play: the file's own, or those of its beginning."""
    told = audio.info(path)
    rate = told.sample_rate
    frames = min(told.frames, int(MOST_SECONDS * rate), most_bytes // 2)
    taken: list[Array] = []
    with contextlib.closing(_blocks(path, rate)) as blocks:
        while sum(map(len, taken)) < frames and (block := next(blocks, None)) is not None:
            taken.append(block)
    wave = np.concatenate(taken or [np.zeros(0)])[:frames]
    if not len(wave):
        raise AudioError(f"{path}: there is no sound in this file")
    if frames == told.frames:
        return _Clip(title, wave, rate, path.read_bytes(), False)
    with tempfile.TemporaryDirectory() as folder:
        audio.save(Path(folder) / "cut.wav", wave, rate)
        return _Clip(title, wave, rate, (Path(folder) / "cut.wav").read_bytes(), True)


def _blocks(path: Path, rate: int) -> Generator[Array, None, None]:
    for block in audio.blocks(path, rate):
        yield block.astype(np.float64)


def _heard(clip: _Clip, levels: Array) -> str:
    """A player under the waveform and the spectrogram, `levels` in dB below the loudest."""
    image = _data_uri("image/png", png(shades(levels), palette()))
    kilohertz = clip.sample_rate / 2000
    seconds = ticks(0, clip.seconds, 5, " s")
    about = f"Spectrogram of {clip.title}: 0 to {kilohertz:g} kHz over {clip.seconds:.1f} seconds"
    note = f" <small>the first {clip.seconds:.1f} s</small>" if clip.cut else ""
    return (
        f"<figure><h3>{clip.title}{note}</h3>"
        f"<div class='plot wave'>{_waveform(clip)}</div>"
        f"<div class='plot spectrogram'><img alt='{about}' src='{image}'>"
        f"{axes(seconds, ticks(0, kilohertz, 4, ' kHz'))}</div>"
        f"<audio controls preload=metadata aria-label='{clip.title}' src='{_data_uri('audio/wav', clip.wav)}'></audio>"
        "</figure>"
    )


def _waveform(clip: _Clip) -> str:
    """The highest and the lowest value of every column, as one shape."""
    edges = np.linspace(0, len(clip.wave), min(COLUMNS, len(clip.wave)) + 1).astype(np.int64)[:-1]
    peak = max(float(np.abs(clip.wave).max()), 1e-4)
    high = np.maximum.reduceat(clip.wave, edges) / peak
    low = np.minimum.reduceat(clip.wave, edges) / peak
    across = (np.arange(len(edges)) + 0.5) / len(edges)
    outline = places(np.append(across, across[::-1]), (1 - np.append(high, low[::-1])) / 2)
    shape = f"<path class=waveform d='M{'L'.join(outline)}Z'/>"
    return axes([], [(0.0, f"{MINUS}{peak:.2g}"), (1.0, f"{peak:.2g}")], shape, f"Waveform of {clip.title}")


# Words


def _text(value: object) -> str:
    """As HTML, between tags or in a quoted attribute."""
    return html.escape(str(value).translate(_CONTROLS))


def _value(value: object) -> str:
    if value is None or value == [] or value == "":
        return "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _name(key: str) -> str:
    return str(key).replace("_", " ")


def _duration(seconds: float) -> str:
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours:
        return f"{hours:,} h {minutes % 60} min"
    return f"{minutes} min {int(seconds % 60)} s" if minutes else f"{seconds:.0f} s"


def _unit(history: History) -> str:
    return "character" if _part(history.start, "config").get("sample_rate") == 0 else "sample"


def _part(start: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = start.get(name)
    return part if isinstance(part, dict) else {}


def _number(value: object) -> float | None:
    """Finite, or nothing."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --paper: #fcfcfa; --ink: #1c2024; --soft: #5d666f; --rule: #e2e3df;
  --panel: #f2f2ee; --train: #7791ad; --held: #b8431a; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181b; --ink: #e4e6e8; --soft: #9aa4ad; --rule: #2c3136;
  --panel: #1e2226; --train: #6d8cae; --held: #f2916a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 20px 64px; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 2rem; line-height: 1.2; letter-spacing: -.015em; }
h2 { margin: 56px 0 16px; padding-top: 12px; border-top: 1px solid var(--rule); font-size: 1.25rem; line-height: 1.3; }
h3 { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 20px; margin: 0 0 10px; font-size: .9375rem;
  line-height: 1.4; }
p { margin: 0 0 12px; max-width: 70ch; }
.eyebrow { margin: 0 0 4px; color: var(--soft); font-size: .875rem; }
.state { margin: 12px 0 0; font-size: 1.125rem; }
small, .key { color: var(--soft); font-size: .8125rem; font-weight: normal; }
.key i { display: inline-block; width: 100px; height: 10px; margin: 0 4px; border-radius: 2px; }
figure { margin: 0; min-width: 0; }
.legend { color: var(--soft); font-weight: normal; font-size: .8125rem; white-space: nowrap; }
.legend span + span { margin-left: 16px; }
.legend span::before { content: ""; display: inline-block; width: 18px; height: 3px; margin-right: 6px;
  vertical-align: middle; border-radius: 2px; background: var(--train); }
.legend .held::before { background: var(--held); }
.pair, .sounds, .texts, .tables { display: grid; gap: 32px 40px; }
.pair { margin-top: 52px; }
.pair, .sounds, .texts { grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
.tables { grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); align-items: start; }
.plot { position: relative; margin: 0 12px 28px 52px; }
.large { height: 320px; } .small { height: 150px; } .spectrogram { height: 170px; }
.wave { height: 64px; margin-bottom: 20px; }
.axes, .plot img { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.axes text { font-size: 12px; fill: var(--soft); }
.axes .x { text-anchor: middle; } .axes .y { text-anchor: end; }
.axes text.level { text-anchor: end; paint-order: stroke; stroke: var(--paper); stroke-width: 4px; fill: var(--ink); }
.axes line { stroke: var(--rule); } .spectrogram line { display: none; }
.axes line.level { stroke: var(--soft); stroke-dasharray: 5 4; }
path { fill: none; vector-effect: non-scaling-stroke; stroke-linejoin: round; stroke-linecap: round; }
path.train { stroke: var(--train); stroke-width: 1.5px; } path.held { stroke: var(--held); stroke-width: 2px; }
path.dots { stroke-width: 6px; } path.waveform { fill: var(--train); stroke: var(--train); stroke-width: 1px; }
audio { display: block; width: 100%; height: 40px; }
pre { margin: 0; padding: 14px 16px; border-radius: 6px; background: var(--panel); white-space: pre-wrap;
  font: .8125rem/1.5 ui-monospace, monospace; }
.texts pre { max-height: 22rem; overflow-y: auto; }
table { width: 100%; border-collapse: collapse; font-size: .875rem; line-height: 1.4; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
th { font-weight: normal; color: var(--soft); } th[scope=row] { width: 45%; }
.events :is(th, td):nth-child(-n+2) { white-space: nowrap; } .events td:nth-child(3) { overflow-wrap: normal; }
.events th:last-child { width: 60%; }
"""
