"""General upsampling: stages against PyTorch's own transposed convolutions, in whole and in every part."""

import dataclasses
import itertools

import pytest
import torch
import torch.nn.functional as F

from fastwave import WaveNet, WaveNetConfig, conditioning
from fastwave.errors import ConfigError
from fastwave.upsampling import StageWeights, UpsampleStage, frames_ahead, run_stages
from shapes import BASE, make_tokens

CHANNELS, FRAMES = 4, 5
STAGES = {
    "dense": UpsampleStage(3, 3),
    "dense, fewer taps than the stride": UpsampleStage(4, 2, bias=True),
    "dense, trimmed, edges repeat": UpsampleStage(2, 7, trim=3, bias=True, edges="repeat"),
    "over frames": UpsampleStage(1, 5, trim=2, edges="repeat"),
    "shared": UpsampleStage(3, 9, trim=3, weights="shared", bands=3, slope=0.4),
    "shared, wider than the channels": UpsampleStage(2, 2, weights="shared", bands=11, bias=True, slope=0.0),
    "shared, a bias for each phase": UpsampleStage(
        3, 9, trim=4, weights="shared", bands=3, bias=True, slope=0.4, phase_bias=True
    ),
}
CHAINS = [[stage] for stage in STAGES.values()]
CHAINS += [[STAGES["over frames"], STAGES["shared"], STAGES["dense, trimmed, edges repeat"]]]
NAMES = [*STAGES, "three stages"]


def drawn(stages):
    random = torch.Generator().manual_seed(4)
    frames = torch.randn(2, FRAMES, CHANNELS, generator=random, dtype=torch.float64)
    weights = []
    for stage in stages:
        shapes = stage.parameter_shapes(CHANNELS)
        values = {name: torch.randn(shape, generator=random, dtype=torch.float64) for name, shape in shapes.items()}
        weights.append(StageWeights(values["weight"], values.get("bias")))
    return frames, weights


