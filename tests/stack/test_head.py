"""Head and loss: in pieces the same numbers as all at once, and computed by what the table in dispatch.py says."""

import re

import pytest
import torch

from fastwave import BackendUnavailable, InputError, WaveNet, WaveNetConfig
from fastwave.cli.main import main
from fastwave.distributions import negative_log_likelihood
from fastwave.runtime import dispatch, library
from fastwave.stack import head, head_cpu
from shapes import make_condition, make_model, make_tokens
from tolerances import assert_exact


@pytest.mark.parametrize("name", ["categorical", "mixture", "gaussian"])
def test_loss_and_gradients_in_pieces_are_those_of_the_whole(name, monkeypatch):
    monkeypatch.setattr("fastwave.stack.head.ROWS", {"cpu": 7})
    model = make_model(name, torch.float64)
    tokens = make_tokens(model.config, 2, 41)
    tokens = tokens.double() if model.config.scalar_input else tokens
    out = model(tokens)
    nats = negative_log_likelihood(model.config.output, out[:, :-1], tokens[:, 1:])
    weight = torch.rand(2, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for expected, loss in (
        (nats.mean(), model.loss(tokens)),
        ((nats[:, -30:] * weight).sum() * 3, model.loss(tokens, weight=weight) * 3),
    ):
        of_the_whole = torch.autograd.grad(expected, list(model.parameters()), retain_graph=True)
        in_pieces = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
        again = torch.autograd.grad(loss, list(model.parameters()))
        assert_exact(loss.detach(), expected.detach())
        for a, b, c in zip(in_pieces, of_the_whole, again, strict=True):
            assert_exact(a, b)
            assert torch.equal(a, c)


def test_a_weight_of_the_wrong_length_is_refused():
    model = make_model("categorical")
    with pytest.raises(InputError, match="more than"):
        model.loss(make_tokens(model.config, 1, 9), weight=torch.ones(1, 9))


# What computes the head


@pytest.fixture
def heads(monkeypatch):
    """The names of what computed a head, in order."""
    calls = []

    def spy(module, function, name):
        original = getattr(module, function)
        monkeypatch.setattr(module, function, lambda *arguments: calls.append(name) or original(*arguments))

    spy(head, "_in_pieces", "PyTorch")
    spy(head_cpu, "loss", "C++")
    return calls


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64, "float16": torch.float16}
ROWS = [
    (backend, output, dtype, computed_by)
    for backend, outputs in dispatch.HEADS.items()
    for output, dtypes in outputs.items()
    for dtype, computed_by in dtypes.items()
]


@pytest.mark.parametrize(("backend", "output", "dtype", "computed_by"), ROWS)
def test_every_head_is_computed_by_what_the_table_says(backend, output, dtype, computed_by, heads):
    skip_sum = torch.randn(1, 5, 6).to(DTYPES[dtype])
    outputs = {"categorical": 7, "mixture-of-logistics": 6, "gaussian": 2}[output]
    weights = [torch.randn(shape).to(DTYPES[dtype]) for shape in ((6, 4), (4,), (4, outputs), (outputs,))]
    target = torch.randint(7, (1, 5)) if output == "categorical" else torch.rand(1, 5)
    loss = head.head_loss(output, skip_sum, tuple(weights), target, torch.full((1, 5), 0.2), backend)
    assert loss.isfinite() and heads == [computed_by]


def test_the_table_has_every_output_of_every_backend():
    assert set(dispatch.HEADS) == set(dispatch.CANDIDATES["training"])
    for outputs in dispatch.HEADS.values():
        assert set(outputs) == set(library.OUTPUTS)


def test_a_head_that_the_table_lacks_is_refused_and_never_computed_by_something_else(heads, monkeypatch):
    monkeypatch.delitem(dispatch.HEADS["cpu"], "gaussian")
    model = WaveNet(make_model("gaussian").config, backend="cpu")
    message = r"cpu: it computes no head of a gaussian output in float32. Use backend='reference'"
    with pytest.raises(BackendUnavailable, match=message):
        model.loss(make_tokens(model.config, 1, 20))
    with pytest.raises(BackendUnavailable, match="cpu: it computes no head of a categorical output in float64"):
        dispatch.head_computed_by("cpu", "categorical", "float64")
    assert not heads


def test_the_cpu_trains_a_mixture_and_says_that_cpp_computes_its_head(heads):
    model = WaveNet(make_model("mixture-learned").config, backend="cpu")
    model.loss(make_tokens(model.config, 2, 60), **make_condition(model.config, 2, 60)).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert set(heads) == {dispatch.head_computed_by("cpu", model.config.output)} == {"C++"}


@pytest.mark.parametrize("preset", ["small", "vocoder"])
@pytest.mark.parametrize(("backend", "computed_by"), [("cpu", r"C\+\+"), ("reference", "PyTorch")])
def test_info_says_what_computes_the_head(preset, backend, computed_by, capsys, monkeypatch):
    monkeypatch.setenv("FASTWAVE_BACKEND", backend)
    assert main(["info", "--untrained", preset]) == 0
    assert re.search(f"training head +the head of a .* output is computed by {computed_by}\n", capsys.readouterr().out)


def test_the_dtype_of_the_loss_weight_changes_neither_the_loss_nor_what_computes_the_head(heads):
    model = WaveNet(make_model("categorical").config, backend="cpu")
    tokens, weight = make_tokens(model.config, 1, 20), torch.full((1, 9), 1 / 16)
    losses = [model.loss(tokens, weight=weight.to(dtype)) for dtype in (torch.float32, torch.float64, torch.bfloat16)]
    assert losses[0] == losses[1] == losses[2] and heads == ["C++"] * 3


def test_the_head_in_cpp_refuses_weights_of_another_dtype_than_its_own():
    weights = [torch.zeros(shape, dtype=torch.bfloat16) for shape in ((6, 4), (4,), (4, 7), (7,))]
    target, weight = torch.zeros(1, 5, dtype=torch.int64), torch.ones(1, 5)
    with pytest.raises(InputError, match=r"takes a skip sum and weights of float32, got torch.bfloat16"):
        head.head_loss("categorical", torch.zeros(1, 5, 6), tuple(weights), target, weight, "cpu")


def test_a_float16_model_trains_on_the_reference():
    config = WaveNetConfig(residual_channels=4, skip_channels=8, head_channels=8, dilations=(1, 2), classes=11)
    model = WaveNet(config, backend="reference").half()
    assert model.loss(make_tokens(config, 1, 30)).isfinite()
