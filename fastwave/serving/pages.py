"""The two pages of the server. They ask for nothing from anywhere else."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

PAGE = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")

_SCALE = '<meta name="viewport" content="width=device-width, initial-scale=1">'
_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2rem }
td { vertical-align: top; padding: .2rem .8rem .2rem 0 }
@media (max-width: 40rem) { tr { display: block; padding-bottom: .6rem } td { display: inline-block } }
"""


def docs_of(schema: dict[str, Any]) -> str:
    """A description of the routes as a page, from /openapi.json."""
    parts = [f"<title>{escape(schema['info']['title'])}</title><style>{_STYLE}</style>"]
    parts.append(f"<h1>{escape(schema['info']['title'])} {escape(schema['info']['version'])}</h1>")
    parts.append('<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>')
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            parts.append(f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(route.get('description', '').replace('`', ''))}</p>")
            body = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            if "$ref" in body:
                parts.append(_fields(schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]))
            if body:
                answers = [(code, each) for code, each in route["responses"].items() if code >= "400"]
                rows = [f"<tr><td>{code}</td><td>{escape(each['description'])}</td></tr>" for code, each in answers]
                parts.append(f"<table>{''.join(rows)}</table>")
    return f'<!doctype html><html lang="en"><meta charset="utf-8">{_SCALE}<body>{"".join(parts)}</body></html>'


def _fields(model: dict[str, Any]) -> str:
    """The fields of a JSON body as a table."""
    rows = []
    for name, field in model["properties"].items():
        types = [str(each.get("type", each.get("enum", ""))) for each in field.get("anyOf", [field])]
        usual = "needed" if name in model.get("required", ()) else _default_of(field)
        values = ", ".join(map(str, field.get("enum", ())))
        text = "; ".join(filter(None, [field.get("description", ""), values]))
        rows.append(
            f"<tr><td><code>{escape(name)}</code></td><td>{escape(' or '.join(types))}</td>"
            f"<td>{escape(usual)}</td><td>{escape(text)}</td></tr>"
        )
    return f"<table>{''.join(rows)}</table>"


def _default_of(field: dict[str, Any]) -> str:
    return "may be left out" if field.get("default") is None else f"default: {field['default']}"
