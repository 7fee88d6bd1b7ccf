"""The objectives of a student, each against what is known: Monte Carlo, autograd, processes with a known answer."""

import math

import pytest
import torch

from fastwave.student import objectives
from fastwave.student.flow import GaussianFlow

AR, SCALE = (1.3, -0.7), 0.1  # x[t] = 1.3 x[t-1] - 0.7 x[t-2] + 0.1 e[t]: one resonance, at 0.11 of the sample rate
BURN_IN = 32  # steps that the impulse response of the process needs


def predicted(x):
    """The mean of the process after what came before, [B, T]."""
    past = torch.nn.functional.pad(x, (2, 0))
    return AR[0] * past[:, 1:-1] + AR[1] * past[:, :-2]


def kl_to_process(flow, z):
    x, mean, log_scale = flow(z)
    kl = objectives.gaussian_kl(mean, log_scale, predicted(x), torch.full_like(mean, math.log(SCALE)))
    return x, kl[:, BURN_IN:].mean()


def trained(flow, loss, steps, batch=4, length=400, rate=1e-2):
    """Adam on fresh noise, with a rate that falls to 0 in a straight line from 40% of the steps on."""
    optimiser = torch.optim.Adam(flow.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * min(1, (steps - step) / (0.6 * steps))
        value = loss(torch.randn(batch, length, generator=generator))
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimiser.step()


@pytest.fixture(scope="module")
def flow():
    torch.manual_seed(0)
    flow = GaussianFlow(channels=16, dilations=(1, 2, 4, 8, 16))
    trained(flow, lambda z: kl_to_process(flow, z)[1], steps=220)
    return flow


def test_the_closed_form_equals_monte_carlo_to_one_percent():
    generator = torch.Generator().manual_seed(0)
    mean, log_scale, other, other_log_scale = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    closed = objectives.gaussian_kl(mean, log_scale, other, other_log_scale)
    half = torch.randn(200_000, 6, dtype=torch.float64, generator=generator)
    z = torch.cat([half, -half])
    student = torch.distributions.Normal(mean, log_scale.exp())
    teacher = torch.distributions.Normal(other, other_log_scale.exp())
    x = mean + log_scale.exp() * z
    drawn = (student.log_prob(x) - teacher.log_prob(x)).mean(0)
    assert torch.allclose(closed, drawn, rtol=0.01)
    assert torch.allclose(closed, torch.distributions.kl_divergence(student, teacher), rtol=1e-9)


def test_both_scales_have_the_same_floor():
    sharp = torch.tensor([-30.0, -60.0])
    assert torch.equal(objectives.gaussian_kl(torch.zeros(2), sharp, torch.zeros(2), sharp.flip(0)), torch.zeros(2))


def test_the_sum_of_log_scales_is_the_log_determinant():
    torch.manual_seed(0)
    flow = GaussianFlow(channels=4, dilations=(1, 2, 4), condition_channels=3, backend="reference").double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    condition = torch.randn(1, 12, 3, dtype=torch.float64)
    z = torch.randn(12, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda noise: flow(noise[None], condition)[0][0], z)
    assert torch.equal(jacobian, jacobian.tril())
    log_scale = flow(z[None], condition)[2]
    assert float(log_scale.detach().std()) > 0.1
    assert float(torch.linalg.slogdet(jacobian).logabsdet) == pytest.approx(float(log_scale.detach().sum()), rel=1e-9)


def test_a_flow_learns_a_known_process(flow):
    z = torch.randn(16, 4096, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        x, kl = kl_to_process(flow, z)
    assert float(kl) < 0.01
    window = torch.hann_window(256)
    power = torch.fft.rfft(x[:, 2 * BURN_IN :].unfold(1, 256, 128) * window).abs().square().mean((0, 1))
    turn = torch.exp(-2j * math.pi * torch.arange(129) / 256)
    known = SCALE**2 * window.square().sum() / (1 - AR[0] * turn - AR[1] * turn**2).abs() ** 2
    assert float((10 * (power / known).log10()).abs().mean()) < 0.5


def test_one_flow_cannot_represent_a_process_whose_next_sample_is_one_of_two(flow):
    """x[t] = 0.5 x[t-1] + 0.1 b[t] + 0.02 e[t], b = -1 or 1: ln 2 above the best normal distribution, which takes one
    of the two and leaves the other.
    """
    nodes, weights = (torch.tensor(each, dtype=torch.float32) for each in hermite(32))

    def kl(mean, log_scale, middle):
        z = nodes.expand(*mean.shape, -1)
        x = mean[..., None] + log_scale.exp()[..., None] * z
        own = -0.5 * z.square() - log_scale[..., None]
        modes = torch.stack([-0.5 * ((x - middle[..., None] - side) / 0.02).square() for side in (-0.1, 0.1)])
        teacher = torch.logsumexp(modes, 0) - math.log(2) - math.log(0.02)
        return ((own - teacher) * weights).sum(-1)

    grid = torch.cartesian_prod(torch.linspace(-0.15, 0.15, 121), torch.linspace(-5, -1.5, 71))
    best = float(kl(grid[:, 0], grid[:, 1], torch.zeros(len(grid))).min())
    assert best == pytest.approx(math.log(2), abs=0.02)
    torch.manual_seed(0)
    student = GaussianFlow(channels=8, dilations=(1, 2, 4, 8))

    def loss(z):
        x, mean, log_scale = student(z)
        return kl(mean, log_scale, 0.5 * torch.nn.functional.pad(x[:, :-1], (1, 0))).mean()

    z = torch.randn(4, 400, generator=torch.Generator().manual_seed(2))
    before = float(loss(z))
    trained(student, loss, steps=300, batch=2, length=200)
    after = float(loss(z))
    assert after < before - 0.1  # it has learned,
    assert best - 0.01 < after < best + 0.2  # and stays where the best normal distribution is


def hermite(count):
    """Nodes and weights for means over a normal number."""
    import numpy as np

    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return nodes, weights / weights.sum()


def test_the_energy_distance_is_least_for_the_right_distribution():
    """Recordings are noise of one level; draws that are too quiet, too loud or all alike are further away."""
    generator = torch.Generator().manual_seed(0)

    def noise(scale, count=48):
        return 0.05 * scale * torch.randn(count, 4096, generator=generator)

    real = noise(1.0)
    right = float(objectives.energy_distance(real, noise(1.0), noise(1.0)).mean())
    for scale in (0.7, 1.4):
        assert float(objectives.energy_distance(real, noise(scale), noise(scale)).mean()) > right + 0.02
    same = noise(1.0)
    assert float(objectives.energy_distance(real, same, same).mean()) > right + 0.5  # the repulsive term


def test_the_distance_is_zero_for_the_same_wave_and_has_finite_gradients_in_silence():
    wave = torch.zeros(2, 3000)
    wave[1] = 0.05 * torch.randn(3000, generator=torch.Generator().manual_seed(0))
    assert float(objectives.spectral_distance(wave, wave.clone()).max()) < 1e-3
    made = torch.zeros(2, 3000, requires_grad=True)
    objectives.energy_distance(wave, made, torch.zeros(2, 3000)).sum().backward()
    assert bool(torch.isfinite(made.grad).all())


@pytest.mark.parametrize("size", objectives.WINDOWS)
def test_every_window_and_the_first_difference_are_heard(size, monkeypatch):
    """Noise against noise of twice the level: each window contributes by itself, treble through the difference."""
    monkeypatch.setattr(objectives, "WINDOWS", (size,))
    wave = 0.05 * torch.randn(1, 8192, generator=torch.Generator().manual_seed(0))
    assert float(objectives.spectral_distance(wave, 2 * wave)) > 1.0


def test_the_power_distance_is_of_magnitudes():
    wave = 0.05 * torch.randn(1, 8192, generator=torch.Generator().manual_seed(0))
    once, twice = (float(objectives.power_distance(wave, factor * wave)) for factor in (2.0, 3.0))
    assert twice == pytest.approx(2 * once, rel=1e-4)  # squares would give 8/3, logarithms 1.58


def test_regularised_kl_adds_the_squared_difference_of_log_scales():
    values = torch.tensor([0.1]), torch.tensor([-2.0]), torch.tensor([0.0]), torch.tensor([-3.0])
    kl = objectives.gaussian_kl(*values)
    assert torch.allclose(objectives.regularised_kl(*values, weight=3.0), kl + 3.0)
