"""The operator on every backend that runs here: gradients, what torch demands of an operator, and how it is used."""

import pytest
import torch
import torch.distributed as distributed
from torch.utils.checkpoint import checkpoint

from fastwave import BackendUnavailable, InputError, WaveNet
from fastwave.stack import eager, operator
from shapes import CONFIGS, make_condition, make_model, make_tokens
from stack_checks import MODES, Case, by_autograd, check_saved, inputs, split
from tolerances import assert_as_close_as_eager, assert_exact

BACKENDS = ("reference", "cpu")
CASE = Case(2, 19, 5, 7, 6, 3, 3, (2, 1, 9))
PLAIN = Case(2, 19, 5, 7, 6, 0, 2, (2, 1, 9))
ONE = Case(1, 4, 3, 2, 4, 0, 2, (7,))


def call(tensors, dilations, backend, recompute=False, first=0):
    x, weights, condition = split(tensors)
    return operator.residual_stack(x, weights, dilations, condition, backend=backend, recompute=recompute, first=first)


def leaves(tensors, needed=(True,) * 9):
    return [
        None if each is None else each.detach().clone().requires_grad_(is_needed)
        for each, is_needed in zip(tensors, needed, strict=True)
    ]


@pytest.mark.parametrize("first", [0, 4])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("case", [CASE, PLAIN, ONE], ids=["condition", "plain", "one layer"])
def test_gradcheck_in_float64(case, recompute, first):
    small = Case(1, 6, 2, 3, 2, case.C and 2, case.K, case.dilations)
    tensors, _ = inputs(small, torch.float64)
    present = [index for index, each in enumerate(tensors) if each is not None and each.numel()]

    def function(*arguments):
        whole = list(tensors)
        for index, each in zip(present, arguments, strict=True):
            whole[index] = each
        return call(whole, small.dilations, "reference", recompute, first)

    assert torch.autograd.gradcheck(function, [tensors[index].requires_grad_() for index in present], fast_mode=False)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("case", [CASE, PLAIN], ids=["condition", "plain"])
def test_the_written_out_backward_is_that_of_autograd(case, recompute):
    tensors, grad = inputs(case, torch.float64)
    skip_sum, gradients = by_autograd(tensors, grad, case.dilations)
    inputs_of_operator = leaves(tensors)
    out = call(inputs_of_operator, case.dilations, "reference", recompute)
    out.backward(grad)
    assert_exact(out.detach(), skip_sum)
    for leaf, expected in zip(inputs_of_operator, gradients, strict=True):
        if expected is not None:
            assert_exact(leaf.grad, expected)


