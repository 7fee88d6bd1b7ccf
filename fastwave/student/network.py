"""ParallelWaveNet: the excitation of the prior, refined by a squeezed WaveNet.

    x[0, n]    = [the samples of step n of the excitation, and zeros up to R channels]
    refined    = excitation + REFINEMENT * skip sum

The residual stack is that of docs/spec.md with `squeeze` samples a step, the frames as condition, and as many skip
channels as samples: all steps are computed at once. It looks back only, so nothing is delayed. Skip weights start at
zero: an untrained student is its prior. The network works before the filter of the frames, where all frequencies are
about equally loud: behind it, any change of a loud frequency would be heard in the quiet ones.

A flow, which is what a distilled student is, makes each sample normal after the noise z of those before it:

    x[0, n]    = [the noise of step n - 1, the pulses of step n, and zeros up to R channels]
    refined[t] = pulses[t] + mean[t] + exp(log_scale[t]) * z[t] + sum of L[t, s] * z[s] over the s before t in its step

mean, log_scale and L are values of the skip sum, times REFINEMENT. Without L the samples of a step would be independent
of each other, which those of sound are not. A filter that rings forwards only comes behind: the wave is a flow too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..reference import StackWeights, residual_stack, stack_weights
from ..runtime.dispatch import choose
from ..stack import inference, operator
from . import checkpoint
from .config import StudentConfig

if TYPE_CHECKING:
    from .generator import StudentGenerator

REFINEMENT = 0.1  # a step of AdamW moves all skip weights by the same, and with 1 that is too far
MATRICES = ("dilated.weight", "condition.weight", "residual.weight")


class ParallelWaveNet(nn.Module):
    """A student of a given shape. `backend` is that of the residual stack in training, as `WaveNet` has it."""

    def __init__(self, config: StudentConfig | None = None, backend: str = "auto", recompute: bool = False) -> None:
        super().__init__()
        self.config = config or StudentConfig()
        choose("training", backend)  # refuses a backend that cannot run on this machine
        self.backend, self.recompute = backend, recompute
        for name, shape in self.config.parameter_shapes().items():
            role, leaf = name.split(".")
            if role not in self._modules:
                self.add_module(role, nn.Module())
            self.get_submodule(role).register_parameter(leaf, nn.Parameter(torch.empty(shape)))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw new weights; see the top of the file."""
        config = self.config
        scales = {
            "dilated": (config.kernel_size * config.residual_channels) ** -0.5,
            "condition": config.frames.width**-0.5,
            "residual": (len(config.dilations) * config.residual_channels) ** -0.5,
        }
        for name, parameter in self.named_parameters():
            role, leaf = name.split(".")
            if leaf == "bias" or role == "skip":
                parameter.zero_()
            else:
                parameter.normal_(0.0, scales[role])

    def forward(self, excitation: Tensor, condition: Tensor) -> Tensor:
        """excitation [B, T], of a flow [B, 3, T] as `Prior.flow_inputs` has it; condition [B, T / squeeze, width] ->
        refined, [B, T]; before them stand zeros.
        """
        return self.refined(excitation, self.skip_sum(excitation, condition))[0]

    def skip_sum(self, excitation: Tensor, condition: Tensor) -> Tensor:
        """What the residual stack makes of an excitation and its conditions, [B, T / squeeze, outputs]."""
        backend = choose("training", self.backend, operator.products_of(excitation), excitation.device.type).name
        x = self._entered(excitation)
        if backend == "reference":
            return residual_stack(x, self.weights, self.config.dilations, condition)[0]
        return operator.residual_stack(
            x, self.weights, self.config.dilations, condition, backend=backend, recompute=self.recompute
        )

    def refined(self, excitation: Tensor, skip_sum: Tensor) -> tuple[Tensor, Tensor | None]:
        """The excitation, refined, [B, T], and of a flow ln of the scale of every sample, [B, T]."""
        values, squeeze = REFINEMENT * skip_sum, self.config.squeeze
        if not self.config.flow:
            return excitation + values.reshape(excitation.shape), None
        pulses, z, _ = (each.reshape(len(excitation), -1, squeeze) for each in excitation.unbind(1))
        mean, log_scale = values[..., :squeeze], values[..., squeeze : 2 * squeeze]
        refined = pulses + mean + log_scale.exp() * z
        first = 2 * squeeze
        for place in range(squeeze - 1):  # what the samples behind this one owe to its noise
            last = first + squeeze - 1 - place
            owed = values[..., first:last] * z[..., place : place + 1]
            refined = refined + nn.functional.pad(owed, (place + 1, 0))
            first = last
        return refined.flatten(1), log_scale.flatten(1)

    @torch.no_grad()
    def refine(
        self,
        excitation: Tensor,
        condition: Tensor,
        history: Sequence[Tensor],
        backend: str,
        threads: int | None = None,
        products: str = "float32",
    ) -> tuple[Tensor, list[Tensor]]:
        """The same for a part that goes on from `history`, without gradients -> refined, and the next history."""
        skip_sum, following = inference.residual_stack(
            self._entered(excitation),
            self.weights,
            self.config.dilations,
            condition,
            history,
            backend=backend,
            threads=threads,
            products=products,
        )
        # each stream in the same shape: what torch computes of one is no matter of the others
        rows = range(len(excitation))
        return torch.cat([self.refined(excitation[i : i + 1], skip_sum[i : i + 1])[0] for i in rows]), following

    @property
    def weights(self) -> StackWeights:
        """Of the residual stack."""
        return stack_weights(dict(self.named_parameters()))

    def _entered(self, excitation: Tensor) -> Tensor:
        """The input of the first layer, [B, steps, R]."""
        squeeze, channels = self.config.squeeze, self.config.residual_channels
        parts = (excitation[:, 2], excitation[:, 0]) if self.config.flow else (excitation,)
        entering = torch.cat([each.reshape(len(each), -1, squeeze) for each in parts], dim=2)
        return nn.functional.pad(entering, (0, channels - entering.shape[2]))

    def generator(self, backend: str = "auto", dtype: str = "auto", threads: int | None = None) -> StudentGenerator:
        """What makes its samples, behind the protocol of generation; the arguments are those of `Engine`."""
        from .generator import StudentGenerator

        return StudentGenerator(self, backend, dtype, threads)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write a checkpoint folder of kind "student"."""
        checkpoint.save(folder, self.config, self.state_dict())

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], backend: str = "auto") -> ParallelWaveNet:
        """The student in a checkpoint folder."""
        config, tensors = checkpoint.load(path)
        model = cls(config, backend)
        model.load_state_dict(tensors)
        return model


def load(path: str | os.PathLike[str]) -> ParallelWaveNet:
    """For `fastwave.load`: the student in a checkpoint folder."""
    return ParallelWaveNet.from_pretrained(path)
