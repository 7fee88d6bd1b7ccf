"""The proof of an import: the project's own network, unfolded in float64, against the model that is to be saved."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import WaveNetConfig
from ..errors import CheckpointError
from ..model import WaveNet
from .mapping import Imported, Trial

LARGEST_DIFFERENCE = 5e-6  # relative: float32 weights, each rounded once, give about 1e-7 a layer
_MOST_SAMPLES = 2048
_MOST_OPERATIONS = 20e9  # of one forward pass: some seconds


def draw_trial(config: WaveNetConfig, seed: int = 0) -> Trial:
    """Seeded inputs that reach over the receptive field, or as far as some seconds of arithmetic allow."""
    generator = torch.Generator().manual_seed(seed)
    affordable = int(_MOST_OPERATIONS / max(1, config.flop_per_sample))
    samples = max(64, min(config.receptive_field + 32, _MOST_SAMPLES, affordable))
    if config.scalar_input:
        tokens = torch.rand(samples, generator=generator, dtype=torch.float64) * 2 - 1
    else:
        tokens = torch.randint(config.classes, (samples,), generator=generator)
    frames: Tensor | None = None
    speaker: int | Tensor | None = None
    if config.local_channels:
        count = -(-samples // config.hop) + 2
        frames = torch.randn(count, config.local_channels, generator=generator, dtype=torch.float64)
    if config.speakers:
        speaker = int(torch.randint(config.speakers, (), generator=generator))
    elif config.speaker_channels:
        speaker = torch.randn(config.speaker_channels, generator=generator, dtype=torch.float64)
    return Trial(tokens, frames, speaker)


@torch.no_grad()
def difference(model: WaveNet, imported: Imported) -> float:
    """The largest difference between the two networks' outputs on one trial, relative to the largest output."""
    trial = draw_trial(model.config)
    expected = imported.forward(trial)
    actual = outputs(model, trial)
    if actual.shape != expected.shape or not torch.isfinite(expected).all():
        raise CheckpointError(
            f"the imported network gives {list(actual.shape)} where the original gives {list(expected.shape)}, or a "
            "number that is not finite: please report this checkpoint."
        )
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


@torch.no_grad()
def outputs(model: WaveNet, trial: Trial) -> Tensor:
    """What a model gives on a trial, computed in float64 by the reference: [T, O]"""
    with torch.device("meta"):
        precise = WaveNet(model.config, "reference")
    parameters = {name: parameter.to(torch.float64) for name, parameter in model.state_dict().items()}
    precise.load_state_dict(parameters, assign=True)
    frames = None if trial.frames is None else trial.frames[None]
    speaker = torch.tensor([trial.speaker]) if isinstance(trial.speaker, int) else trial.speaker
    result: Tensor = precise(trial.tokens[None], frames, speaker)[0]
    return result


def check(model: WaveNet, imported: Imported) -> float:
    """The difference, refused where it is more than rounding."""
    found = difference(model, imported)
    if not found <= LARGEST_DIFFERENCE:
        raise CheckpointError(
            f"the imported network differs from the original by {found:.1e} of its largest output, and "
            f"{LARGEST_DIFFERENCE:g} is the most that rounding explains: nothing was written; please report this."
        )
    return found
