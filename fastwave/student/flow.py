"""A Gaussian inverse-autoregressive flow: noise -> a wave, all samples at once.

    x[t] = mean[t] + scale[t] * z[t],   mean[t] and ln scale[t] functions of z[0 .. t-1] and of the condition

z and x are functions of each other, so given its own past x[t] is normal: the KL to a teacher that says
N(mean', scale') for x[t] after x[0 .. t-1] is a closed form at every step (`objectives.gaussian_kl`), and ln |dx/dz| is
the sum of ln scale. It follows that one flow, or any number of them in the same order of time, cannot represent a
teacher whose next sample is not normal: its KL stays above that of the best normal distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..reference import StackWeights, residual_stack
from ..runtime.dispatch import choose
from ..stack import operator

START = 0.05  # the scale of an untrained flow: one of 1 would begin far louder than any wave


class GaussianFlow(nn.Module):
    """A flow on the residual stack; the output is linear in the gated activations of its layers."""

    def __init__(
        self,
        channels: int = 32,
        kernel_size: int = 2,
        dilations: Sequence[int] = (1, 2, 4, 8, 16, 32),
        condition_channels: int = 0,
        scale: float = START,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.dilations, self.backend = tuple(dilations), backend
        layers = len(self.dilations)
        shapes = {
            "front": (1, channels),
            "dilated_weight": (layers, kernel_size, channels, 2 * channels),
            "residual_weight": (layers - 1, channels, channels),
            "condition_weight": (layers, condition_channels, 2 * channels),
        }
        inputs = {"front": 1, "dilated_weight": kernel_size * channels, "residual_weight": layers * channels}
        self.drawn = nn.ParameterDict(
            {
                name: torch.randn(shape) * inputs.get(name, max(1, condition_channels)) ** -0.5
                for name, shape in shapes.items()
            }
        )
        self.skip_weight = nn.Parameter(torch.zeros(layers, channels, 2))
        self.dilated_bias = nn.Parameter(torch.zeros(layers, 2 * channels))
        self.residual_bias = nn.Parameter(torch.zeros(layers - 1, channels))
        self.skip_bias = nn.Parameter(torch.tensor([0.0, math.log(scale)]))

    def forward(self, z: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Noise [B, T], condition [B, T, C] -> x, mean and ln scale, [B, T] each."""
        past = nn.functional.pad(z[:, :-1], (1, 0))
        x = past[..., None] @ self.drawn["front"]
        weights = StackWeights(
            self.drawn["dilated_weight"],
            self.dilated_bias,
            self.drawn["residual_weight"],
            self.residual_bias,
            self.skip_weight,
            self.skip_bias,
            None if condition is None else self.drawn["condition_weight"],
        )
        backend = choose("training", self.backend, operator.products_of(x), x.device.type).name
        if backend == "reference":
            out, _ = residual_stack(x, weights, self.dilations, condition)
        else:
            out = operator.residual_stack(x, weights, self.dilations, condition, backend=backend)
        mean, log_scale = out.unbind(-1)
        return mean + log_scale.exp() * z, mean, log_scale