@pytest.mark.parametrize("first", [0, 7])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("case", [CASE, PLAIN], ids=["condition", "plain"])
def test_opcheck(case, recompute, backend, first):
    dtype = torch.float64 if backend == "reference" else torch.float32
    tensors, _ = inputs(case, dtype)
    products = str(dtype).removeprefix("torch.")
    arguments = (*leaves(tensors), list(case.dilations), backend, products, recompute, first)
    torch.library.opcheck(torch.ops.fastwave.residual_stack, arguments)
    _, *saved = torch.ops.fastwave.residual_stack(*arguments)
    layer_inputs, activations = (each.detach() for each in saved)
    grad = torch.randn(2, 19 - first, 6, dtype=dtype)
    needed = [True, False] * 4 + [True]
    torch.library.opcheck(
        torch.ops.fastwave.residual_stack_backward,
        (grad, layer_inputs, activations, *tensors[1:], list(case.dilations), backend, products, needed, first),
    )


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_each_backend_saves_what_it_says(backend, mode, recompute):
    check_saved(operator.kernels(backend), CASE, mode, recompute)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_under_autocast_the_fake_operator_returns_what_the_real_one_does(backend, recompute):
    tensors, _ = inputs(CASE, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        products = operator.products_of(tensors[0])
        options = (list(CASE.dilations), backend, products, recompute, 0)
        real = torch.ops.fastwave.residual_stack(*tensors, *options)
        fake = torch.ops.fastwave.residual_stack(*(each.to("meta") for each in tensors), *options)
    assert [(each.shape, each.dtype) for each in fake] == [(each.shape, each.dtype) for each in real]


def test_plain_pytorch_saves_layer_inputs_alone():
    tensors, _ = inputs(CASE, torch.float64)
    x, weights, condition = split(tensors)
    _, layer_inputs, activations = eager.forward(x, weights, condition, CASE.dilations, "float64", False)
    assert layer_inputs.shape == (3, *x.shape) and torch.equal(layer_inputs[0], x) and not activations.numel()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gradient_that_is_not_needed_is_not_returned(backend):
    tensors, grad = inputs(CASE, torch.float32)
    x, weights, condition = split(tensors)
    kernels = operator.kernels(backend)
    _, *saved = kernels.forward(x, weights, condition, CASE.dilations, "float32", False)
    for needed in (set(), {"x"}, {"condition", "skip_bias"}, set(operator.TENSORS)):
        gradients = kernels.backward(grad, *saved, weights, condition, CASE.dilations, "float32", needed)
        assert set(gradients) == needed


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_the_gradients_that_are_needed_are_returned(backend):
    tensors, grad = inputs(CASE, torch.float32)
    everything = leaves(tensors)
    call(everything, CASE.dilations, backend).backward(grad)
    for only in range(9):
        alone = leaves(tensors, [index == only for index in range(9)])
        call(alone, CASE.dilations, backend).backward(grad)
        assert [each.grad is not None for each in alone] == [index == only for index in range(9)]
        torch.testing.assert_close(alone[only].grad, everything[only].grad, rtol=0, atol=0)
    with torch.no_grad():
        assert not call(everything, CASE.dilations, backend).requires_grad


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_weights_may_be_used_twice(backend):
    tensors, grad = inputs(PLAIN, torch.float32)
    other = torch.randn_like(tensors[0])
    twice, once = leaves(tensors), []
    for x in (tensors[0], other):
        copies = leaves([x, *tensors[1:]])
        call(copies, PLAIN.dilations, backend).backward(grad)
        once.append(copies)
    both = call(twice, PLAIN.dilations, backend) + call([other, *twice[1:]], PLAIN.dilations, backend)
    both.backward(grad)
    for index in range(1, 7):
        torch.testing.assert_close(twice[index].grad, once[0][index].grad + once[1][index].grad)


@pytest.mark.parametrize("backend", BACKENDS)
def test_activation_checkpointing_gives_the_same_gradients(backend):
    tensors, grad = inputs(CASE, torch.float32)
    plain, checked = leaves(tensors), leaves(tensors)
    call(plain, CASE.dilations, backend).backward(grad)
    out = checkpoint(lambda *arguments: call(arguments, CASE.dilations, backend), *checked, use_reentrant=False)
    out.backward(grad)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(plain, checked, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_compiles_in_one_graph(backend):
    tensors, grad = inputs(CASE, torch.float32)
    plain, compiled = leaves(tensors), leaves(tensors)

    def function(*arguments):
        return torch.relu(call(arguments, CASE.dilations, backend))

    expected = function(*plain)
    expected.backward(grad)
    actual = torch.compile(function, fullgraph=True, backend="aot_eager")(*compiled)
    actual.backward(grad)
    torch.testing.assert_close(actual, expected)
    for a, b in zip(plain, compiled, strict=True):
        torch.testing.assert_close(b.grad, a.grad)


def test_autocast_chooses_bfloat16_products_and_leaves_x_in_float32():
    tensors, grad = inputs(CASE, torch.float32)
    copies = leaves(tensors)
    with torch.autocast("cpu", torch.bfloat16):
        assert operator.products_of(tensors[0]) == "bfloat16"
        low = call(copies, CASE.dilations, "cpu")
    low.backward(grad)
    assert low.dtype == torch.float32 and copies[0].grad.dtype == torch.float32
    exact, gradients = by_autograd([each.double() for each in tensors], grad.double(), CASE.dilations)
    eager, eager_gradients = by_autograd(tensors, grad, CASE.dilations, autocast=True)
    assert not torch.equal(low, call(copies, CASE.dilations, "cpu"))
    assert (low.detach() - exact).abs().max() <= 2 * (eager - exact).abs().max()
    for leaf, near, measure in zip(copies, eager_gradients, gradients, strict=True):
        limit = 2 * (near.double() - measure).abs().max() + 2**-7 * measure.abs().max()
        assert (leaf.grad.double() - measure).abs().max() <= limit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: (3, 1, 5, 14)}, r"dilated_weight must be \[L, K, R, 2G\] with K >= 2"),
        ({0: (2, 19, 4)}, r"x must be \[2, 19, 5\], got \[2, 19, 4\]"),
        ({2: (3, 13)}, r"dilated_bias must be \[3, 14\]"),
        ({3: (3, 7, 5)}, r"residual_weight must be \[2, 7, 5\]"),
        ({5: (2, 7, 6)}, r"skip_weight must be \[3, 7, 6\]"),
        ({7: (2, 18, 3)}, r"condition must be \[2, 19, 3\]"),
        ({7: (2, 19)}, r"condition must be \[B, T, C\]"),
        ({8: (3, 3, 13)}, r"condition_weight must be \[3, 3, 14\]"),
    ],
)
def test_wrong_shapes_are_refused_with_what_was_asked_and_got(change, message):
    tensors, _ = inputs(CASE, torch.float32)
    for index, shape in change.items():
        tensors[index] = torch.zeros(shape)
    with pytest.raises(InputError, match=message):
        call(tensors, CASE.dilations, "cpu")


