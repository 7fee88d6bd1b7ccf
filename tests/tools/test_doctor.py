"""The doctor passes sound models and names what is wrong with the published kinds of unsound ones."""

import pytest
import torch

from fastwave import WaveNet, reference
from fastwave.distributions import negative_log_likelihood
from fastwave.tools.doctor import examine
from shapes import CONFIGS, make_model


def verdicts(model):
    return {finding.question: finding for finding in examine(model)}


@pytest.mark.parametrize("name", CONFIGS)
def test_sound_models_pass(name):
    for finding in examine(make_model(name)):
        assert finding.healthy, finding


def test_the_receptive_field_found_is_the_one_configured():
    finding = verdicts(make_model("categorical-front3"))["causal"]
    assert "up to 25 later, receptive field 25" in finding.detail


def test_a_model_that_sees_the_future_is_caught(monkeypatch):
    causal = reference.dilated_convolution

    def symmetric(extended, weight, dilation):  # the bug of a published system: padding on both sides
        return causal(extended.roll(-dilation, dims=1), weight, dilation)

    monkeypatch.setattr(reference, "dilated_convolution", symmetric)
    finding = verdicts(make_model("categorical"))["causal"]
    assert not finding.healthy and "future" in finding.detail


def test_a_loss_without_the_shift_is_caught(monkeypatch):
    def unshifted(self, tokens, condition=None, speaker=None, mask_warmup=False):
        return negative_log_likelihood(self.config.output, self(tokens, condition, speaker), tokens).mean()

    monkeypatch.setattr(WaveNet, "loss", unshifted)
    assert not verdicts(make_model("categorical"))["targets are the next sample"].healthy


def test_an_engine_that_forgets_is_caught(monkeypatch):
    from fastwave.engine.reference import ReferenceEngine

    original = ReferenceEngine._step

    def forgetful(self, stream, *inputs):
        out = original(self, stream, *inputs)
        stream.memory[-1] = stream.memory[-1].roll(1, dims=1)
        return out

    monkeypatch.setattr(ReferenceEngine, "_step", forgetful)
    assert not verdicts(make_model("categorical"))["parallel equals incremental"].healthy


def test_nan_and_dead_weights_are_named():
    model = make_model("categorical")
    with torch.no_grad():
        model.get_parameter("skip.weight")[0, 0, 0] = float("nan")
    (finding,) = examine(model)
    assert not finding.healthy and "skip.weight" in finding.detail
    dead = make_model("categorical")
    with torch.no_grad():
        dead.get_parameter("head.1.weight").zero_()
    assert "dead weights" in verdicts(dead)["causal"].detail
