"""The head and its loss in C++: as close to float64 as eager PyTorch, on every instruction set, at every odd size."""

import pytest
import torch

from fastwave import InputError, WaveNet, WaveNetConfig, reference
from fastwave.distributions import negative_log_likelihood
from fastwave.runtime import library
from fastwave.stack import head_cpu
from shapes import CONFIGS, make_tokens
from stack_checks import fill_with_nan
from tolerances import assert_as_close_as_eager

ISAS = library.cpu_features().instruction_sets
NAMES = ("skip_sum", "weight0", "bias0", "weight1", "bias1")
SIZES = {  # output, rows, skip, head, outputs
    "one row": ("categorical", 1, 5, 6, 7),
    "one class": ("categorical", 3, 2, 2, 1),
    "odd widths": ("categorical", 97, 33, 20, 35),
    "wider than a block": ("categorical", 40, 130, 96, 260),
    "a tile and one row": ("categorical", 97, 64, 32, 64),
    "several parts": ("categorical", 2500, 8, 9, 10),
    "mixture, one row and component": ("mixture-of-logistics", 1, 5, 6, 3),
    "mixture, a tile and one row": ("mixture-of-logistics", 97, 33, 20, 30),
    "mixture, wider than a vector": ("mixture-of-logistics", 400, 130, 96, 3 * 35),
    "mixture, several parts": ("mixture-of-logistics", 2500, 8, 9, 12),
    "Gaussian, one row": ("gaussian", 1, 5, 6, 2),
    "Gaussian, odd widths": ("gaussian", 97, 33, 20, 2),
    "Gaussian, several parts": ("gaussian", 2500, 8, 9, 2),
}
WIDTHS = {"categorical": 30, "mixture-of-logistics": 30, "gaussian": 2}  # outputs
PRODUCTS = {  # the same for products in bfloat16
    "categorical": ("categorical", 500, 64, 48, 40),
    "mixture": ("mixture-of-logistics", 500, 64, 48, 30),
    "Gaussian": ("gaussian", 500, 64, 48, 2),
}


@pytest.fixture(autouse=True)
def _nan(monkeypatch):
    fill_with_nan(monkeypatch)


