"""Which dtype an engine computes in when it may choose: the cheapest that costs this model next to nothing."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import __version__
from ..distributions import divergence
from ..errors import GenerationError
from ..files import digest_of
from ..runtime import library
from . import kept
from .example import example

if TYPE_CHECKING:
    from .engine import Engine

# The cheapest first, by the bytes of a weight, which a sample has to read. The reference is as slow in any dtype.
CHEAPER = {"cpu": ("int8", "bfloat16"), "cuda": ("bfloat16",), "reference": ()}
# The most that a dtype may cost, in bits a sample. Two runs of one training differ by 0.01, so it is a fifth of what
# luck costs; int8 costs 0.0002 to 0.0018 in models of mu-law or text, and more where an output is a narrow density.
MOST_BITS = 0.002
SAMPLES = 4096  # of the probe: a quarter of a second at 16 kHz
BEGINNING = 1024  # of them are not judged: out of silence the first samples are easier than what follows
_KNOWN: dict[str, Verdict] = {}  # in this process, by weights, config and backend
_MOST_KNOWN = 1000


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The dtype chosen, and what each that was tried costs in bits a sample."""

    dtype: str
    costs: dict[str, float]

    def explain(self) -> str:
        """In a few words, such as `int8 costs 0.0004 bits a sample`."""
        if not self.costs:
            return "this backend has no cheaper one"
        tried = ", ".join(f"{dtype} costs {bits:.4f} bits a sample" for dtype, bits in self.costs.items())
        return tried if self.dtype in self.costs else f"{tried}: more than {MOST_BITS}"


def choose_dtype(backend: str, key: str, make: Callable[[str], Engine]) -> Verdict:
    """The first of the cheap dtypes that costs at most `MOST_BITS`; float32 where none does.

    `make` gives an engine of the model in a dtype. `key` stands for weights, config and backend: on these alone the
    verdict depends, so it is measured once, and kept for later processes too.
    """
    if key not in _KNOWN:
        rules = f"{_made_by(backend)}: {SAMPLES} samples, {BEGINNING} not judged, at most {MOST_BITS} bits"
        before = kept.read(rules).get(key)
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[key] = Verdict(*before) if before and set(before[1]) <= set(CHEAPER[backend]) else _judge(backend, make)
        if before is None:
            kept.write(rules, key, _KNOWN[key].dtype, _KNOWN[key].costs)
    return _KNOWN[key]


@functools.cache
def _made_by(backend: str) -> str:
    """The engine whose rounding a verdict is about."""
    files = [] if backend == "reference" else [library.path_of("cpu" if backend == "cpu" else "cuda")]
    return f"fastwave {__version__}, engine {digest_of(files)}"


def _judge(backend: str, make: Callable[[str], Engine]) -> Verdict:
    exact, costs = make("float32"), {}
    for dtype in CHEAPER[backend]:
        costs[dtype] = cost(make(dtype), exact)
        if costs[dtype] <= MOST_BITS:
            return Verdict(dtype, costs)
    return Verdict("float32", costs)


def cost(engine: Engine, exact: Engine) -> float:
    """Bits a sample that are lost where `engine` predicts in place of `exact`, on sound that `engine` makes.

    A conditional model follows seeded noise: its own kind of frames may cost it a little more or less.
    """
    config = engine.config
    _, inputs = example(config, SAMPLES, 1)
    prepared = engine.prepare(inputs.get("condition"), inputs.get("speaker"), 1, SAMPLES, inputs.get("excitation"))
    beginning = engine.start(1, condition=prepared)
    try:
        tokens = engine.run(beginning.copy(), SAMPLES, condition=prepared)
    except GenerationError:  # NaN, which whoever generates in earnest will be told of
        return math.inf
    got = engine.feed(beginning, tokens, condition=prepared)
    right = exact.feed(exact.start(1, condition=prepared), tokens, condition=prepared)
    return float(divergence(config.output, right[0, BEGINNING:], got[0, BEGINNING:])) / math.log(2)
