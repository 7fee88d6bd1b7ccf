"""Sentences of a run on the terminal, which begin with the verb that the user typed."""

from __future__ import annotations

import contextlib
import contextvars
import sys
from collections.abc import Iterator

# A run may be one of several that a verb makes, deep below it: what is passed on to each would reach every wing.
_verb = contextvars.ContextVar("verb", default="train")


@contextlib.contextmanager
def saying(verb: str) -> Iterator[None]:
    """Name another verb than `train` within the block, or within a function that this decorates."""
    token = _verb.set(verb)
    try:
        yield
    finally:
        _verb.reset(token)


def say(*sentences: str, show: bool = True) -> None:
    """Print to the terminal, above a progress bar where there is one. Nothing is printed unless `show`."""
    from tqdm import tqdm

    for sentence in sentences if show else ():
        tqdm.write(f"fastwave {_verb.get()}: {sentence}", file=sys.stderr)
