"""`fastwave distill`: from a Gaussian model and recordings to a student that makes all samples at once."""

from __future__ import annotations

import argparse
import functools

from ..locate import locate
from .options import Verbs, add_verb, check_material
from .train import add_run, train_student


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "distill", distill, check)
    verb.add_argument("model", metavar="TEACHER", help="a model with --set output=gaussian and --features mel")
    verb.add_argument("folder", metavar="FOLDER", help="the recordings that the teacher was trained on, at any depth")
    verb.add_argument("--out", required=True, metavar="RUN", help="the run's folder; an existing run is resumed")
    verb.add_argument("--held-out", type=float, default=0.05, help="share of the files to validate on (default: 0.05)")
    verb.add_argument(
        "--kl", type=float, metavar="WEIGHT", help="of the KL to the teacher; 0: learn without (default: 1)"
    )
    verb.add_argument("--power", type=float, metavar="WEIGHT", help="of the difference of magnitudes (default: 2)")
    verb.add_argument(
        "--dither", type=float, metavar="SCALE",
        help="of the noise in the recordings, root mean square, as the teacher's had it (default: 5e-4)",
    )  # fmt: skip
    add_run(verb)


def check(options: argparse.Namespace) -> None:
    """Refuse what needs no model to be refused."""
    locate(options.model)
    check_material(options.folder, options.out, "recordings")


def distill(options: argparse.Namespace) -> int:
    """Train a student that makes all samples at once to draw what a model draws one after another."""
    from ..model import WaveNet
    from ..student import training
    from ..student.distillation import Weights

    named = {name: value for name in ("kl", "power") if (value := getattr(options, name)) is not None}
    dither = {} if options.dither is None else {"dither": options.dither}
    teacher = WaveNet.from_pretrained(options.model)
    return train_student(
        options, functools.partial(training.distill, teacher, weights=Weights(**named), **dither), "loss"
    )
