"""Small models that between them use every feature, and inputs that fit them."""

from __future__ import annotations

import torch

from fastwave import WaveNet, WaveNetConfig

BASE = {
    "residual_channels": 5,
    "gate_channels": 7,
    "skip_channels": 6,
    "head_channels": 9,
    "dilations": (1, 2, 4, 1, 3),
}
PCM = {"codec": "pcm", "classes": 0}
CONDITIONED = {"condition_channels": 7, "speaker_channels": 3, "hop": 6}

# name -> fields; every output with and without conditioning, each upsampling, K, K0 and speaker form at least once
CONFIGS = {
    "categorical": {"classes": 11},
    "categorical-front3": {"classes": 11, "front_kernel": 3, "kernel_size": 3},
    "categorical-linear-ids": {"classes": 11, **CONDITIONED, "upsampling": "linear", "speakers": 4},
    "mixture": {**PCM, "output": "mixture-of-logistics", "mixtures": 3, "front_kernel": 2},
    "mixture-learned": {
        **PCM, **CONDITIONED, "output": "mixture-of-logistics", "mixtures": 2,
        "upsampling": "learned", "upsample_scales": (2, 3), "kernel_size": 5,
    },
    "gaussian": {**PCM, "output": "gaussian"},
    "gaussian-repeat": {**PCM, "output": "gaussian", "condition_channels": 4, "hop": 6, "front_kernel": 2},
    "bytes": {"codec": "bytes", "sample_rate": 0, "condition_channels": 2, "speaker_channels": 2, "speakers": 3},
    "one-layer": {"classes": 11, "dilations": (3,)},
    "categorical-excited": {"classes": 11, "excitation_channels": 3, "front_kernel": 2},
    "gaussian-excited-linear": {
        **PCM, "output": "gaussian", "condition_channels": 4, "hop": 6, "upsampling": "linear",
        "excitation_channels": 1,
    },
    "gaussian-biased": {**PCM, "output": "gaussian", "front_bias": True, "front_kernel": 2},
    "gaussian-rectified": {
        **PCM, "output": "gaussian", "front_bias": True, "front_kernel": 32, "front_activation": "relu",
    },
    "categorical-tanh-excited": {
        "classes": 11, "front_kernel": 2, "front_activation": "tanh", "excitation_channels": 2,
    },
    "mixture-stages": {
        **PCM, "output": "mixture-of-logistics", "mixtures": 2, "front_bias": True,
        "condition_channels": 4, "hop": 6, "upsampling": "stages",
        "upsample_stages": (
            {"stride": 1, "taps": 3, "trim": 1, "edges": "repeat"},
            {"stride": 2, "taps": 6, "trim": 2, "weights": "shared", "bands": 3, "slope": 0.4},
            {"stride": 3, "taps": 4, "weights": "shared", "bias": True},
        ),
    },
}  # fmt: skip


def make_model(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> WaveNet:
    """A model whose every weight matters: the output layer is not near zero as at a training start."""
    torch.manual_seed(seed)
    model = WaveNet(WaveNetConfig(**{**BASE, **CONFIGS[name]}), backend="reference")
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.3)
        model.get_parameter("head.1.weight").mul_(10)
    return model.to(dtype)


def make_tokens(config: WaveNetConfig, batch: int, steps: int, seed: int = 1) -> torch.Tensor:
    """Random tokens that fit the config."""
    random = torch.Generator().manual_seed(seed)
    if config.scalar_input:
        return torch.rand(batch, steps, generator=random) * 1.8 - 0.9
    return torch.randint(config.classes, (batch, steps), generator=random)


def make_condition(config: WaveNetConfig, batch: int, steps: int, seed: int = 2) -> dict[str, torch.Tensor]:
    """condition=, speaker= and excitation= for `steps` samples, as far as the config has them."""
    random = torch.Generator().manual_seed(seed)
    conditioning = {}
    if config.local_channels:
        conditioning["condition"] = torch.randn(batch, -(-steps // config.hop), config.local_channels, generator=random)
    if config.speakers:
        conditioning["speaker"] = torch.randint(config.speakers, (batch,), generator=random)
    elif config.speaker_channels:
        conditioning["speaker"] = torch.randn(batch, config.speaker_channels, generator=random)
    if config.excitation_channels:
        conditioning["excitation"] = torch.randn(batch, steps, config.excitation_channels, generator=random)
    return conditioning


def row_of(conditioning: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    """The conditioning of one stream."""
    return {name: values[row : row + 1] for name, values in conditioning.items()}


@torch.no_grad()
def heard(model: WaveNet, tokens: torch.Tensor, conditioning: dict[str, torch.Tensor]) -> torch.Tensor:
    """The parallel model's outputs for tokens after one receptive field of silence: [B, T, O]."""
    field, config = model.config.receptive_field, model.config
    dtype = model.get_parameter("front.weight").dtype
    silence = torch.full((tokens.shape[0], field), config.codec_object.silence, dtype=tokens.dtype)
    conditioning = dict(conditioning)
    if config.upsampling == "stages":  # whose edges are not those of frames that repeat
        past = torch.cat([silence, tokens], dim=1).to(dtype if config.scalar_input else torch.int64)
        conditioning["condition"] = conditioning["condition"].to(dtype)
        return model(past, **conditioning, first=-field)[:, field - 1 : -1]
    if "condition" in conditioning:
        # The first frame repeats before the start; a whole number of frames keeps the phase.
        frames = -(-field // config.hop)
        first = conditioning["condition"][:, :1].expand(-1, frames, -1)
        conditioning["condition"] = torch.cat([first, conditioning["condition"]], dim=1).to(dtype)
        extra = frames * config.hop - field
        silence = torch.full((tokens.shape[0], field + extra), config.codec_object.silence, dtype=tokens.dtype)
    if "excitation" in conditioning:
        excitation = conditioning["excitation"].to(dtype)
        before = excitation.new_zeros(len(excitation), silence.shape[1], excitation.shape[2])
        conditioning["excitation"] = torch.cat([before, excitation], dim=1)
    past = torch.cat([silence, tokens], dim=1)
    if config.scalar_input:
        past = past.to(dtype)
    return model(past, **conditioning)[:, silence.shape[1] - 1 : -1]
