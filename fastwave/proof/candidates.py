"""What is proved: each subject with the functions that check it and time it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from types import ModuleType

from ..config import PRESETS, WaveNetConfig
from ..runtime.verdict import Rates, Subject
from ..stack.operator import kernels
from . import generation, training
from .closeness import NotProved
from .generation import Shape
from .training import Case


@dataclasses.dataclass(frozen=True)
class Candidate:
    """The checks in their order, each of which returns its figures or raises NotProved; and the race against others."""

    checks: Sequence[Callable[[], str]]
    contest: Callable[[], Rates]


# Sizes that fill no tile, three taps, every kind of conditioning; and a waveform from a Gaussian.
ODD = WaveNetConfig(
    residual_channels=20, gate_channels=23, skip_channels=40, head_channels=33, classes=150, dilations=(1, 2, 5, 3),
    kernel_size=3, front_kernel=3, condition_channels=5, hop=4, speaker_channels=2, speakers=3, excitation_channels=2,
)  # fmt: skip
WAVEFORM = WaveNetConfig(
    residual_channels=17, gate_channels=16, skip_channels=35, head_channels=20, dilations=(1, 4, 2), codec="pcm",
    classes=0, output="gaussian", front_kernel=2,
)  # fmt: skip
ODD_CASE = Case(3, 129, 18, 33, 16, 5, 3, (2, 40))
STREAMS = 9  # one more than a cluster takes
MANY = 16


def candidate(subject: Subject, depth: str) -> Candidate:
    """What shows that a subject is right here: quickly with two small models and the reference shape, in full with all
    presets.
    """
    ref = WaveNetConfig.preset("ref")
    others = {name: WaveNetConfig.preset(name) for name in PRESETS if name != "ref" and depth != "quick"}
    if subject.role == "generation":
        shapes = [Shape("odd sizes", ODD, STREAMS), Shape("a waveform", WAVEFORM, STREAMS)]
        shapes += [Shape(name, config, STREAMS, may_not_fit=True) for name, config in others.items()]
        return of_generation(subject, [*shapes, Shape("ref", ref, STREAMS)], Shape("ref", ref, MANY))
    models = {**others, "ref": ref}
    cases = {"odd sizes": ODD_CASE, **{name: Case.of(config, 2, 1000) for name, config in models.items()}}
    return of_training(subject, cases, ("ref", Case.of(ref, 2, 8192)), depth)


def of_generation(subject: Subject, shapes: Sequence[Shape], timed: Shape) -> Candidate:
    """A kernel of the CUDA engine: its outputs and samples of these shapes, and its speed."""
    check = functools.partial(generation.check, kernel=subject.kernel, dtype=subject.dtype)
    return Candidate(
        [functools.partial(check, shape) for shape in shapes],
        functools.partial(generation.contest, timed, subject.kernel, subject.dtype),
    )


def of_training(
    subject: Subject, cases: dict[str, Case], timed: tuple[str, Case], depth: str, device: str = "cuda"
) -> Candidate:
    """The residual stack in Triton: forward pass and all gradients of these cases, and its speed.

    Quickly with one tile, under autocast or not; in full with every tile in turn, with recomputation too, and timed as
    tuned.
    """
    stack, products = kernels(subject.backend), subject.dtype
    modes = ["bfloat16", "autocast"] if products == "bfloat16" else [products]
    tiles = range(len(stack.TILES[stack.PRECISIONS[products]]))
    if depth == "quick":
        wanted = [(name, modes[index % len(modes)], False, 0) for index, name in enumerate(cases)]
    else:
        wanted = [(name, mode, again, 0) for name in cases for mode in modes for again in (False, True)]
        wanted += [(name, mode, False, index) for name in ("odd sizes", "ref") for mode in modes for index in tiles[1:]]
    checks = [
        functools.partial(_checked, stack, name, cases[name], mode, again, index, device)
        for name, mode, again, index in wanted
    ]

    def contest() -> Rates:
        with training.tile(stack, 0 if depth == "quick" else None):
            return training.contest(stack, *timed, modes[-1], device)

    return Candidate(checks, contest)


def _checked(stack: ModuleType, name: str, case: Case, mode: str, again: bool, tile: int, device: str) -> str:
    """The figures, or what is wrong, with the name of the case."""
    try:
        with training.tile(stack, tile):
            return f"{name}: {training.check(stack, case, mode, again, device)}"
    except NotProved as error:
        raise NotProved(f"{name}, tile {tile}{', recomputed' if again else ''}: {error}") from error
