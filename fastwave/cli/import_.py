"""`fastwave import`: a model of another project, as one of ours."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..importers.registry import MAPPINGS
from .options import Verbs, add_json, add_verb, check_file, print_json, print_rows
from .parser import whole_number

if TYPE_CHECKING:
    from ..importers.importing import Report


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "import", import_, check)
    verb.add_argument(
        "src", metavar="SRC", help="a checkpoint: a file of torch.save, any file of a TensorFlow bundle, or its folder"
    )
    verb.add_argument("-o", "--out", metavar="DIR", help="the folder of the new model, which must not exist yet")
    verb.add_argument("--hparams", metavar="FILE", help="hyper-parameters, in place of the file beside SRC")
    verb.add_argument(
        "--from", dest="source", choices=("auto", *MAPPINGS), default="auto", metavar="PROJECT",
        help=f"{', '.join(MAPPINGS)}, where the tensors alone do not tell (default: auto)",
    )  # fmt: skip
    verb.add_argument(
        "--sample-rate", type=whole_number(1), metavar="N", help="samples a second, where no file says it"
    )
    verb.add_argument("--speakers", type=whole_number(1), metavar="N", help="how many speakers, where no file says it")
    verb.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="a hyper-parameter, such as blocks=4 or 'dilations=[1,2,4]'; may be repeated",
    )  # fmt: skip
    verb.add_argument("--dry-run", action="store_true", help="read, convert and compare, but write nothing")
    add_json(verb)


def check(options: argparse.Namespace) -> None:
    """Refuse, before torch is imported, what is missing or in the way."""
    if options.out is None and not options.dry_run:
        raise InputError("give -o DIR, the folder of the new model, or --dry-run to see what would be in it.")
    out = None if options.out is None else Path(options.out)
    if out is not None and (out.is_file() or (out.is_dir() and any(out.iterdir()))):
        raise InputError(f"-o {out} exists already and is not empty: give a new folder.")
    check_file("--hparams", options.hparams)
    for setting in options.settings:
        if not setting.partition("=")[0].strip() or "=" not in setting:
            raise InputError(f"--set {setting}: give KEY=VALUE, such as --set blocks=4.")


def import_(options: argparse.Namespace) -> int:
    """Turn a checkpoint of another project into a model. The file is read as data: nothing that it contains is run."""
    from ..importers.importing import import_model, save
    from ..importers.notation import parse_value

    settings: dict[str, Any] = {}
    for setting in options.settings:
        key, _, value = setting.partition("=")
        settings[key.strip()] = parse_value(value, "--set")
    model, report = import_model(
        options.src,
        options.hparams,
        options.source,
        sample_rate=options.sample_rate,
        speakers=options.speakers,
        settings=settings,
    )
    if not options.dry_run:
        save(model, report, options.out)
    _show(report, options)
    return 0


def _show(report: Report, options: argparse.Namespace) -> None:
    if options.json:
        print_json(report.as_dict())
        return
    print_rows(report.lines())
    if not options.dry_run:
        more = " --speaker 0" if report.config.speakers else ""
        more += " --condition FILE" if report.config.local_channels else ""
        print(f"fastwave generate {options.out} -o new.wav{more}")
