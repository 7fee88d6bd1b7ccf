"""argparse with fewer words: one sentence an error, the closest known word beside a misspelt one, verbs in groups."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from ..errors import did_you_mean


class Parser(argparse.ArgumentParser):
    """A parser of one verb, or of the whole command, with its verbs in `groups`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.groups: dict[str, list[Parser]] = {}  # verbs by the headings of the command's help
        self.closing = ""  # what stands below them

    def error(self, message: str) -> NoReturn:
        """End with status 2 and a sentence; the usage of `train` alone would fill the screen."""
        self.exit(2, f"{self.prog}: {message}\nSee {self.prog} --help.\n")

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Refuse an unknown option first: otherwise a misspelt --out is reported as a missing --out."""
        texts = None if args is None else list(args)
        if not self.groups:
            for text in itertools.takewhile(lambda text: text != "--", texts or ()):
                self._check_option(text.partition("=")[0])
        return super().parse_known_args(texts, namespace)

    def _check_option(self, name: str) -> None:
        known = self._option_string_actions
        if name.startswith("--") and not any(option.startswith(name) for option in known):
            self.error(f"there is no option {name}.{did_you_mean(name, known)}")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            if action.type not in (float, int):
                raise
            kind = "a number" if action.type is float else "a whole number"
            raise argparse.ArgumentError(action, f"must be {kind}, got {arg_string!r}.") from error

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        known = [str(choice) for choice in action.choices or ()]
        if known and value not in action.choices:  # type: ignore[operator]
            raise argparse.ArgumentError(
                action, f"{value!r} is not known.{did_you_mean(str(value), known)} Choose one of {', '.join(known)}."
            )

    def format_help(self) -> str:
        """The verbs in groups, where this parser has some."""
        if not self.groups:
            return super().format_help()
        width = max(len(_verb_of(verb)) for verbs in self.groups.values() for verb in verbs)
        lines = [f"usage: {self.prog} VERB ...", "", str(self.description)]
        for heading, verbs in self.groups.items():
            lines += ["", f"{heading}:"]
            lines += [f"  {_verb_of(verb):{width}}  {_first_sentence(verb.description)}" for verb in verbs]
        return "\n".join([*lines, "", self.closing.strip(), ""])


def _verb_of(parser: Parser) -> str:
    return parser.prog.rpartition(" ")[2]


def _first_sentence(text: str | None) -> str:
    return " ".join((text or "").split()).partition(". ")[0].rstrip(".") + "."


def whole_number(least: int) -> Any:
    """The type of an option that takes a whole number from `least` up."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, got {text!r}.")
        return value

    return parse


def number_above_zero(text: str) -> float:
    """The type of an option that takes a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}.")
    return value


def table(rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells as text, in columns that are flush left."""
    lines = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
