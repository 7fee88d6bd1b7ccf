"""The residual stack over parts of a sequence: a history goes in and comes out, and nothing else is kept."""

import pytest
import torch

from fastwave import InputError, reference
from fastwave.runtime import library
from fastwave.stack import cpu, inference
from stack_checks import Case, inputs, split
from tolerances import assert_as_close_as_eager

CASE = Case(3, 41, 5, 7, 6, 3, 3, (2, 1, 9))
PLAIN = Case(1, 23, 4, 6, 2, 0, 2, (1, 30))
LONG = Case(2, 700, 18, 17, 8, 4, 3, (1, 8, 64))


def infer(tensors, dilations, parts, backend="cpu", threads=None, rows=slice(None), products="float32"):
    """The skip sum of a sequence in parts of these lengths, and the last history."""
    x, weights, condition = split(tensors)
    x, condition = x[rows], None if condition is None else condition[rows]
    history = inference.empty_history(len(x), weights, dilations, products)
    sums, first = [], 0
    for steps in parts:
        of_part = None if condition is None else condition[:, first : first + steps]
        part = x[:, first : first + steps]
        skip_sum, history = inference.residual_stack(
            part, weights, dilations, of_part, history, backend=backend, threads=threads, products=products
        )
        sums.append(skip_sum)
        first += steps
    assert first == x.shape[1]
    return torch.cat(sums, dim=1), history


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("case", [CASE, PLAIN, LONG], ids=["condition", "plain", "several tiles"])
def test_it_is_the_reference(case, backend):
    tensors, _ = inputs(case, torch.float64)
    x, weights, condition = split(tensors)
    exact, history = reference.residual_stack(x, weights, case.dilations, condition)
    single = [None if each is None else each.float() for each in tensors]
    x, weights, condition = split(single)
    eager, eager_history = reference.residual_stack(x, weights, case.dilations, condition)
    skip_sum, last = infer(single, case.dilations, [case.T // 2, case.T - case.T // 2], backend)
    assert_as_close_as_eager(skip_sum, eager, exact)
    for mine, its, exact_one in zip(last, eager_history, history, strict=True):
        assert_as_close_as_eager(mine, its, exact_one)


@pytest.mark.parametrize("case", [CASE, PLAIN, LONG], ids=["condition", "plain", "several tiles"])
@pytest.mark.parametrize("instruction_set", library.cpu_features().instruction_sets)
@pytest.mark.parametrize("products", ["float32", "bfloat16"])
def test_parts_are_the_whole_bit_for_bit(case, products, instruction_set, monkeypatch):
    tensors, _ = inputs(case, torch.float32)
    native = cpu.infer
    monkeypatch.setattr(cpu, "infer", lambda *arguments: native(*arguments, instruction_set=instruction_set))
    whole, last = infer(tensors, case.dilations, [case.T], products=products)
    for parts in ([1] * 7 + [case.T - 7], [13, case.T - 13], [case.T - 1, 1]):
        skip_sum, history = infer(tensors, case.dilations, parts, products=products)
        assert torch.equal(skip_sum, whole)
        for mine, its in zip(history, last, strict=True):
            assert torch.equal(mine, its)


@pytest.mark.parametrize("products", ["float32", "bfloat16"])
def test_blocks_threads_and_the_rest_of_the_batch_change_no_bit(products, monkeypatch):
    tensors, _ = inputs(LONG, torch.float32)
    whole, _ = infer(tensors, LONG.dilations, [LONG.T], products=products)

    def again(**options):
        return infer(tensors, LONG.dilations, [LONG.T], products=products, **options)[0]

    for threads in (1, 2, 3):
        assert torch.equal(again(threads=threads), whole)
    assert torch.equal(again(rows=slice(1, 2)), whole[1:2])
    monkeypatch.setattr(inference, "BLOCK", 50)
    assert torch.equal(again(), whole)


def test_products_in_bfloat16_are_as_close_as_those_of_eager_pytorch():
    """And the history has its dtype, which a float32 part would have kept exact."""
    tensors, _ = inputs(LONG, torch.float64)
    x, weights, condition = split(tensors)
    exact, _ = reference.residual_stack(x, weights, LONG.dilations, condition)
    single = [None if each is None else each.float() for each in tensors]
    x, weights, condition = split(single)
    with torch.autocast("cpu", torch.bfloat16):
        eager, _ = reference.residual_stack(x, weights, LONG.dilations, condition)
    skip_sum, history = infer(single, LONG.dilations, [300, 400], products="bfloat16")
    assert_as_close_as_eager(skip_sum, eager, exact)
    assert {each.dtype for each in history} == {torch.bfloat16}
    assert not torch.allclose(skip_sum, infer(single, LONG.dilations, [700])[0], rtol=1e-5)


def test_nothing_asks_for_gradients():
    tensors, _ = inputs(CASE, torch.float32)
    for each in tensors:
        each.requires_grad_()
    skip_sum, history = infer(tensors, CASE.dilations, [CASE.T])
    assert not skip_sum.requires_grad and not any(each.requires_grad for each in history)


def test_a_history_of_another_shape_is_refused():
    x, weights, condition = split(inputs(CASE, torch.float32)[0])
    history = inference.empty_history(2, weights, CASE.dilations)
    with pytest.raises(InputError, match=r"history must be one tensor a layer, \[\[3, 4, 5\]"):
        inference.residual_stack(x, weights, CASE.dilations, condition, history, backend="cpu")


def test_a_part_without_a_step_is_refused():
    x, weights, condition = split(inputs(PLAIN, torch.float32)[0])
    with pytest.raises(InputError, match="at least one step"):
        inference.residual_stack(x[:, :0], weights, PLAIN.dilations, condition, backend="cpu")
