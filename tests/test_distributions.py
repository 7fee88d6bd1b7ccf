"""Losses agree with formulas written independently, and draws follow the distribution they claim."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch

from fastwave import InputError
from fastwave.distributions import LEVELS, LOG_SCALE_FLOOR, Sampling, inverse_cdf, negative_log_likelihood, sample
from fastwave.philox import noise
from tolerances import EXACT, assert_exact

MIXTURE, GAUSSIAN, CATEGORICAL = "mixture-of-logistics", "gaussian", "categorical"
DRAWN = 10**6
SIGNIFICANT = 0.001
LARGEST_UNIFORM = 1 - 2.0**-24


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mixture(logits: list[float], means: list[float], scales: list[float]) -> torch.Tensor:
    return torch.tensor([*logits, *means, *np.log(scales)], dtype=torch.float64)


def levels(index: object = range(LEVELS)) -> torch.Tensor:
    """The waveform value of each 16-bit level."""
    return torch.as_tensor(index, dtype=torch.float64) * 2 / LEVELS - 1


# Loss


def test_categorical_loss_is_cross_entropy_in_nats():
    out, target = random(3, 5, 11), torch.arange(15).reshape(3, 5) % 11
    expected = -np.take_along_axis(scipy.special.log_softmax(out.numpy(), axis=-1), target.numpy()[..., None], axis=-1)
    assert_exact(negative_log_likelihood(CATEGORICAL, out, target), torch.from_numpy(expected[..., 0]))
    blind = negative_log_likelihood(CATEGORICAL, torch.zeros(1, 1, 256), torch.zeros(1, 1, dtype=torch.int64))
    assert float(blind) == pytest.approx(8 * math.log(2))


def logistic_bin(level: int, mean: float, scale: float) -> float:
    """The mass of a logistic in one 16-bit bin; the first and last bins are open-ended."""
    low = -math.inf if level == 0 else ((level - 0.5) * 2 / LEVELS - 1 - mean) / scale
    high = math.inf if level == LEVELS - 1 else ((level + 0.5) * 2 / LEVELS - 1 - mean) / scale
    if low > 0:  # mirror into the left tail, where the difference keeps its digits
        low, high = -high, -low
    return scipy.special.expit(high) - scipy.special.expit(low)


@pytest.mark.parametrize("scale", [1e-5, 1e-3, 0.1, 3.0])
@pytest.mark.parametrize("level", [0, 1, 9_000, 32_767, 32_768, 51_234, LEVELS - 2, LEVELS - 1])
def test_mixture_loss_is_the_mass_of_the_targets_bin(level, scale):
    logits, means = [0.3, -1.0, 2.0], [-0.9, float(levels(level)) + 0.7 * scale, 0.4]
    out = mixture(logits, means, [0.5, scale, 0.02])
    weights = scipy.special.softmax(logits)
    mass = sum(w * logistic_bin(level, m, s) for w, m, s in zip(weights, means, [0.5, scale, 0.02], strict=True))
    loss = negative_log_likelihood(MIXTURE, out[None], levels([level]))
    assert_exact(loss, torch.tensor([-math.log(mass)], dtype=torch.float64))


MIXTURES = {
    "one": mixture([0.0], [0.1], [0.05]),
    "three": mixture([1.0, -2.0, 0.5], [-0.7, 0.0, 0.9], [0.3, 0.001, 0.02]),
    "tiny-scales": mixture([0.0, 1.0], [0.3333, -0.5], [1e-9, 1e-5]),
    "huge-scales": mixture([0.0, 0.0], [0.0, 0.5], [50.0, 1e6]),
    "means-outside": mixture([0.0, 1.0, 0.0], [-1.5, 2.0, 30.0], [0.2, 0.1, 1e-5]),
    "means-on-the-edges": mixture([0.0, 0.0], [-1.0, 1.0], [0.1, 1e-5]),
    "far-apart-logits": mixture([60.0, -60.0], [0.0, 0.5], [0.1, 0.1]),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_mixture_probabilities_of_all_levels_sum_to_one(name):
    out = MIXTURES[name].expand(LEVELS, -1)
    total = negative_log_likelihood(MIXTURE, out, levels()).neg().exp().sum()
    assert_exact(total, torch.ones((), dtype=torch.float64))


def test_mixture_edge_levels_hold_all_mass_beyond_them():
    far = mixture([0.0], [2.5], [0.1]), mixture([0.0], [-40.0], [0.1])
    for out, edge, inner in zip(far, (LEVELS - 1, 0), (LEVELS - 2, 1), strict=True):
        loss = negative_log_likelihood(MIXTURE, out.expand(2, -1), levels([edge, inner]))
        assert loss[0] < 1e-6  # the edge is all but certain
        assert loss[1] > 10  # its neighbour is a bin like any other


def test_mixture_targets_between_levels_belong_to_the_nearest():
    out = MIXTURES["three"]
    step = 2 / LEVELS
    on = levels([0, 700, 32_768, 65_000, LEVELS - 1])
    near = on + torch.tensor([-0.3, 0.4, -0.4, 0.3, 9.0], dtype=torch.float64) * step  # the ends lie outside [-1, 1]
    expected = negative_log_likelihood(MIXTURE, out.expand(5, -1), on)
    assert_exact(negative_log_likelihood(MIXTURE, out.expand(5, -1), near), expected)


def test_gaussian_loss_is_minus_the_log_density():
    out, target = random(4, 6, 2), random(4, 6, seed=1)
    expected = -scipy.stats.norm.logpdf(target.numpy(), out[..., 0].numpy(), np.exp(out[..., 1].numpy()))
    assert_exact(negative_log_likelihood(GAUSSIAN, out, target), torch.from_numpy(expected))


@pytest.mark.parametrize(("mean", "log_scale"), [(0.0, 0.0), (0.3, -3.0), (-5.0, 2.0), (0.1, LOG_SCALE_FLOOR - 5)])
def test_gaussian_density_integrates_to_one(mean, log_scale):
    scale = math.exp(max(log_scale, LOG_SCALE_FLOOR))
    points = torch.linspace(mean - 12 * scale, mean + 12 * scale, 2001, dtype=torch.float64)
    out = torch.tensor([mean, log_scale], dtype=torch.float64).expand(2001, -1)
    density = negative_log_likelihood(GAUSSIAN, out, points).neg().exp()
    assert scipy.integrate.simpson(density.numpy(), x=points.numpy()) == pytest.approx(1, abs=EXACT)


@pytest.mark.parametrize(("output", "columns"), [(MIXTURE, slice(6, 9)), (GAUSSIAN, slice(1, 2))])
def test_scales_below_the_floor_count_as_the_floor(output, columns):
    at_floor = random(7, 9 if output == MIXTURE else 2)
    at_floor[:, columns] = LOG_SCALE_FLOOR
    below = at_floor.clone()
    below[:, columns] = LOG_SCALE_FLOOR - 20
    target = at_floor[:, 3 if output == MIXTURE else 0] + 1e-5
    losses = (negative_log_likelihood(output, out, target) for out in (below, at_floor))
    assert_exact(*losses)
    uniforms = noise(0, 0, 0, 7, draws=2)
    assert torch.equal(sample(output, below, uniforms), sample(output, at_floor, uniforms))


TARGETS = torch.tensor([-1.0, -1 + 1e-5, -0.3, 0.0, 1e-4, 0.77777, 1 - 1e-5, 1.0])
LOG_SCALES = torch.tensor([-50.0, -20.0, -12.0, -7.0, 0.0, 5.0, 50.0, 1000.0])
MEANS = torch.tensor([-1000.0, -1.0, 0.0, 0.5, 1.0, 1000.0])


def extreme_outputs(output: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Every target with every log scale and mean, or with logits of +-1e4; out [N, O], target [N]"""
    if output == CATEGORICAL:
        logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4], [88.0, -88.0, 1e-30]])
        return logits.repeat_interleave(3, dim=0), torch.arange(3).repeat(4)
    target, log_scale, mean = (part.flatten() for part in torch.meshgrid(TARGETS, LOG_SCALES, MEANS, indexing="ij"))
    if output == GAUSSIAN:
        return torch.stack([mean, log_scale], dim=-1), target
    lopsided = [torch.full_like(mean, 80.0), torch.full_like(mean, -80.0)]
    return torch.stack([*lopsided, mean, -mean, log_scale, -log_scale], dim=-1), target


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("output", [CATEGORICAL, MIXTURE, GAUSSIAN])
def test_extreme_outputs_have_finite_losses_and_gradients(output, dtype):
    out, target = extreme_outputs(output)
    out = out.to(dtype).requires_grad_()
    loss = negative_log_likelihood(output, out, target)
    loss.sum().backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite().all()
    assert out.grad.isfinite().all()
    if output != GAUSSIAN:  # a probability; float32 may round it up past 1 by a few units
        assert loss.min() > -1e-5


