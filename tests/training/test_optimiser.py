"""Muon moves matrices in every direction alike, and AdamW everything else as torch does it."""

import pytest
import torch

from fastwave.training.optimiser import MOMENTUM, RATE, Optimiser, orthogonal


@pytest.mark.parametrize("shape", [(8, 8), (3, 8), (8, 3), (5, 2, 32, 64), (4, 64, 32), (1, 1)])
def test_orthogonal_matrices_keep_their_directions_and_have_singular_values_near_1(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    actual = orthogonal(matrices)
    assert actual.shape == shape
    u, values, v = torch.linalg.svd(matrices.double(), full_matrices=False)
    turned = u.mT @ actual.double() @ v.mT  # diagonal where the singular vectors are kept
    diagonal = turned.diagonal(dim1=-2, dim2=-1)
    strong = values > 0.02 * values.amax(-1, keepdim=True)  # weaker ones take more iterations
    assert ((diagonal[strong] > 0.6) & (diagonal[strong] < 1.3)).all()
    assert (turned - torch.diag_embed(diagonal)).abs().max() < 1e-3


def test_a_matrix_of_zeros_stays_zero():
    assert torch.equal(orthogonal(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))


def parameters_of(seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"one.weight": (2, 6, 4), "two.weight": (5, 3), "two.bias": (3,)}
    parameters = {name: torch.nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}
    for parameter in parameters.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return parameters


def test_parameters_that_are_no_matrices_move_as_in_torch():
    ours, theirs = parameters_of(), parameters_of()
    optimiser = Optimiser(ours, (), torch.device("cpu"))
    adam = torch.optim.AdamW(
        [{"params": [theirs["one.weight"], theirs["two.weight"]], "weight_decay": 0.1},
         {"params": [theirs["two.bias"]], "weight_decay": 0.0}], lr=0.01, betas=(0.9, 0.99), fused=True,
    )  # fmt: skip
    for _ in range(3):
        optimiser.step(0.01, (0.9, 0.99), 0.1)
        adam.step()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_matrix_moves_by_the_learning_rate_in_every_direction_of_its_gradient():
    parameters = parameters_of()
    before = parameters["one.weight"].detach().clone()
    gradient = parameters["one.weight"].grad.clone()
    Optimiser(parameters, ("one.weight",), torch.device("cpu")).step(0.1, (0.9, 0.99), 0.0)
    moved = (before - parameters["one.weight"]).detach()
    assert torch.allclose(moved, 0.1 * RATE * (6 / 4) ** 0.5 * orthogonal(gradient), atol=1e-6)


def test_muon_remembers_gradients_and_decays_weights():
    parameters = parameters_of()
    optimiser = Optimiser(parameters, ("one.weight",), torch.device("cpu"))
    first = parameters["one.weight"].grad.clone()
    optimiser.step(0.0, (0.9, 0.99), 0.5)
    assert torch.allclose(optimiser.moments["one.weight"], (1 - MOMENTUM) * first)
    assert not optimiser.squares["one.weight"].any()
    before = parameters["one.weight"].detach().clone()
    parameters["one.weight"].grad = torch.zeros_like(first)
    optimiser.moments["one.weight"].zero_()
    optimiser.step(0.1, (0.9, 0.99), 0.5)
    assert torch.allclose(parameters["one.weight"], before * (1 - 0.1 * RATE * 0.5))


def test_muon_moves_on_by_what_it_remembers_when_a_gradient_is_zero():
    parameters = parameters_of()
    optimiser = Optimiser(parameters, ("one.weight",), torch.device("cpu"))
    gradient = parameters["one.weight"].grad.clone()
    optimiser.step(0.0, (0.9, 0.99), 0.0)
    before = parameters["one.weight"].detach().clone()
    parameters["one.weight"].grad = torch.zeros_like(gradient)
    optimiser.step(0.1, (0.9, 0.99), 0.0)
    moved = (before - parameters["one.weight"]).detach()
    assert torch.allclose(moved, 0.1 * RATE * (6 / 4) ** 0.5 * orthogonal(gradient), atol=1e-5)
