"""`fastwave presets`: the shapes that a model can start from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, did_you_mean
from .parser import table

if TYPE_CHECKING:
    from .options import Verbs

# For which work each of `config.PRESETS` is. Their names are needed before torch is imported.
PURPOSES = {
    "ref": "the shape that benches measure; better than small where there is time",
    "small": "the default: sound or text on a laptop",
    "large": "more layers and channels, for a GPU or a night",
    "vocoder": "sound from mel features, 16-bit output",
    "music8x10": "8 stacks of 10 layers: a long memory, for music",
}


def check_preset(name: str) -> None:
    """Refuse a preset that does not exist."""
    if name not in PURPOSES:
        raise ConfigError(
            f"preset {name!r} is not known; choose one of {', '.join(PURPOSES)}.{did_you_mean(name, PURPOSES)}"
        )


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    from .options import add_json, add_verb  # which checks presets with this module

    add_json(add_verb(verbs, "presets", presets))


def presets(options: argparse.Namespace) -> int:
    """The shapes that a model can start from, and what they cost."""
    from .options import print_json

    rows = [_describe(name) for name in PURPOSES]
    if options.json:
        print_json(rows)
        return 0
    cells = [("preset", "layers", "residual", "skip", "parameters", "looks back", "cost", "for")]
    for row in rows:
        field = f"{row['receptive_field']:,} ({row['receptive_field_ms']:.0f} ms)"
        shape = (row["layers"], row["residual_channels"], row["skip_channels"])
        costs = (f"{row['parameters']:,}", field, f"{row['relative_cost']:.1f}")
        cells.append((row["name"], *map(str, shape), *costs, row["purpose"]))
    print(table(cells))
    print("cost is the arithmetic of one sample, in those of small; looks back is the receptive field in samples.")
    return 0


def _describe(name: str) -> dict[str, Any]:
    from ..config import WaveNetConfig

    config = WaveNetConfig.preset(name)
    return {
        "name": name,
        "layers": config.layers,
        "residual_channels": config.residual_channels,
        "skip_channels": config.skip_channels,
        "parameters": config.parameter_count,
        "receptive_field": config.receptive_field,
        "receptive_field_ms": config.receptive_field_ms,
        "relative_cost": config.flop_per_sample / WaveNetConfig.preset("small").flop_per_sample,
        "codec": config.codec,
        "output": config.output,
        "purpose": PURPOSES[name],
    }