@pytest.mark.parametrize("scale", [1e-4, 0.01, 1.0])
def test_mixture_loss_in_float32_loses_only_the_rounding_of_positions(scale):
    target = levels([0, 3, 20_000, 32_768, 50_000, LEVELS - 3, LEVELS - 1]).float()
    out = mixture([0.0, 0.7], [0.2, -0.6], [scale, 2 * scale]).float().expand(7, -1)
    exact = negative_log_likelihood(MIXTURE, out.double(), target.double())
    error = (negative_log_likelihood(MIXTURE, out, target).double() - exact).abs()
    # each edge of the bin is the sum of three numbers below 2, each rounded to 2^-24 of it, in units of the scale
    allowed = 2 * 3 * 2 * 2.0**-24 / scale + 16 * 2.0**-24 * exact.abs().clamp(min=1)
    assert (error <= allowed).all(), (error / allowed).max()


def test_losses_have_the_shape_of_the_targets():
    for output, width in ((CATEGORICAL, 4), (MIXTURE, 6), (GAUSSIAN, 2)):
        target = torch.zeros(2, 3, 5, dtype=torch.int64 if output == CATEGORICAL else torch.float32)
        assert negative_log_likelihood(output, torch.zeros(2, 3, 5, width), target).shape == (2, 3, 5)


