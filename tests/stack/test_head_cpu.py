"""The head and its loss in C++: as close to float64 as eager PyTorch, on every instruction set, at every odd size."""

import pytest
import torch

from fastwave import InputError, WaveNet, WaveNetConfig, reference
from fastwave.distributions import negative_log_likelihood
from fastwave.runtime import library
from fastwave.stack import head_cpu
from stack_checks import fill_with_nan
from tolerances import assert_as_close_as_eager

ISAS = library.cpu_features().instruction_sets
NAMES = ("skip_sum", "weight0", "bias0", "weight1", "bias1")
SIZES = {  # rows, skip, head, outputs
    "one row": (1, 5, 6, 7),
    "one class": (3, 2, 2, 1),
    "odd widths": (97, 33, 20, 35),
    "wider than a block": (40, 130, 96, 260),
    "a tile and one row": (97, 64, 32, 64),
    "several parts": (2500, 8, 9, 10),
}


@pytest.fixture(autouse=True)
def _nan(monkeypatch):
    fill_with_nan(monkeypatch)


def draw(rows, skip, head, outputs):
    """-> [skip sum, weight0, bias0, weight1, bias1], target, weight"""
    generator = torch.Generator().manual_seed(5)
    shapes = ((rows, skip), (skip, head), (head,), (head, outputs), (outputs,))
    scales = (1, (2 / skip) ** 0.5, 0.3, head**-0.5, 0.3)
    tensors = [torch.randn(*shape, generator=generator) * by for shape, by in zip(shapes, scales, strict=True)]
    target = torch.randint(outputs, (rows,), generator=generator)
    return tensors, target, torch.rand(rows, generator=generator) / rows


def by_autograd(tensors, target, weight):
    leaves = [each.clone().requires_grad_() for each in tensors]
    nats = negative_log_likelihood("categorical", reference.head(*leaves), target)
    loss = (nats * weight).sum()
    return loss.detach(), torch.autograd.grad(loss, leaves)


def by_kernels(tensors, target, weight, isa, products="float32", needed=(True,) * 5):
    return head_cpu.loss(tensors[0], tensors[1:], target, weight, products, needed, isa)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("isa", ISAS)
def test_loss_and_every_gradient_are_as_close_as_eager(isa, name):
    tensors, target, weight = draw(*SIZES[name])
    exact_loss, exact = by_autograd([each.double() for each in tensors], target, weight.double())
    eager_loss, eager = by_autograd(tensors, target, weight)
    loss, gradients = by_kernels(tensors, target, weight, isa)
    assert_as_close_as_eager(loss, eager_loss, exact_loss)
    for each, a, b, c in zip(NAMES, gradients, eager, exact, strict=True):
        assert_as_close_as_eager(a, b, c, f"gradient of {each}")


@pytest.mark.parametrize("isa", ISAS)
def test_bfloat16_products_are_as_close_as_under_autocast(isa):
    tensors, target, weight = draw(500, 64, 48, 40)
    exact_loss, exact = by_autograd([each.double() for each in tensors], target, weight.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        eager_loss, eager = by_autograd(tensors, target, weight)
    loss, gradients = by_kernels(tensors, target, weight, isa, "bfloat16")
    assert_as_close_as_eager(loss, eager_loss, exact_loss)
    for a, b, c in zip(gradients, eager, exact, strict=True):
        assert_as_close_as_eager(a, b, c)


@pytest.mark.parametrize("products", ["float32", "bfloat16"])
@pytest.mark.parametrize("isa", ISAS)
def test_any_number_of_threads_and_any_choice_of_gradients_give_the_same_bits(isa, products):
    tensors, target, weight = draw(5000, 20, 17, 30)
    loss, gradients = by_kernels(tensors, target, weight, isa, products)
    try:
        for threads in (2, 3):
            torch.set_num_threads(threads)
            for left_out in range(6):
                needed = [left_out != i for i in range(5)]
                again_loss, again = by_kernels(tensors, target, weight, isa, products, needed)
                assert torch.equal(loss, again_loss)
                assert all(b is None if i == left_out else torch.equal(gradients[i], b) for i, b in enumerate(again))
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("isa", ISAS)
def test_without_gradients_the_loss_is_the_same_and_inputs_need_not_be_contiguous(isa):
    tensors, target, weight = draw(70, 20, 17, 30)
    strided = [each.t().contiguous().t() if each.dim() == 2 else each.repeat_interleave(2)[::2] for each in tensors]
    every_other = [each.repeat_interleave(2)[::2] for each in (target, weight)]
    loss, _ = by_kernels(tensors, target, weight, isa)
    alone, none = by_kernels(strided, *every_other, isa, needed=(False,) * 5)
    assert torch.equal(loss, alone) and none == [None] * 5


@pytest.mark.parametrize("products", ["float32", "bfloat16"])
@pytest.mark.parametrize("isa", ISAS)
def test_a_nan_reaches_the_loss_and_the_gradients(isa, products):
    for where in range(5):
        tensors, target, weight = draw(20, 5, 6, 7)
        tensors[where].view(-1)[1] = float("nan")
        loss, gradients = by_kernels(tensors, target, weight, isa, products)
        assert loss.isnan() and gradients[1].isnan().any() and gradients[3].isnan().any(), NAMES[where]


@pytest.mark.parametrize("isa", ISAS)
def test_logits_far_apart_do_not_overflow(isa):
    tensors, target, weight = draw(50, 16, 16, 40)
    tensors[3] *= 1000
    exact_loss, exact = by_autograd([each.double() for each in tensors], target, weight.double())
    eager_loss, eager = by_autograd(tensors, target, weight)
    loss, gradients = by_kernels(tensors, target, weight, isa)
    assert_as_close_as_eager(loss, eager_loss, exact_loss)
    for a, b, c in zip(gradients, eager, exact, strict=True):
        assert_as_close_as_eager(a, b, c)


def test_no_rows_are_no_loss():
    tensors, target, weight = draw(1, 5, 6, 7)
    loss, gradients = by_kernels([tensors[0][:0], *tensors[1:]], target[:0], weight[:0], None)
    assert loss == 0 and not any(each.any() for each in gradients)


def test_a_target_that_is_no_class_is_refused():
    tensors, target, weight = draw(9, 5, 6, 7)
    target[4] = 7
    with pytest.raises(InputError, match="target 7 of row 4 is not one of 7 classes"):
        by_kernels(tensors, target, weight, None)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_model_on_the_cpu_backend_takes_it_and_learns_the_same(monkeypatch, autocast):
    config = WaveNetConfig(
        residual_channels=8, gate_channels=8, skip_channels=16, head_channels=16, dilations=(1, 2, 4), classes=256
    )
    tokens = torch.randint(256, (2, 90), generator=torch.Generator().manual_seed(2))
    calls = []
    original = head_cpu.loss
    monkeypatch.setattr(head_cpu, "loss", lambda *arguments: calls.append(arguments[4]) or original(*arguments))

    def gradients(backend, dtype):
        model = WaveNet(config, backend=backend)
        model.load_state_dict(weights)
        model = model.to(dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast and dtype == torch.float32):
            loss = model.loss(tokens) * 2
        return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]

    torch.manual_seed(0)
    weights = WaveNet(config).state_dict()
    exact, eager = gradients("reference", torch.float64), gradients("reference", torch.float32)
    assert not calls
    for a, b, c in zip(gradients("cpu", torch.float32), eager, exact, strict=True):
        assert_as_close_as_eager(a, b, c)
    assert calls == ["bfloat16" if autocast else "float32"]
