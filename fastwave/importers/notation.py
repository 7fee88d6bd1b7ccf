"""Files of hyper-parameters, read as data: JSON, simple YAML, and `name=value` strings. No file is ever executed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..locate import parse_object, read_bounded
from . import torch_files
from .pickles import Name, Stub

_DEEPEST = 8
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?")
_WORDS = {"true": True, "false": False, "none": None, "null": None, "~": None}
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_YAML_LINE = re.compile(r"( *)(- *)?(?:([\w./-]+|\"[^\"]*\"|'[^']*') *:(?: +|$))?(.*)")
_ASSIGNMENT = re.compile(r"\s*([A-Za-z_][\w.]*)\s*=(?!=)")


def read(path: Path) -> dict[str, Any]:
    """The hyper-parameters in a file, of whatever notation."""
    if torch_files.is_torch_file(path):  # such as the model.conf of kan-bayashi, which holds an argparse.Namespace
        values = plain(torch_files.read(path))
        if not isinstance(values, dict):
            raise CheckpointError(f"{path} holds no names and values: give a file of hyper-parameters.")
        return values
    content = read_bounded(path, "file of hyper-parameters")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CheckpointError(f"{path} is no text: give hyper-parameters as JSON, YAML or name=value.") from None
    if text.lstrip().startswith("{"):
        return parse_object(text, path, "file of hyper-parameters")
    if path.suffix.lower() not in (".yml", ".yaml") and _ASSIGNMENT.match(text):
        return parse_assignments(text, str(path))
    return _parse_yaml(text, str(path))


def plain(value: Any, deepest: int = _DEEPEST) -> Any:
    """Names and values of a pickle as JSON would hold them: dictionaries, lists, numbers, texts.

    An object is the dictionary of its attributes, as argparse.Namespace is. What is none of these is left out, as None.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Name):
        return str(value)
    if not deepest:
        return None
    if isinstance(value, Stub):
        value = value.state if isinstance(value.state, dict) else value.items or value.elements
    if isinstance(value, dict):
        return {shown(key): plain(inner, deepest - 1) for key, inner in list(value.items())[:2000]}
    if isinstance(value, (list, tuple)):
        return [plain(inner, deepest - 1) for inner in value[:2000]]
    return None


def shown(key: Any) -> str:
    """A key of a dictionary in a pickle as a short text. The text of a tuple could be long, and costs time."""
    return str(key)[:200] if isinstance(key, (str, int, float)) else type(key).__name__


def parse_assignments(text: str, name: str) -> dict[str, Any]:
    """`layers=24,stacks=4,scales=[4, 4]`, separated by commas or lines; `#` begins a comment."""
    text = re.sub(r"#.*", "", text)
    values: dict[str, Any] = {}
    for part in _split(text.replace("\r", "\n"), name, separators=",\n"):
        if not part.strip():
            continue
        found = _ASSIGNMENT.match(part)
        if not found:
            raise CheckpointError(
                f"{name}: {part.strip()[:60]!r} is no name=value, which is the form of hyper-parameters."
            )
        values[found[1]] = parse_value(part[found.end() :], name)
    return values


def parse_value(text: str, name: str, deepest: int = _DEEPEST) -> Any:
    """A number, a word, a quoted text, or a list of these in brackets."""
    text = text.strip()
    if text[:1] in ("[", "("):
        if text[-1] != _CLOSING[text[0]] or len(text) < 2 or not deepest:
            raise CheckpointError(f"{name}: the list {text[:60]!r} has no end, or is nested too deep.")
        parts = [part for part in _split(text[1:-1], name) if part.strip()]
        return [parse_value(part, name, deepest - 1) for part in parts]
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    if _NUMBER.fullmatch(text) and len(text) <= 40:
        return float(text) if set(text) & set(".eE") else int(text)
    return _WORDS.get(text.lower(), text)


def _split(text: str, name: str, separators: str = ",") -> list[str]:
    """The parts between separators that stand in no bracket and no quotes."""
    parts, start, open_brackets, quote = [], 0, "", ""
    for at, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in _CLOSING:
            open_brackets += _CLOSING[sign]
        elif open_brackets and sign == open_brackets[-1]:
            open_brackets = open_brackets[:-1]
        elif sign in separators and not open_brackets:
            parts.append(text[start:at])
            start = at + 1
        if len(open_brackets) > _DEEPEST:
            raise CheckpointError(f"{name}: lists are nested too deep.")
    return [*parts, text[start:]]


def _parse_yaml(text: str, name: str) -> dict[str, Any]:
    """Nested `key: value` lines and lists of `- value`; anchors, block texts and other parts of YAML are refused."""
    root: dict[str, Any] = {}
    levels: list[tuple[int, Any]] = [(-1, root)]  # the indentation of each open container
    pending: tuple[int, dict[str, Any], str] | None = None  # a key whose value begins on the next line
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).rstrip()
        if not line.strip() or line.strip() in ("---", "..."):
            continue
        found = _YAML_LINE.fullmatch(line.replace("\t", "    "))
        where = f"{name}, line {number}"
        if found is None:
            raise CheckpointError(f"{where}: {line.strip()[:60]!r} is no `key: value` of a file of hyper-parameters.")
        indent, dash, key, value = len(found[1]), found[2], found[3], found[4]
        if (dash and key) or (not dash and not key) or value[:1] in ("&", "*", "|", ">", "{", "!"):
            raise CheckpointError(
                f"{where}: {line.strip()[:60]!r} is not among the simple YAML that is read: use JSON."
            )
        if pending and (indent > pending[0] or (dash and indent == pending[0])):
            container: Any = [] if dash else {}
            pending[1][pending[2]] = container
            levels.append((indent, container))
        pending = None
        while len(levels) > 1 and (levels[-1][0] > indent or (not dash and isinstance(levels[-1][1], list))):
            levels.pop()
        target = levels[-1][1]
        if len(levels) > _DEEPEST or isinstance(target, list) != bool(dash):
            raise CheckpointError(f"{where}: {line.strip()[:60]!r} is indented like nothing around it.")
        if dash:
            target.append(parse_value(value, where))
        else:
            key = key.strip("\"'")
            target[key] = parse_value(value, where) if value else None
            pending = None if value else (indent, target, key)
    return root