def test_other_wrong_arguments_are_refused():
    tensors, _ = inputs(CASE, torch.float32)
    for dilations in ((1, 2), (1, 2, 0)):
        with pytest.raises(InputError, match="dilations must be 3 positive integers"):
            call(tensors, dilations, "cpu")
    with pytest.raises(InputError, match="a condition needs condition_weight"):
        call([*tensors[:8], None], CASE.dilations, "cpu")
    with pytest.raises(InputError, match="must be of a float dtype"):
        call([tensors[0].long(), *tensors[1:]], CASE.dilations, "cpu")
    for first in (-1, 19):
        with pytest.raises(InputError, match=rf"first must lie in 0..18, a step of x, got {first}"):
            call(tensors, CASE.dilations, "cpu", first=first)
    with pytest.raises(InputError, match="'tpu'"):
        call(tensors, CASE.dilations, "tpu")
    with pytest.raises(InputError, match="skip_bias is on meta, x on cpu"):
        call([*tensors[:6], tensors[6].to("meta"), *tensors[7:]], CASE.dilations, "cpu")


# The model on it


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_on_the_kernels_is_the_reference_model(name, recompute):
    """Outputs, loss and every gradient of a training step, by the rule of float64."""
    model = make_model(name)
    fused = WaveNet(model.config, backend="cpu", recompute=recompute)
    exact = WaveNet(model.config, backend="reference").double()
    fused.load_state_dict(model.state_dict())
    exact.load_state_dict(model.state_dict())
    tokens, conditioning = make_tokens(model.config, 2, 90), make_condition(model.config, 2, 90)
    doubles = {key: v.double() if v.is_floating_point() else v for key, v in conditioning.items()}
    precise = tokens.double() if model.config.scalar_input else tokens
    assert_as_close_as_eager(
        fused(tokens, **conditioning).detach(),
        model(tokens, **conditioning).detach(),
        exact(precise, **doubles).detach(),
    )
    losses = [each.loss(tokens, **conditioning) for each in (fused, model)] + [exact.loss(precise, **doubles)]
    for loss in losses:
        loss.backward()
    assert_as_close_as_eager(*(loss.detach() for loss in losses))
    for key, parameter in fused.named_parameters():
        if parameter.numel():
            eager, measure = model.get_parameter(key).grad, exact.get_parameter(key).grad
            assert_as_close_as_eager(parameter.grad, eager, measure)