# Draws


LOGITS = torch.tensor([0.5, 2.0, -1.0, 1.5, 2.0, 0.0, -3.0, 1.0, -6.0, 1.9])
OPTIONS = {
    "plain": {},
    "cold": {"temperature": 0.7},
    "hot": {"temperature": 1.5},
    "top-k": {"top_k": 4},
    "top-p": {"top_p": 0.75},
    "top-k-and-top-p": {"top_k": 6, "top_p": 0.8},
    "all": {"temperature": 1.5, "top_k": 7, "top_p": 0.9},
}


def class_probabilities(logits: torch.Tensor, temperature: float = 1.0, top_k: int = 10**9, top_p: float = 1.0):
    """SPEC in float64 and Python: temper, keep the k largest, then the fewest whose share of those reaches p."""
    weights = [math.exp(logit / temperature) for logit in logits.double().tolist()]
    ranked = sorted(range(len(weights)), key=lambda index: (-weights[index], index))[:top_k]
    total, kept, share = sum(weights[index] for index in ranked), [], 0.0
    for index in ranked:
        if kept and share >= top_p:
            break
        kept.append(index)
        share += weights[index] / total
    kept_weights = np.array([weight if index in kept else 0.0 for index, weight in enumerate(weights)])
    return kept_weights / kept_weights.sum()


@pytest.mark.parametrize("name", OPTIONS)
def test_a_million_classes_follow_their_probabilities(name):
    probabilities = class_probabilities(LOGITS, **OPTIONS[name])
    uniforms = noise(11, 0, 0, DRAWN)
    chosen = sample(CATEGORICAL, LOGITS.expand(DRAWN, -1), uniforms, Sampling(**OPTIONS[name]))
    counts = np.bincount(chosen.numpy(), minlength=len(LOGITS))
    possible = probabilities > 0
    assert counts[~possible].sum() == 0
    p = scipy.stats.chisquare(counts[possible], DRAWN * probabilities[possible]).pvalue
    assert SIGNIFICANT / len(OPTIONS) < p < 1 - SIGNIFICANT / len(OPTIONS)


