"""The three output distributions: their loss in nats, and one draw from each, given its uniforms.

Losses are computed in float32 (float64 for float64 outputs) whatever the model's dtype, so they do not fall apart
in bfloat16. Draws are float32 on the host, in the exact order of docs/spec.md, because backends must agree on them.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError

LEVELS = 65_536  # the mixture is discretised to 16 bits
HALF_BIN = 1.0 / LEVELS
# Limits of the log of a scale. The smallest scale is a fifth of a bin, where one bin already holds 85% of the
# probability; the largest is far wider than the waveform. Scales beyond them would change little, and could overflow.
LOG_SCALE_FLOOR = -12.0
LOG_SCALE_CEILING = 12.0
DRAWS = {"categorical": 1, "mixture-of-logistics": 2, "gaussian": 2}  # uniforms that one sample takes


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the next sample is drawn from an output: validated and frozen.

    A temperature below 1 favours what is likely, and 0 takes the likeliest; top_k keeps the k likeliest classes, top_p
    the fewest that hold that share of the probability.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        temperature, top_k, top_p = self.temperature, self.top_k, self.top_p
        number = isinstance(temperature, (int, float)) and not isinstance(temperature, bool)
        if not (number and math.isfinite(temperature) and temperature >= 0):
            raise InputError(f"temperature must be a finite number >= 0, got {temperature!r}.")
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
            raise InputError(f"top_k must be an integer >= 1 or None, got {top_k!r}.")
        if top_p is not None and not (isinstance(top_p, (int, float)) and 0 < top_p <= 1):
            raise InputError(f"top_p must lie in (0, 1] or be None, got {top_p!r}.")

    def check(self, output: str) -> None:
        """Refuse top_k and top_p for a continuous output, which has no classes to choose among."""
        if output != "categorical" and (self.top_k is not None or self.top_p is not None):
            raise InputError(
                f"top_k and top_p choose among classes; a {output} output has none. Use temperature instead."
            )


PLAIN = Sampling()  # draws from the output distribution unchanged


def negative_log_likelihood(output: str, out: Tensor, target: Tensor) -> Tensor:
    """out [..., O]; target [...] int64 classes or float waveform -> nats [...]

    The categorical and the mixture output give the probability of one of finitely many values. The Gaussian gives a
    density, so its nats may be negative (subtract log(2 / 65536) to compare them with 16-bit probabilities).
    """
    out = out if out.dtype == torch.float64 else out.float()
    if output == "categorical":
        flat = F.cross_entropy(out.reshape(-1, out.shape[-1]), target.reshape(-1), reduction="none")
        return flat.reshape(target.shape)
    if output == "mixture-of-logistics":
        return _mixture_nll(out, target.to(out.dtype))
    return _gaussian_nll(out, target.to(out.dtype))


def _mixture_nll(out: Tensor, target: Tensor) -> Tensor:
    logits, means, log_scales = out.chunk(3, dim=-1)
    log_scales = log_scales.clamp(LOG_SCALE_FLOOR, LOG_SCALE_CEILING)
    half = LEVELS // 2
    level = (target * half).round().clamp(-half, half - 1)[..., None]
    centre = level / half
    inverse_scale = torch.exp(-log_scales)
    upper = (centre + HALF_BIN - means) * inverse_scale
    lower = (centre - HALF_BIN - means) * inverse_scale
    # sigmoid(u) - sigmoid(l) = sigmoid(u) * sigmoid(-l) * (1 - exp(l-u)): exact in the tails, no threshold needed
    width = 2 * HALF_BIN * inverse_scale
    inside = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(-width))
    log_probability = torch.where(
        level == -half, F.logsigmoid(upper), torch.where(level == half - 1, F.logsigmoid(-lower), inside)
    )
    return -torch.logsumexp(F.log_softmax(logits, dim=-1) + log_probability, dim=-1)


def _moments(out: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log of the scale of a Gaussian output."""
    return out[..., 0], out[..., 1].clamp(LOG_SCALE_FLOOR, LOG_SCALE_CEILING)


def _gaussian_nll(out: Tensor, target: Tensor) -> Tensor:
    mean, log_scale = _moments(out)
    return 0.5 * math.log(2 * math.pi) + log_scale + 0.5 * ((target - mean) * torch.exp(-log_scale)) ** 2


_DRAWN = 64  # from each mixture, where the divergence of two is estimated


