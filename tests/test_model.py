"""The module: parameters as SPEC names them, a loss that is one step ahead, honest starts and clear refusals."""

import math

import pytest
import torch

from fastwave import ConfigError, InputError, WaveNet, WaveNetConfig, reference
from fastwave.config import PRESETS
from fastwave.distributions import negative_log_likelihood
from shapes import CONFIGS, make_condition, make_model, make_tokens


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_the_ones_of_the_spec_and_all_are_registered(name):
    model = make_model(name)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert shapes == model.config.parameter_shapes()
    assert sum(p.numel() for p in model.parameters()) == model.config.parameter_count


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_receives_a_gradient(name):
    model = make_model(name)
    tokens = make_tokens(model.config, 2, 64)
    model.loss(tokens, **make_condition(model.config, 2, 64)).backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is not None and parameter.grad.abs().sum() > 0) or parameter.numel() == 0, key


def test_output_t_predicts_token_t_plus_1():
    model = make_model("categorical", torch.float64)
    tokens = make_tokens(model.config, 2, 50)
    out = model(tokens).log_softmax(-1)
    by_hand = -sum(out[b, t, tokens[b, t + 1]] for b in range(2) for t in range(49)) / (2 * 49)
    assert model.loss(tokens).item() == pytest.approx(by_hand.item(), abs=1e-12)


def test_mask_warmup_counts_only_targets_with_a_full_past():
    model = make_model("categorical", torch.float64)
    field = model.config.receptive_field
    tokens = make_tokens(model.config, 1, field + 9)
    terms = negative_log_likelihood("categorical", model(tokens)[:, :-1], tokens[:, 1:])
    assert model.loss(tokens, mask_warmup=True).item() == pytest.approx(terms[:, field - 1 :].mean().item(), abs=1e-12)
    with pytest.raises(InputError, match=f"more than {field} samples"):
        model.loss(tokens[:, :field], mask_warmup=True)


def test_the_first_table_of_sound_starts_smooth_and_that_of_text_does_not():
    torch.manual_seed(0)

    def likeness(distance, **fields):
        config = WaveNetConfig(residual_channels=256, front_kernel=2, dilations=(1,), **fields)
        tables = WaveNet(config).get_parameter("front.weight").detach()
        assert abs(2 * float(tables.square().mean()) - 1) < 0.1  # both taps together have unit variance
        return [float(torch.cosine_similarity(tap[:-distance], tap[distance:]).mean()) for tap in tables]

    assert min(likeness(1)) > 0.99 and max(map(abs, likeness(100))) < 0.2
    assert max(map(abs, likeness(1, codec="bytes", sample_rate=0))) < 0.05


@pytest.mark.parametrize("name", ["ref", "small", "music8x10"])
def test_a_fresh_model_knows_nothing_and_says_so(name):
    """The first loss is the entropy of a blind guess, whatever the depth."""
    torch.manual_seed(0)
    model = WaveNet(WaveNetConfig.preset(name))
    loss = model.loss(torch.randint(256, (1, 600))).item()
    assert loss == pytest.approx(math.log(256), rel=0.02)


@pytest.mark.parametrize("depth", [1, 10, 60])
def test_activations_neither_vanish_nor_grow_with_depth(depth):
    torch.manual_seed(0)
    config = WaveNetConfig(residual_channels=32, skip_channels=32, dilations=(1, 2, 4, 8, 16) * (depth // 5) or (1,))
    model = WaveNet(config)
    tokens = torch.randint(256, (2, 300))
    x = model.get_parameter("front.weight")[0][tokens]
    weights = reference.stack_weights(dict(model.named_parameters()))
    skip, _ = reference.residual_stack(x, weights, config.dilations)
    deviations = {"x": x.std().item(), "skip": skip[:, 100:].std().item()}
    assert 0.7 < deviations["x"] < 1.4 and 0.5 < deviations["skip"] < 2.0, deviations


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_dtype_runs_forward_and_backward(name, dtype):
    model = make_model(name, dtype)
    tokens = make_tokens(model.config, 2, 40)
    conditioning = make_condition(model.config, 2, 40)
    out = model(tokens, **conditioning)
    assert out.dtype == dtype and out.shape == (2, 40, model.config.output_channels)
    loss = model.loss(tokens, **conditioning)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.numel())


def test_presets_can_all_be_built():
    for name in PRESETS:
        model = WaveNet(WaveNetConfig.preset(name))
        assert sum(p.numel() for p in model.parameters()) == model.config.parameter_count


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([[1, 2]], "must be a tensor"),
        (torch.zeros(5, dtype=torch.int64), r"\[batch, time\]"),
        (torch.zeros(1, 5), "integer classes"),
        (torch.ones(1, 5, dtype=torch.bool), "integer classes"),
        (torch.full((1, 5), 11), r"0\.\.10, got 11"),
        (torch.full((1, 5), -1), r"0\.\.10, got -1"),
    ],
)
def test_wrong_tokens_are_refused(tokens, message):
    with pytest.raises(InputError, match=message):
        make_model("categorical")(tokens)


def test_a_waveform_model_refuses_classes():
    with pytest.raises(InputError, match="float waveform"):
        make_model("gaussian")(torch.zeros(1, 5, dtype=torch.int64))


def test_narrow_integer_types_are_accepted():
    model = make_model("categorical")
    tokens = make_tokens(model.config, 1, 20)
    assert torch.equal(model(tokens.to(torch.uint8)), model(tokens))


def test_unknown_training_backends_are_refused():
    with pytest.raises(InputError, match="'tpu'"):
        WaveNet(WaveNetConfig(), backend="tpu")
    with pytest.raises(ConfigError):
        WaveNet(WaveNetConfig(classes=1))