def by_pytorch(frames, stages, weights):
    """The whole of it, edges included: [B, F * hop, C]"""
    x = frames.transpose(1, 2)
    for stage, (weight, bias) in zip(stages, weights, strict=True):
        length, wide = x.shape[2], stage.taps  # so many inputs on each side that no edge is seen
        x = F.pad(x, (wide, wide), mode="replicate") if stage.edges == "repeat" else F.pad(x, (wide, wide))
        if stage.weights == "dense":
            x = F.conv_transpose1d(x, weight.permute(1, 2, 0), bias, stride=stage.stride)
        else:
            kernel = weight.T.flip(0)[None, None]  # PyTorch counts bands from the other end
            margin = ((stage.bands - 1) // 2, 0)
            one = None if stage.phase_bias else bias
            x = F.conv_transpose2d(x[:, None], kernel, one, stride=(1, stage.stride), padding=margin)[:, 0]
            if stage.phase_bias:
                x = x + bias[torch.arange(x.shape[2]) % stage.stride]
        begin = wide * stage.stride + stage.trim
        x = x[:, :, begin : begin + length * stage.stride]
        x = torch.where(x < 0, stage.slope * x, x)
    return x.transpose(1, 2)


@pytest.mark.parametrize("stages", CHAINS, ids=NAMES)
def test_stages_are_transposed_convolutions(stages):
    frames, weights = drawn(stages)
    expected = by_pytorch(frames, stages, weights)
    assert torch.allclose(run_stages(frames, 0, expected.shape[1], stages, weights), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("stages", CHAINS, ids=NAMES)
def test_a_part_is_that_of_the_whole_and_the_ends_repeat(stages):
    frames, weights = drawn(stages)
    whole = by_pytorch(frames, stages, weights)
    last = whole.shape[1] - 1
    for first, count in itertools.product((-9, -1, 0, 1, last, last + 3), (0, 1, 7)):
        part = run_stages(frames, first, count, stages, weights)
        index = torch.arange(first, first + count).clamp(0, last)
        assert torch.allclose(part, whole[:, index], rtol=0, atol=1e-12), (first, count)


@pytest.mark.parametrize("stages", CHAINS, ids=NAMES)
def test_frames_ahead_are_those_that_a_sample_reads(stages):
    frames, weights = drawn(stages)
    hop = torch.tensor([stage.stride for stage in stages]).prod().item()
    frames.requires_grad_()
    run_stages(frames, 0, hop, stages, weights).square().sum().backward()
    seen = int(frames.grad.abs().sum(dim=(0, 2)).nonzero().max())
    assert seen <= frames_ahead(stages) <= seen + 1


def test_a_stretch_with_a_convolution_is_one_stage():
    scale, random = 3, torch.Generator().manual_seed(0)
    taps = torch.randn(2 * scale + 1, generator=random, dtype=torch.float64)
    frames = torch.randn(1, FRAMES, CHANNELS, generator=random, dtype=torch.float64)
    stretched = frames.repeat_interleave(scale, dim=1).transpose(1, 2).flatten(0, 1)[:, None]
    expected = F.conv1d(stretched, taps[None, None], padding=scale)[:, 0].T[None]
    weight = torch.stack([taps[max(0, 2 * scale - k) : 3 * scale - k].sum()[None] for k in range(3 * scale)])
    stage = UpsampleStage(scale, 3 * scale, trim=scale, weights="shared")
    found = run_stages(frames, 0, FRAMES * scale, [stage], [StageWeights(weight, None)])
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


CONFIG = {**BASE, "classes": 11, "condition_channels": CHANNELS, "hop": 6, "upsampling": "stages"}
STAGED = {**CONFIG, "upsample_stages": [{"stride": 2, "taps": 4, "trim": 1}, {"stride": 3, "taps": 3, "bias": True}]}


def test_a_config_with_stages_comes_back_from_json():
    config = WaveNetConfig(**STAGED)
    assert WaveNetConfig.from_dict(config.to_dict()) == config
    assert config.upsample_stages[1] == UpsampleStage(3, 3, bias=True)
    assert "upsample_stages" not in WaveNetConfig().to_dict()
    assert all("phase_bias" not in stage for stage in config.to_dict()["upsample_stages"])


def test_a_bias_for_each_phase_comes_back_from_json_and_needs_shared_weights_and_a_bias():
    stage = STAGES["shared, a bias for each phase"]
    assert UpsampleStage.from_value(stage.to_dict()) == stage
    assert stage.parameter_shapes(CHANNELS)["bias"] == (3,)
    for wrong in ({"weights": "dense"}, {"bias": False}, {"phase_bias": 1}):
        with pytest.raises(ConfigError, match="phase_bias of an upsample stage"):
            dataclasses.replace(stage, **({"bands": 1} | wrong))


def test_training_reaches_every_weight_of_a_stage():
    model = WaveNet(WaveNetConfig(**STAGED), backend="reference")
    frames = torch.randn(1, 4, CHANNELS, generator=torch.Generator().manual_seed(0))
    model.loss(make_tokens(model.config, 1, 20), frames).backward()
    named = {name: parameter.grad for name, parameter in model.named_parameters() if name.startswith("upsample")}
    assert len(named) == 3
    assert all(bool(gradient.any()) for gradient in named.values())


def test_a_new_model_with_stages_starts_near_its_frames():
    model = WaveNet(WaveNetConfig(**STAGED), backend="reference")
    prepared = conditioning.prepare(model.config, torch.ones(5, CHANNELS), None, 1, 30)
    made = conditioning.vectors(model.config, dict(model.named_parameters()), prepared, 6, 12)
    assert torch.allclose(made, torch.ones_like(made))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"upsample_stages": []}, "needs local features .* and upsample_stages"),
        ({"upsample_stages": 7}, "must be a list of at most"),
        ({"upsample_stages": [{"stride": 6}]}, "an object with stride, taps"),
        ({"upsample_stages": [{"stride": 6, "taps": 6, "kind": 1}]}, "an object with stride, taps"),
        ({"upsample_stages": [{"stride": 5, "taps": 6}]}, "multiply to 5, not to hop=6"),
        ({"upsample_stages": [{"stride": 6, "taps": 0}]}, "taps of an upsample stage must be an integer 1"),
        ({"upsample_stages": [{"stride": True, "taps": 6}]}, "stride of an upsample stage must be an integer"),
        (
            {"upsample_stages": [{"stride": 6, "taps": 6, "trim": 6}]},
            "trim of an upsample stage must be an integer 0..5",
        ),
        ({"upsample_stages": [{"stride": 6, "taps": 6, "bands": 2, "weights": "shared"}]}, "odd number of bands"),
        ({"upsample_stages": [{"stride": 6, "taps": 6, "bands": 3}]}, "1 where dense"),
        ({"upsample_stages": [{"stride": 6, "taps": 6, "weights": "some"}]}, "weights dense or shared"),
        ({"upsample_stages": [{"stride": 6, "taps": 6, "edges": "wrap"}]}, "edges zero or repeat"),
        ({"upsample_stages": [{"stride": 6, "taps": 6, "bias": 1}]}, "is true or false"),
        ({"upsample_stages": [{"stride": 6, "taps": 6, "slope": 2}]}, "slope of an upsample stage is a number 0..1"),
        ({"upsampling": "repeat"}, "has no meaning for upsampling 'repeat'"),
    ],
)
def test_stages_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        WaveNetConfig(**{**STAGED, **changes})