@pytest.mark.parametrize("backend", ["auto", "cpu"])
def test_the_loss_of_the_last_samples_is_that_of_the_reference(backend):
    """A window of training: steps that have no target, then those that have."""
    model = make_model("categorical-linear-ids")
    fused = WaveNet(model.config, backend=backend)
    fused.load_state_dict(model.state_dict())
    exact = WaveNet(model.config, backend="reference").double()
    exact.load_state_dict(model.state_dict())
    tokens, conditioning = make_tokens(model.config, 2, 90), make_condition(model.config, 2, 90)
    doubles = {key: v.double() if v.is_floating_point() else v for key, v in conditioning.items()}
    weight = torch.linspace(0, 1, 2 * 23).view(2, 23)
    losses = [each.loss(tokens, **conditioning, weight=weight) for each in (fused, model)]
    losses.append(exact.loss(tokens, **doubles, weight=weight.double()))
    for loss in losses:
        loss.backward()
    assert_as_close_as_eager(*(loss.detach() for loss in losses))
    for key, parameter in fused.named_parameters():
        eager, measure = model.get_parameter(key).grad, exact.get_parameter(key).grad
        assert_as_close_as_eager(parameter.grad, eager, measure, key)


def nodes(node):
    """The names of all that autograd will do."""
    reached, waiting = set(), [node]
    while waiting:
        following = waiting.pop()
        if following is not None and following not in reached:
            reached.add(following)
            waiting += [each for each, _ in following.next_functions]
    return " ".join(each.name() for each in reached)


@pytest.mark.parametrize(("dtype", "fused"), [(torch.float32, True), (torch.bfloat16, True), (torch.float64, False)])
def test_auto_takes_the_kernels_where_they_have_the_dtype(dtype, fused):
    model = WaveNet(make_model("categorical").config).to(dtype)
    out = model(make_tokens(model.config, 1, 9))
    assert out.dtype == dtype
    assert ("residual_stack" in nodes(out.grad_fn)) == fused


def test_a_named_backend_without_the_dtype_is_refused_at_the_call():
    model = WaveNet(make_model("categorical").config, backend="cpu").double()
    with pytest.raises(BackendUnavailable, match=r"cpu: it does not compute in float64.*backend='reference'"):
        model(make_tokens(model.config, 1, 9))


@pytest.mark.parametrize("products", ["float32", "bfloat16"])
def test_results_are_the_same_bits_on_any_number_of_threads(products):
    case = Case(2, 2500, 5, 7, 6, 3, 2, (1, 700, 3))
    tensors, grad = inputs(case, torch.float32)
    results = []
    try:
        for threads in (1, 2, 3, 7, 1):
            torch.set_num_threads(threads)
            with torch.autocast("cpu", torch.bfloat16, enabled=products == "bfloat16"):
                copies = leaves(tensors)
                out = call(copies, case.dilations, "cpu")
            out.backward(grad)
            results.append([out.detach(), *(leaf.grad for leaf in copies)])
    finally:
        torch.set_num_threads(1)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


def test_a_data_parallel_wrapper_trains_it(tmp_path):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        plain = WaveNet(make_model("categorical").config, backend="cpu")
        wrapped = torch.nn.parallel.DistributedDataParallel(WaveNet(plain.config, backend="cpu"))
        wrapped.module.load_state_dict(plain.state_dict())
        tokens = make_tokens(plain.config, 2, 50)
        for model in (plain, wrapped):
            model(tokens).square().mean().backward()
        for a, b in zip(plain.parameters(), wrapped.module.parameters(), strict=True):
            torch.testing.assert_close(b.grad, a.grad)
    finally:
        distributed.destroy_process_group()
