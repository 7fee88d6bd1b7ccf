"""The careful eager loop: what a good PyTorch programmer writes by hand, and the competitor of the CPU engine.

Preallocated rings, one addmv a product, no allocation that can be avoided. For two taps and classes, no conditioning.
"""

from __future__ import annotations

import torch

from fastwave import WaveNet, noise
from fastwave.distributions import sample


class EagerLoop:
    """One stream of a model, float32."""

    def __init__(self, model: WaveNet) -> None:
        config, p = model.config, {name: value.detach() for name, value in model.named_parameters()}
        r, g = config.residual_channels, config.gate_channels
        self.config, self.embedding = config, p["front.weight"][0]
        self.dilated = [weight.reshape(2 * r, 2 * g).T.contiguous() for weight in p["dilated.weight"]]
        self.dilated_bias = list(p["dilated.bias"])
        self.residual = [weight.T.contiguous() for weight in p["residual.weight"]]
        self.residual_bias = list(p["residual.bias"])
        self.skip = p["skip.weight"].reshape(-1, config.skip_channels).T.contiguous()
        self.heads = [(p[f"head.{i}.weight"].T.contiguous(), p[f"head.{i}.bias"]) for i in (0, 1)]
        self.skip_bias = p["skip.bias"]
        self.rings = [torch.zeros(dilation, r) for dilation in config.dilations]
        self.taps, self.z = torch.empty(2 * r), torch.empty(config.layers * g)
        self.time = 0

    def step(self, token: int) -> torch.Tensor:
        """Feed one token -> the output that predicts the next one, [O]."""
        r, g = self.config.residual_channels, self.config.gate_channels
        x = self.embedding[token]
        for layer, ring in enumerate(self.rings):
            slot = ring[self.time % len(ring)]
            self.taps[:r] = slot
            self.taps[r:] = x
            slot.copy_(x)
            a = torch.addmv(self.dilated_bias[layer], self.dilated[layer], self.taps)
            z = self.z[layer * g : (layer + 1) * g]
            torch.mul(torch.tanh(a[:g]), torch.sigmoid(a[g:]), out=z)
            if layer + 1 < len(self.rings):
                x = torch.addmv(self.residual_bias[layer], self.residual[layer], z).add_(x)
        self.time += 1
        hidden = torch.addmv(self.skip_bias, self.skip, self.z).relu_()
        (w0, b0), (w1, b1) = self.heads
        return torch.addmv(b1, w1, torch.addmv(b0, w0, hidden).relu_())

    @torch.inference_mode()
    def generate(self, token: int, count: int) -> None:
        """Draw `count` samples, each from the one before."""
        uniforms = noise(0, 0, self.time, count)
        for step in range(count):
            token = int(sample("categorical", self.step(token)[None], uniforms[step : step + 1]))
