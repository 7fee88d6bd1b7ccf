"""The options that generate() and stream() share: listed here once, shown in the signature of both."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


class Options(TypedDict, total=False):
    """The types of the options; `generate` says what they do."""

    samples: int | Sequence[int] | None
    seed: int
    temperature: float
    top_k: int | None
    top_p: float | None
    prime: object
    condition: object
    speaker: object
    excitation: object
    batch: int
    backend: str
    dtype: str
    threads: int | None


DEFAULTS: Options = {
    "samples": None,
    "seed": 0,
    "temperature": 1.0,
    "top_k": None,
    "top_p": None,
    "prime": None,
    "condition": None,
    "speaker": None,
    "excitation": None,
    "batch": 1,
    "backend": "auto",
    "dtype": "auto",
    "threads": None,
}


def complete(options: Options) -> Options:
    """The options, with defaults for those that were left out. An unknown name is a TypeError, as in any call."""
    for name in options:
        if name not in DEFAULTS:
            raise TypeError(f"got an unexpected keyword argument {name!r}")
    return {**DEFAULTS, **options}


def lists_options(function: Function) -> Function:
    """Make help() and inspect.signature show every option, with type and default, in place of **options."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter(name, keyword, default=default, annotation=Options.__annotations__[name])
        for name, default in DEFAULTS.items()
    ]
    signature = inspect.signature(function)
    named = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    positional = [each for each in named if each.kind is not keyword]
    others = [each for each in named if each.kind is keyword]
    shown = signature.replace(parameters=[*positional, *shared, *others])
    function.__signature__ = shown  # type: ignore[attr-defined]
    function.__annotations__ = {name: each.annotation for name, each in shown.parameters.items()}
    function.__annotations__["return"] = shown.return_annotation
    return function