def draw(output, rows, skip, head, outputs, seed=5):
    """-> [skip sum, weight0, bias0, weight1, bias1], target, weight

    Log scales lie around -1. With narrower ones the rounding of a single output, times a hundred, decides how far off
    a gradient is, and eager may be lucky there; narrow ones are tested on outputs without rounding, in EDGES.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = ((rows, skip), (skip, head), (head,), (head, outputs), (outputs,))
    scales = (1, (2 / skip) ** 0.5, 0.3, head**-0.5, 0.3)
    tensors = [torch.randn(*shape, generator=generator) * by for shape, by in zip(shapes, scales, strict=True)]
    if output == "categorical":
        target = torch.randint(outputs, (rows,), generator=generator)
    else:
        target = (torch.randn(rows, generator=generator) * 0.5).clamp(-1, 1)
        tensors[4][-(outputs // 3 or 1) :] -= 1
    return tensors, target, torch.rand(rows, generator=generator) / rows


def by_autograd(output, tensors, target, weight):
    leaves = [each.clone().requires_grad_() for each in tensors]
    nats = negative_log_likelihood(output, reference.head(*leaves), target)
    loss = (nats * weight).sum()
    return loss.detach(), torch.autograd.grad(loss, leaves)


def by_kernels(output, tensors, target, weight, isa, products="float32", needed=(True,) * 5):
    return head_cpu.loss(output, tensors[0], tensors[1:], target, weight, products, needed, isa)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("isa", ISAS)
def test_loss_and_every_gradient_are_as_close_as_eager(isa, name):
    judge(SIZES[name][0], [draw(*SIZES[name], seed) for seed in range(5, 9)], isa)


def judge(output, draws, isa):
    """Fail unless loss and gradients are as close to float64 as eager PyTorch: the largest errors of all draws, as of
    one draw eager may be far more exact by chance.
    """
    losses, gradients = [], []
    for tensors, target, weight in draws:
        exact = by_autograd(output, [each.double() for each in tensors], target, weight.double())
        eager = by_autograd(output, tensors, target, weight)
        ours = by_kernels(output, tensors, target, weight, isa)
        losses.append((ours[0], eager[0], exact[0]))
        gradients.append((ours[1], eager[1], exact[1]))
    assert_as_close_as_eager(*map(torch.stack, zip(*losses, strict=True)), "loss")
    for index, name in enumerate(NAMES):
        together = (torch.stack([each[index] for each in of]) for of in zip(*gradients, strict=True))
        assert_as_close_as_eager(*together, f"gradient of {name}")


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("isa", ISAS)
def test_bfloat16_products_are_as_close_as_under_autocast(isa, name):
    output = PRODUCTS[name][0]
    tensors, target, weight = draw(*PRODUCTS[name])
    exact_loss, exact = by_autograd(output, [each.double() for each in tensors], target, weight.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        eager_loss, eager = by_autograd(output, tensors, target, weight)
    loss, gradients = by_kernels(output, tensors, target, weight, isa, "bfloat16")
    assert_as_close_as_eager(loss, eager_loss, exact_loss)
    for a, b, c in zip(gradients, eager, exact, strict=True):
        assert_as_close_as_eager(a, b, c)


@pytest.mark.parametrize("output", library.OUTPUTS)
@pytest.mark.parametrize("products", ["float32", "bfloat16"])
@pytest.mark.parametrize("isa", ISAS)
def test_any_number_of_threads_and_any_choice_of_gradients_give_the_same_bits(isa, products, output):
    drawn = draw(output, 5000, 20, 17, WIDTHS[output])
    loss, gradients = by_kernels(output, *drawn, isa, products)
    try:
        for threads in (2, 3):
            torch.set_num_threads(threads)
            for left_out in range(6):
                needed = [left_out != i for i in range(5)]
                again_loss, again = by_kernels(output, *drawn, isa, products, needed)
                assert torch.equal(loss, again_loss)
                assert all(b is None if i == left_out else torch.equal(gradients[i], b) for i, b in enumerate(again))
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("output", library.OUTPUTS)
@pytest.mark.parametrize("isa", ISAS)
def test_without_gradients_the_loss_is_the_same_and_inputs_need_not_be_contiguous(isa, output):
    tensors, target, weight = draw(output, 70, 20, 17, WIDTHS[output])
    strided = [each.t().contiguous().t() if each.dim() == 2 else each.repeat_interleave(2)[::2] for each in tensors]
    every_other = [each.repeat_interleave(2)[::2] for each in (target, weight)]
    loss, _ = by_kernels(output, tensors, target, weight, isa)
    alone, none = by_kernels(output, strided, *every_other, isa, needed=(False,) * 5)
    assert torch.equal(loss, alone) and none == [None] * 5


@pytest.mark.parametrize("output", library.OUTPUTS)
@pytest.mark.parametrize("products", ["float32", "bfloat16"])
@pytest.mark.parametrize("isa", ISAS)
def test_a_nan_reaches_the_loss_and_the_gradients(isa, products, output):
    for where in range(5):
        tensors, target, weight = draw(output, 20, 5, 6, WIDTHS[output])
        tensors[where].view(-1)[1] = float("nan")
        loss, gradients = by_kernels(output, tensors, target, weight, isa, products)
        assert loss.isnan() and gradients[1].isnan().any() and gradients[3].isnan().any(), NAMES[where]


@pytest.mark.parametrize("isa", ISAS)
def test_logits_far_apart_do_not_overflow(isa):
    tensors, target, weight = draw("categorical", 50, 16, 16, 40)
    tensors[3] *= 1000
    judge("categorical", [(tensors, target, weight)], isa)


# Outputs that a row of ones makes: [logits | means | log scales]; the waveform lies within -1 and 1
EDGES = {
    "tails": ("mixture-of-logistics", (0.5, -0.3, 0.1, 0.9, 0.0, -0.9, -4.0, -5.0, -2.0)),
    "far from every component": ("mixture-of-logistics", (0.5, 80.0, -60.0, 3.0, -2.5, 9.0, -7.0, -6.0, -1.0)),
    "scales beyond their limits": ("mixture-of-logistics", (0.5, 0.0, 0.2, 0.1, -0.7, 0.5, 13.0, -13.0, -30.0)),
    "scales at their limits": ("mixture-of-logistics", (0.5, 0.0, 0.2, 0.1, -0.7, 0.5, 12.0, -12.0, -11.9)),
    "bins narrower than a float": ("mixture-of-logistics", (0.5, 0.0, -8.0, 0.1, 0.0, 0.9, 11.5, 9.0, -11.0)),
    "Gaussian, a scale below its limit": ("gaussian", (0.3, -13.0)),
    "Gaussian, a scale above its limit": ("gaussian", (-0.3, 14.0)),
    "Gaussian, a scale at its limit": ("gaussian", (0.3, -12.0)),
}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("isa", ISAS)
def test_outputs_and_targets_at_the_edges_are_as_close_as_eager(isa, name):
    output, bias = EDGES[name]
    targets = (-1.5, -1.0, -1 + 0.9 / 65536, -0.99999, -0.7, 0.0, 0.1, 0.5 + 0.5 / 32768, 0.99996, 1.0, 1.5)
    target = torch.tensor(targets)
    tensors = [torch.ones(len(target), 4), torch.eye(4), torch.zeros(4), torch.zeros(4, len(bias)), torch.tensor(bias)]
    judge(output, [(tensors, target, torch.linspace(0.1, 1, len(target)))], isa)


def test_no_rows_are_no_loss():
    tensors, target, weight = draw("categorical", 1, 5, 6, 7)
    loss, gradients = by_kernels("categorical", [tensors[0][:0], *tensors[1:]], target[:0], weight[:0], None)
    assert loss == 0 and not any(each.any() for each in gradients)


def test_a_target_that_is_no_class_is_refused():
    tensors, target, weight = draw("categorical", 9, 5, 6, 7)
    target[4] = 7
    with pytest.raises(InputError, match="target 7 of row 4 is not one of 7 classes"):
        by_kernels("categorical", tensors, target, weight, None)


@pytest.mark.parametrize(
    ("output", "outputs", "message"),
    [("mixture-of-logistics", 7, "a multiple of 3 for a mixture"), ("gaussian", 3, "2 for a Gaussian")],
)
def test_a_width_that_the_output_cannot_have_is_refused(output, outputs, message):
    with pytest.raises(InputError, match=rf"outputs is {outputs}, it must be {message}"):
        by_kernels(output, *draw(output, 9, 5, 6, outputs), None)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", ["categorical", "mixture", "gaussian"])
def test_a_model_on_the_cpu_backend_takes_it_and_learns_the_same(monkeypatch, name, autocast):
    channels = dict.fromkeys(("residual_channels", "gate_channels"), 8)
    channels |= dict.fromkeys(("skip_channels", "head_channels"), 16)
    config = WaveNetConfig(**{**CONFIGS[name], **channels, "dilations": (1, 2, 4)})
    tokens = make_tokens(config, 2, 90)
    calls = []
    original = head_cpu.loss
    monkeypatch.setattr(head_cpu, "loss", lambda *arguments: calls.append(arguments[5]) or original(*arguments))

    def gradients(backend, dtype):
        model = WaveNet(config, backend=backend)
        model.load_state_dict(weights)
        model = model.to(dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast and dtype == torch.float32):
            loss = model.loss(tokens.to(dtype) if tokens.is_floating_point() else tokens) * 2
        return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]

    torch.manual_seed(0)
    weights = WaveNet(config).state_dict()
    exact, eager = gradients("reference", torch.float64), gradients("reference", torch.float32)
    assert not calls
    for a, b, c in zip(gradients("cpu", torch.float32), eager, exact, strict=True):
        assert_as_close_as_eager(a, b, c)
    assert calls == ["bfloat16" if autocast else "float32"]
