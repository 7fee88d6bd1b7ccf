"""Checkpoints of r9y9/wavenet_vocoder: what tells its versions apart, and hyper-parameters that cannot be."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from fastwave import WaveNet, generate, import_model, score, stream
from fastwave.errors import CheckpointError

DATA = Path(__file__).resolve().parent / "data"
CHECKPOINT = "checkpoint_step000000007_ema.pth"
ABSENT = object()


def changed(tmp_path, case, hparams=(), tensors=()):
    """A case with other hyper-parameters or tensors; ABSENT takes one away."""
    folder = tmp_path / "changed"
    shutil.copytree(DATA / case, folder)
    values = {**json.loads((folder / "hparams.json").read_text()), **dict(hparams)}
    values = {key: value for key, value in values.items() if value is not ABSENT}
    (folder / "hparams.json").write_text(json.dumps(values))
    state = torch.load(folder / CHECKPOINT, weights_only=True)["state_dict"]
    state = {**state, **dict(tensors)}
    state = {name: tensor for name, tensor in state.items() if tensor is not ABSENT}
    torch.save({"state_dict": state}, folder / CHECKPOINT)
    return folder


def test_a_mel_vocoder_says_what_it_is_and_what_to_give():
    model, report = import_model(DATA / "r9y9-mixture")
    assert model.config.codec_parameters == {"pre_emphasis": 0.85, "gain": 0.55}
    assert [stage.slope for stage in model.config.upsample_stages] == [0.4, 0.4]
    assert any("master" in line and "2 stacks" in line for line in report.notes.recognised_lines)
    assert any("5 bands" in line and "6 samples" in line for line in report.notes.condition_lines)
    assert any("conv_layers.5.conv1x1_out" in line for line in report.notes.dropped_lines)


def test_the_convolution_over_frames_and_the_speakers_are_kept():
    config = import_model(DATA / "r9y9-mulaw")[0].config
    assert (config.speakers, config.speaker_channels, config.local_channels, config.hop) == (4, 3, 5, 6)
    assert [(stage.stride, stage.taps, stage.bands) for stage in config.upsample_stages] == [
        (1, 5, 1), (2, 6, 3), (3, 9, 3),
    ]  # fmt: skip
    assert config.codec_object.silence == 127


def test_numbers_may_be_companded(tmp_path):
    hparams = {"input_type": "mulaw", "quantize_channels": 256}
    assert import_model(changed(tmp_path, "r9y9-gaussian", hparams))[0].config.codec_parameters == {"mu": 255}


@pytest.mark.parametrize("scales", [True, False])
def test_the_legacy_flag_decides_how_skips_are_scaled(tmp_path, scales):
    model, _ = import_model(changed(tmp_path, "r9y9-legacy", {"legacy": scales}))
    original = torch.load(DATA / "r9y9-legacy" / CHECKPOINT, weights_only=True)["state_dict"]
    name = "conv_layers.0.conv1x1_skip"
    v, g = original[f"{name}.weight_v"][:, :, 0], original[f"{name}.weight_g"][:, :, 0]
    expected = v * g / v.norm(dim=1, keepdim=True) * (0.5**2.5 if scales else 1)  # 6 layers: five times sqrt(1/2)
    assert torch.allclose(model.get_parameter("skip.weight")[0].T, expected)


@pytest.mark.parametrize(
    ("case", "hparams", "message"),
    [
        ("r9y9-mulaw", {"stacks": ABSENT}, "hyper-parameter 'stacks' .* is missing"),
        ("r9y9-mulaw", {"stacks": 4}, "stacks = 4 does not divide the 6 layers"),
        ("r9y9-mulaw", {"layers": 8}, "layers is 8 .* says 6"),
        ("r9y9-mulaw", {"kernel_size": 3}, "kernel_size is 3 .* conv_layers.0.conv says 2"),
        ("r9y9-mulaw", {"gate_channels": 12}, "gate_channels is 12 .* says 10"),
        ("r9y9-mulaw", {"skip_out_channels": 6}, "skip_out_channels is 6 .* says 7"),
        ("r9y9-mulaw", {"cin_channels": 80}, "cin_channels is 80 .* says 5"),
        ("r9y9-mulaw", {"cin_pad": 1}, "cin_pad is 1 .* says 2"),
        ("r9y9-mulaw", {"hop_size": 8}, "hop_size is 8 .* says 6"),
        ("r9y9-mulaw", {"n_speakers": 5}, "n_speakers is 5 .* says 4"),
        ("r9y9-mulaw", {"input_type": "raw"}, "input_type is raw .* says mulaw-quantize"),
        ("r9y9-mulaw", {"quantize_channels": 65_536}, "quantize_channels is 65536 .* says 256"),
        ("r9y9-mulaw", {"sample_rate": ABSENT}, "does not say its sample rate"),
        ("r9y9-mulaw", {"upsample_params": {"upsample_scales": [3, 2]}}, r"upsample_scales is \[3, 2\]"),
        ("r9y9-mulaw", {"upsample_params": {"upsample_activation": "ReLU"}}, "does not fit upsample_activation = ReLU"),
        ("r9y9-mulaw", {"upsample_params": {"mode": "bilinear"}}, "only nearest is known"),
        ("r9y9-mixture", {"cin_pad": 1}, "an UpsampleNetwork without conv_in"),
        ("r9y9-mixture", {"upsample_params": {"upsample_activation": "Tanh"}}, "must be one of none, ReLU, LeakyReLU"),
        ("r9y9-mixture", {"output_distribution": "Normal"}, "9 outputs of distribution Normal are no output"),
        ("r9y9-mixture", {"output_distribution": ABSENT}, "'output_distribution' .* is missing"),
        ("r9y9-mixture", {"postprocess": "sharpen"}, "postprocess .* must be one of"),
        ("r9y9-gaussian", {"input_type": ABSENT}, "'input_type' .* is missing"),
        ("r9y9-gaussian", {"output_distribution": "Logistic"}, "output_distribution is Logistic .* says Normal"),
        ("r9y9-gaussian", {"output_distribution": ABSENT}, "the same in r9y9's master and up to 0.1.1"),
        ("r9y9-gaussian", {"gin_channels": 16}, "gin_channels is 16, but the checkpoint lacks conv1x1g"),
        ("r9y9-repeated", {"upsample_conditional_features": True}, "has no upsampling network"),
        ("r9y9-repeated", {"hop_size": ABSENT}, "'hop_size' .* is missing"),
        ("r9y9-legacy", {"legacy": ABSENT}, "'legacy' .* is missing"),
        ("r9y9-0.0.1", {"legacy": False}, "legacy is False .* upsample_conv, which is of January 2018, says True"),
        ("r9y9-0.0.1", {"freq_axis_kernel_size": 5}, "freq_axis_kernel_size is 5 .* says 3"),
        ("r9y9-dense", {"upsample_scales": [3, 2]}, r"upsample_scales is \[3, 2\] .* says \[2, 3\]"),
    ],
)
def test_hyper_parameters_that_cannot_be_are_refused(tmp_path, case, hparams, message):
    with pytest.raises(CheckpointError, match=message):
        import_model(changed(tmp_path, case, hparams))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"conv_layers.3.conv.bias": ABSENT}, "it is incomplete"),
        (
            {"conv_layers.3.conv1x1_skip.weight_v": torch.zeros(7, 4, 1)},
            "conv_layers.3.conv1x1_skip.weight_v has shape",
        ),
        ({"upsample_net.upsample.up_layers.7.weight_v": torch.ones(1, 1, 3, 5)}, r"convolutions at \[1, 3, 7\]"),
        (
            {"upsample_net.upsample.up_layers.3.weight_v": torch.ones(1, 1, 2, 7)},
            "2 bands and 7 taps: both must be odd",
        ),
        ({"first_conv.weight_v": torch.ones(6, 256)}, "not that of a convolution"),
        ({"extra.weight": torch.ones(3)}, "tensors that this layout does not have: extra.weight"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tmp_path, tensors, message):
    with pytest.raises(CheckpointError, match=message):
        import_model(changed(tmp_path, "r9y9-mulaw", (), tensors))


def test_an_imported_vocoder_is_saved_scored_and_goes_on_as_any_other(tmp_path):
    model, _ = import_model(DATA / "r9y9-mixture")
    model.save_pretrained(tmp_path / "model")
    loaded = WaveNet.from_pretrained(tmp_path / "model")
    assert loaded.config == model.config
    frames = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    result = generate(loaded, samples=100, condition=frames, backend="cpu")
    parts = [part.samples for part in stream(loaded, chunk=30, samples=100, condition=frames, backend="cpu")]
    assert torch.equal(torch.cat(parts, dim=1), result.samples)
    assert math.isfinite(score(loaded, result.samples[0], condition=frames))
    tokens = loaded.config.codec_object.encode(result.samples)
    loaded.loss(tokens, frames).backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in loaded.parameters())


def test_an_upsampling_of_one_scale_whose_rectifier_nothing_tells_is_refused_by_name(tmp_path):
    state = torch.load(DATA / "r9y9-0.0.1-one-scale" / CHECKPOINT, weights_only=True)["state_dict"]
    plain = {}
    for name in [name for name in state if name.endswith("weight_v")]:
        prefix = name.removesuffix("_v")
        v, g = state[name], state[f"{prefix}_g"]
        plain |= {name: ABSENT, f"{prefix}_g": ABSENT, prefix: v * g / v.flatten(1).norm(dim=1).reshape(g.shape)}
    hparams = {"legacy": True}
    slopes = {}
    for key, value in ((None, None), ("upsample_activation", "none"), ("input_type", "mulaw-quantize")):
        folder = changed(tmp_path / str(key), "r9y9-0.0.1-one-scale", hparams | ({key: value} if key else {}), plain)
        if key is None:
            with pytest.raises(CheckpointError, match=r"hyper-parameter 'upsample_activation' .* is missing"):
                import_model(folder)
        else:
            slopes[key] = import_model(folder)[0].config.upsample_stages[0].slope
    assert slopes == {"upsample_activation": 1.0, "input_type": 0.0}