SOUND = {
    MIXTURE: (mixture([0.4, -0.5, 1.0], [-0.3, 0.0, 0.25], [0.01, 0.03, 0.002]).float(), 0.03),
    GAUSSIAN: (torch.tensor([0.1, math.log(0.08)]), 0.08),
}


def sound_cdf(output: str, x: np.ndarray, temperature: float) -> np.ndarray:
    out = SOUND[output][0].double().numpy()
    if output == GAUSSIAN:
        return scipy.stats.norm.cdf(x, out[0], temperature * math.exp(out[1]))
    logits, means, log_scales = np.split(out, 3)
    parts = scipy.special.expit((x[:, None] - means) / (temperature * np.exp(log_scales)))
    return parts @ scipy.special.softmax(logits)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("output", SOUND)
def test_a_million_samples_follow_their_distribution(output, temperature):
    # The clamp of u to [1e-5, 1-1e-5] moves a mass of 2e-5, a fiftieth of what this test can see; the scales are so
    # small that the clamp to [-1, 1] moves none.
    out, widest = SOUND[output]
    drawn = sample(output, out.expand(DRAWN, -1), noise(12, 0, 0, DRAWN, draws=2), Sampling(temperature))
    assert drawn.dtype == torch.float32
    assert drawn.abs().max() < 0.3 + 12 * widest * temperature
    values = drawn.double().numpy()
    p = scipy.stats.kstest(values, lambda x: sound_cdf(output, x, temperature), method="asymp").pvalue
    assert SIGNIFICANT / 4 < p < 1 - SIGNIFICANT / 4


def test_mixture_draws_are_component_then_logistic():
    out = mixture([math.log(0.25), math.log(0.75)], [-0.5, 0.5], [0.01, 0.02]).expand(6, -1)
    uniforms = torch.tensor([[0.0, 0.5], [0.249, 0.9], [0.251, 0.5], [0.99, 0.1], [0.9, 0.0], [0.9, LARGEST_UNIFORM]])
    expected = [-0.5, -0.5 + 0.01 * math.log(9), 0.5, 0.5 - 0.02 * math.log(9)]
    clamped = 0.02 * math.log(1e-5 / (1 - 1e-5))  # u stays within [1e-5, 1-1e-5]
    drawn = sample(MIXTURE, out, uniforms)
    # 1 - 1e-5 is rounded to 2^-24 of 1: 0.6% of 1e-5
    torch.testing.assert_close(drawn.double(), torch.tensor([*expected, 0.5 + clamped, 0.5 - clamped]).double(),
                               rtol=0, atol=0.02 * 0.006)  # fmt: skip


def test_gaussian_draws_are_box_muller():
    uniforms = noise(3, 0, 0, 1000, draws=2)
    u, v = uniforms.double().unbind(dim=1)
    expected = 0.1 + 0.05 * torch.sqrt(-2 * torch.log(1 - u)) * torch.cos(2 * math.pi * v)
    drawn = sample(GAUSSIAN, torch.tensor([0.1, math.log(0.05)]).expand(1000, -1), uniforms)
    assert (drawn - expected).abs().max() < 1e-6  # float32: a few units in the last place of 0.5


@pytest.mark.parametrize("output", SOUND)
def test_samples_stay_within_full_scale(output):
    out = {MIXTURE: mixture([0.0], [0.0], [5.0]), GAUSSIAN: torch.tensor([0.0, 3.0])}[output]
    drawn = sample(output, out.expand(1000, -1), noise(0, 0, 0, 1000, draws=2))
    assert (drawn.min(), drawn.max()) == (-1, 1)


# The inverse-CDF rule


def first_class_past(weights: np.ndarray, uniform: float) -> int:
    """The rule, literally: float32 sums in class order, one after the other."""
    sums, running = [], np.float32(0)
    for weight in weights:
        running = np.float32(running + weight)
        sums.append(running)
    threshold = np.float32(np.float32(uniform) * running)
    return next(index for index, value in enumerate(sums) if value > threshold)