def divergence(output: str, right: Tensor, other: Tensor) -> Tensor:
    """Nats a sample that are lost where `other` [N, O] is taken for `right` [N, O]: Kullback and Leibler's, the mean of
    all N. It is exact, but for mixtures, where it is the mean over seeded draws from `right`.
    """
    right, other = right.double(), other.double()
    if output == "categorical":
        logs = right.log_softmax(-1)
        return (logs.exp() * (logs - other.log_softmax(-1))).sum(-1).mean()
    if output == "gaussian":
        (mean, log_scale), (other_mean, other_log_scale) = (_moments(each) for each in (right, other))
        wider = other_log_scale - log_scale
        apart = (mean - other_mean) * torch.exp(-other_log_scale)
        return (wider + 0.5 * (torch.expm1(-2 * wider) + apart**2)).mean()
    uniforms = torch.rand(_DRAWN, len(right), DRAWS[output], generator=torch.Generator().manual_seed(0))
    lost = right.new_zeros(())
    for uniform in uniforms:
        drawn = sample(output, right, uniform)
        lost += (negative_log_likelihood(output, other, drawn) - negative_log_likelihood(output, right, drawn)).mean()
    return lost / _DRAWN


def sample(output: str, out: Tensor, uniforms: Tensor, sampling: Sampling = PLAIN) -> Tensor:
    """out [N, O], uniforms [N, draws] -> [N]: int64 classes, or the float32 waveform"""
    values = out.detach().float().cpu().numpy()
    host_uniforms = uniforms.detach().float().cpu().numpy()
    if output == "categorical":
        chosen = _sample_categorical(values, host_uniforms[:, 0], sampling)
    elif output == "mixture-of-logistics":
        chosen = _sample_mixture(values, host_uniforms, sampling.temperature)
    else:
        chosen = _sample_gaussian(values, host_uniforms, sampling.temperature)
    return torch.from_numpy(chosen).to(out.device)


def _sample_categorical(logits: np.ndarray, uniform: np.ndarray, sampling: Sampling) -> np.ndarray:
    if np.float32(sampling.temperature) == 0:
        return np.asarray(logits.argmax(axis=-1))  # numpy takes the lowest index on a tie
    with np.errstate(over="ignore"):  # a tiny temperature sends all but the likeliest to -infinity, as it should
        weights = np.exp((logits - logits.max(axis=-1, keepdims=True)) / np.float32(sampling.temperature))
    if sampling.top_k is not None and sampling.top_k < weights.shape[-1]:
        weights = _keep_first(weights, np.full(weights.shape[:1], sampling.top_k))
    if sampling.top_p is not None and sampling.top_p < 1:
        descending = -np.sort(-weights, axis=-1)
        running = np.cumsum(descending, axis=-1, dtype=np.float32)
        total = np.cumsum(weights, axis=-1, dtype=np.float32)[:, -1:]  # summed in class order, as inverse_cdf does
        needed = (running < np.float32(sampling.top_p) * total).sum(axis=-1) + 1
        weights = _keep_first(weights, needed)
    return inverse_cdf(weights, uniform)


def _keep_first(weights: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Set all but the `count` largest weights of each row to zero; of equal weights the lower class stays."""
    order = np.argsort(-weights, axis=-1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(weights.shape[-1])[None, :], axis=-1)
    return np.where(rank < count[:, None], weights, np.float32(0))


def inverse_cdf(weights: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """The smallest class whose running float32 sum exceeds u * total. weights [N, A], uniform [N] -> int64 [N]"""
    running = np.cumsum(weights, axis=-1, dtype=np.float32)  # numpy adds in class order; torch would sum in float64
    passed = running > (uniform * running[:, -1])[:, None]
    # u <= 1 - 2^-24 keeps u * total below the total in float32, so some sum always exceeds it
    return np.asarray(passed.argmax(axis=-1))


def _sample_mixture(values: np.ndarray, uniforms: np.ndarray, temperature: float) -> np.ndarray:
    logits, means, log_scales = np.split(values, 3, axis=-1)
    component = inverse_cdf(np.exp(logits - logits.max(axis=-1, keepdims=True)), uniforms[:, 0])[:, None]
    mean = np.take_along_axis(means, component, axis=-1)[:, 0]
    log_scale = np.take_along_axis(log_scales, component, axis=-1)[:, 0]
    u = uniforms[:, 1].clip(np.float32(1e-5), np.float32(1 - 1e-5))
    scale = np.exp(log_scale.clip(LOG_SCALE_FLOOR, LOG_SCALE_CEILING))
    drawn: np.ndarray = mean + np.float32(temperature) * scale * np.log(u / (1 - u))
    return drawn.clip(-1, 1)


def _sample_gaussian(values: np.ndarray, uniforms: np.ndarray, temperature: float) -> np.ndarray:
    scale = np.exp(values[:, 1].clip(LOG_SCALE_FLOOR, LOG_SCALE_CEILING))
    drawn: np.ndarray = values[:, 0] + np.float32(temperature) * scale * normal(uniforms)
    return drawn.clip(-1, 1)


def normal(uniforms: np.ndarray) -> np.ndarray:
    """A normal number of each pair of uniforms by Box and Muller's method: float32 [N, 2] -> [N]"""
    radius = np.sqrt(-2 * np.log1p(-uniforms[:, 0]))  # 1-u lies in (0, 1], so the logarithm is finite
    return np.asarray(radius * np.cos(np.float32(2 * math.pi) * uniforms[:, 1]))
