"""The HTML of a report: escaped text, tables, sections, and the frame and style of the page."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable
from typing import Any

# What HTML cannot hold, or what would not be seen: a picture of each control character but tab and line feed
_CONTROLS = {code: 0x2400 + code for code in range(32) if code not in (9, 10)} | {127: 0x2421}


def document(title: str, body: Iterable[str], script: str = "") -> str:
    """A whole page; `title` is plain text, the parts of the body are HTML. No script runs but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = POLICY + (f"; script-src 'sha256-{digest}'" if script else "")
    return (
        f"<!doctype html>\n<html lang=en><meta charset=utf-8><title>{escape(title)} · fastwave</title>\n"
        f'<meta name=viewport content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv=Content-Security-Policy content="{policy}">\n'
        f"<style>{STYLE}</style>\n<body><main>\n"
        + "\n".join(filter(None, body))
        + "\n</main>\n"
        + (f"<script>{script}</script>\n" if script else "")
    )


def section(title: str, content: str) -> str:
    """A heading and HTML below it, or nothing where there is no content."""
    return f"<section><h2>{title}</h2>\n{content}</section>" if content else ""


def table(rows: Iterable[tuple[Any, Any]]) -> str:
    """A name and a value in each row."""
    cells = (f"<tr><th scope=row>{escape(name)}</th><td>{escape(readable(value))}</td></tr>" for name, value in rows)
    return f"<table>{''.join(cells)}</table>"


def escape(value: object) -> str:
    """Plain text as HTML, between tags or in a quoted attribute."""
    return html.escape(str(value).translate(_CONTROLS))


def readable(value: object) -> str:
    """A setting as people write it."""
    if value is None or value == [] or value == "":
        return "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(readable, value))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def words(key: str) -> str:
    """The name of a field, with spaces."""
    return str(key).replace("_", " ")


def duration(seconds: float) -> str:
    """In the two largest units that matter."""
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours:
        return f"{hours:,} h {minutes % 60} min"
    return f"{minutes} min {int(seconds % 60)} s" if minutes else f"{seconds:.0f} s"


def data_uri(kind: str, content: bytes) -> str:
    """A file inside the page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"

STYLE = """
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
.status { margin: 6px 0 0; color: var(--soft); }
.levels, .note { margin: 6px 0 0; color: var(--soft); font-size: .8125rem; }
.note { margin: 0 0 8px; } .group { margin: 40px 0 16px; }
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
.axes line.prime { display: inline; stroke: #fff; stroke-width: 2px; stroke-dasharray: 4 3; }
.wave .axes line.prime { stroke: var(--held); }
pre .prime { color: var(--soft); }
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