def weight_rows() -> dict[str, np.ndarray]:
    random_numbers = np.random.default_rng(0)
    tiny = np.float32(2.0**-25)  # lost when added to 1, not when added to its like
    rows = {
        "equal": np.ones(256),
        "one-hot-first": np.eye(256)[0],
        "one-hot-last": np.eye(256)[255],
        "zeros-at-both-ends": np.r_[np.zeros(9), 0.5, 1, np.zeros(9)],
        "zeros-between": np.r_[1, np.zeros(30), 0.25, np.zeros(30), 0.5],
        "large-then-tiny": np.r_[1, np.full(200, tiny)],
        "tiny-then-large": np.r_[np.full(200, tiny), 1],
        "denormal": np.r_[np.full(20, 1e-42), 1, np.full(20, 1e-42)],
        "falling": np.exp(-np.arange(256) / 7),
        "two": np.array([1, 1e-7]),
        "single": np.ones(1),
    }
    rows |= {f"random-{index}": np.exp(3 * random_numbers.standard_normal(256)) for index in range(12)}
    return {name: row.astype(np.float32) for name, row in rows.items()}


WEIGHTS = weight_rows()


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_class_is_the_first_whose_running_float32_sum_exceeds_u_of_the_total(name):
    weights = WEIGHTS[name]
    uniforms = np.r_[0.0, 2.0**-24, 0.5, LARGEST_UNIFORM, noise(5, 0, 0, 60)[:, 0].numpy()].astype(np.float32)
    chosen = inverse_cdf(np.tile(weights, (len(uniforms), 1)), uniforms)
    assert chosen.tolist() == [first_class_past(weights, uniform) for uniform in uniforms]
    assert (weights[chosen] > 0).all()


def test_uniforms_on_the_very_boundary_go_to_the_next_class():
    quarters = torch.zeros(5, 4)
    uniforms = torch.tensor([0.0, 0.25, 0.5, 0.75, LARGEST_UNIFORM])[:, None]
    assert sample(CATEGORICAL, quarters, uniforms).tolist() == [0, 1, 2, 3, 3]


def test_impossible_classes_are_never_drawn():
    logits = torch.full((64,), -math.inf)
    logits[[3, 40]] = torch.tensor([1.0, 2.0])
    uniforms = torch.cat([torch.tensor([[0.0], [LARGEST_UNIFORM]]), noise(6, 0, 0, 500)])
    for options in ({}, {"top_k": 5}, {"top_p": 0.999}, {"temperature": 1e-3}, {"temperature": 100.0}):
        chosen = sample(CATEGORICAL, logits.expand(502, -1), uniforms, Sampling(**options))
        assert set(chosen.tolist()) <= {3, 40}


def classes_drawn(logits: list[float], **options: float) -> set[int]:
    """Every class that some uniform of a fine grid reaches."""
    uniforms = torch.arange(4096)[:, None] / 4096
    return set(sample(CATEGORICAL, torch.tensor(logits).expand(4096, -1), uniforms, Sampling(**options)).tolist())


def log(probabilities: list[float]) -> list[float]:
    return np.log(probabilities).tolist()


def test_top_k_ties_keep_the_lower_class():
    assert classes_drawn([0.0, 1.0, 1.0, 0.5, 1.0], top_k=2) == {1, 2}
    assert classes_drawn([0.0, 0.0, 0.0], top_k=1) == {0}
    assert classes_drawn([0.0, 1.0, 2.0], top_k=3) == classes_drawn([0.0, 1.0, 2.0], top_k=99) == {0, 1, 2}


def test_top_p_keeps_the_fewest_classes_that_reach_p_and_at_least_one():
    shares = log([0.1, 0.4, 0.2, 0.3])
    reach = {1e-9: {1}, 0.39: {1}, 0.41: {1, 3}, 0.69: {1, 3}, 0.71: {1, 2, 3}, 0.91: {0, 1, 2, 3}, 1.0: {0, 1, 2, 3}}
    assert {p: classes_drawn(shares, top_p=p) for p in reach} == reach
    assert classes_drawn([1.0, 1.0, 1.0, 1.0], top_p=0.45) == {0, 1}  # ties: lower classes stay


def test_top_p_sees_the_tempered_distribution():
    shares = log([0.6, 0.3, 0.1])
    assert classes_drawn(shares, top_p=0.55) == {0}
    assert classes_drawn(shares, top_p=0.55, temperature=5.0) == {0, 1}  # the first now holds 0.40
    assert classes_drawn(shares, top_p=0.65, temperature=0.5) == {0}  # the first now holds 0.78


def test_top_p_sees_what_top_k_has_left():
    shares = log([0.35, 0.25, 0.2, 0.2])
    assert classes_drawn(shares, top_p=0.55) == {0, 1}
    assert classes_drawn(shares, top_p=0.55, top_k=2) == {0}  # 0.35 of 0.60 is 0.58


def test_temperature_zero_takes_the_lowest_of_the_largest():
    logits = torch.tensor([[1.0, 3.0, 3.0, 2.0], [-math.inf, -5.0, -math.inf, -5.0], [0.0, 0.0, 0.0, 0.0]])
    for uniform in (0.0, 0.5, LARGEST_UNIFORM):
        chosen = sample(CATEGORICAL, logits, torch.full((3, 1), uniform), Sampling(0, 3, 0.5))
        assert chosen.tolist() == [1, 1, 0]


@pytest.mark.parametrize("temperature", [1e-3, 1e-12, 1e-30, 1e-39, 1e-45, 1e-300])
def test_the_colder_the_closer_to_the_largest(temperature):
    logits = torch.tensor([0.5, 0.9, 1.0, 0.8])  # at 1e-3 the next class has e^-100 of the largest's probability
    chosen = sample(CATEGORICAL, logits.expand(100, -1), noise(0, 0, 0, 100), Sampling(temperature))
    assert (chosen == 2).all()


@pytest.mark.parametrize(("output", "width"), [(CATEGORICAL, 40), (MIXTURE, 9), (GAUSSIAN, 2)])
def test_a_draw_depends_on_its_own_row_and_uniforms_alone(output, width):
    out, uniforms = random(33, width).float(), noise(8, 0, 0, 33, draws=2)
    options = {"top_k": 9, "top_p": 0.9} if output == CATEGORICAL else {}
    together = sample(output, out, uniforms, Sampling(0.8, **options))
    alone = torch.cat(
        [sample(output, out[i : i + 1], uniforms[i : i + 1], Sampling(0.8, **options)) for i in range(33)]
    )
    assert torch.equal(alone, together)
    assert torch.equal(sample(output, out.flip(0), uniforms.flip(0), Sampling(0.8, **options)).flip(0), together)


def test_draws_of_low_precision_outputs_are_those_of_the_same_values_in_float32():
    out = random(50, 16).bfloat16()
    uniforms = noise(4, 0, 0, 50)
    assert torch.equal(sample(CATEGORICAL, out, uniforms), sample(CATEGORICAL, out.float(), uniforms))


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        (CATEGORICAL, (-0.1, None, None), "temperature must be"),
        (CATEGORICAL, (math.nan, None, None), "temperature must be"),
        (CATEGORICAL, (math.inf, None, None), "temperature must be"),
        (CATEGORICAL, ("1", None, None), "temperature must be"),
        (CATEGORICAL, (1.0, 0, None), "top_k must be"),
        (CATEGORICAL, (1.0, 2.0, None), "top_k must be"),
        (CATEGORICAL, (1.0, True, None), "top_k must be"),
        (CATEGORICAL, (1.0, None, 0.0), "top_p must lie"),
        (CATEGORICAL, (1.0, None, 1.01), "top_p must lie"),
        (CATEGORICAL, (1.0, None, math.nan), "top_p must lie"),
        (MIXTURE, (1.0, 5, None), "has none"),
        (GAUSSIAN, (1.0, None, 0.5), "has none"),
    ],
)
def test_options_without_meaning_are_refused(output, options, message):
    with pytest.raises(InputError, match=message):
        Sampling(*options).check(output)


def test_options_with_meaning_pass():
    Sampling(0, 1, 1.0).check(CATEGORICAL)
    Sampling(2.5, None, None).check(MIXTURE)
