"""WaveNet: the parameters of `reference.py` as a module, its loss, and checkpoints."""

from __future__ import annotations

import math
import os

import torch
from torch import Tensor, nn

from . import checkpoint, conditioning, reference, upsampling
from .config import WaveNetConfig
from .errors import InputError
from .runtime.dispatch import choose
from .stack import eager, operator
from .stack.head import head_loss
from .stack.sizes import StackSizes

HEAD = ("head.0.weight", "head.0.bias", "head.1.weight", "head.1.bias")
SMOOTH_COSINES = 6  # of the first layer's table for sound: the shortest wave is as long as 40% of the classes
_GATED_POWER = 0.13  # mean of (tanh(a) * sigmoid(b))^2 for unit normal a and b


class WaveNet(nn.Module):
    """A WaveNet of a given shape. Each parameter is one tensor for all layers, under its name in docs/spec.md.

    `backend` chooses what computes the residual stack and, in `loss`, the head: auto, reference, cpu or triton; auto
    chooses by the device and the dtype of each call. `dispatch.HEADS` lists what computes the head in `loss`. PyTorch
    computes the first layer, the conditioning and the head of `forward` on every backend. `recompute` saves memory:
    only the input of every layer is saved for the backward pass, which computes the gated activation z (triton) or its
    factors tanh and sigmoid (cpu) again.
    """

    def __init__(self, config: WaveNetConfig, backend: str = "auto", recompute: bool = False) -> None:
        super().__init__()
        self.config = config
        choose("training", backend)  # refuses a backend that cannot run on this machine
        self.backend, self.recompute = backend, recompute
        for name, shape in config.parameter_shapes().items():
            *groups, leaf = name.split(".")
            owner: nn.Module = self
            for group in groups:
                if group not in owner._modules:
                    owner.add_module(group, nn.Module())
                owner = owner._modules[group]  # type: ignore[assignment]
            owner.register_parameter(leaf, nn.Parameter(torch.empty(shape)))
        if not self.get_parameter("front.weight").is_meta:  # normal_ there would import torch._dynamo: 2 s
            self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw new weights. Activations start near unit variance for any width, depth and number of taps, so that they
        neither vanish nor grow from layer to layer. The output starts near uniform, so that the first loss is that of a
        blind guess. The first layer's table of sound starts smooth.
        """
        config = self.config
        gated = config.layers * config.gate_channels  # channels of z, all layers together
        scales = {
            "front": config.front_kernel**-0.5,
            "excitation": max(1, config.excitation_channels) ** -0.5,
            "speaker": 1.0,
            "dilated": (config.kernel_size * config.residual_channels) ** -0.5,
            "condition": max(1, config.condition_channels) ** -0.5,
            "residual": gated**-0.5,  # all layers together add 13% to the power of x
            "skip": (_GATED_POWER * gated) ** -0.5,  # the skip sum is one matrix product with L*G inputs
            "head.0": (2 / config.skip_channels) ** 0.5,
            "head.1": 0.1 * config.head_channels**-0.5,
        }
        for name, parameter in self.named_parameters():
            role, leaf = name.rsplit(".", 1)
            if role.startswith("upsample"):
                self._start_upsampling(parameter, role, leaf)
            elif leaf == "bias":
                parameter.zero_()
            else:
                parameter.normal_(0.0, scales[role])
        if config.codec_object.is_audio and config.classes:
            for tap in self.get_parameter("front.weight"):
                tap.copy_(_smoothed(tap))
        self._spread_output_bias()

    def _start_upsampling(self, parameter: Tensor, role: str, leaf: str) -> None:
        """`learned` starts as linear interpolation."""
        if leaf == "bias":
            parameter.zero_()
        elif self.config.upsampling == "stages":
            stage = self.config.upsample_stages[int(role.removeprefix("upsample."))]
            parameter.copy_(upsampling.starting_weight(stage, self.config.local_channels))
        else:
            parameter.copy_(conditioning.linear_interpolation_weight(parameter.shape[0] // 2, parameter.shape[1]))

    def _spread_output_bias(self) -> None:
        """Continuous outputs start as a broad distribution over [-1, 1]; a scale of 1 would reach far outside it."""
        config, bias = self.config, self.get_parameter("head.1.bias")
        if config.output == "mixture-of-logistics":
            m = config.mixtures
            bias[m : 2 * m] = (torch.arange(m) + 0.5) / m * 2 - 1
            bias[2 * m :] = -math.log(m) - 1
        elif config.output == "gaussian":
            bias[1] = -1.0

    def forward(
        self,
        tokens: Tensor,
        condition: object = None,
        speaker: object = None,
        first: int = 0,
        excitation: object = None,
    ) -> Tensor:
        """Outputs for every step: out[:, t] sees tokens up to t and predicts token t+1.

        tokens [B, T] int64 classes, or float for the pcm codec; condition [B, frames, C_local] or [frames, C_local],
        `hop` samples a frame; speaker ids [B] or vectors [B, C_speaker]; excitation [B, samples, E] or [samples, E], or
        a function that computes it -> [B, T, O]. tokens[:, 0] takes the conditioning and the excitation of sample
        `first`; before sample 0 the first frame is repeated, and the excitation is zero.
        """
        tokens = check_tokens(self.config, tokens)
        return reference.head(self._skip_sum(tokens, condition, speaker, first, excitation), *self._head())

    def loss(
        self,
        tokens: Tensor,
        condition: object = None,
        speaker: object = None,
        mask_warmup: bool = False,
        weight: Tensor | None = None,
        excitation: object = None,
    ) -> Tensor:
        """Mean nats a sample of predicting tokens[:, 1:] from what came before each: a scalar.

        mask_warmup leaves out targets whose past is shorter than the receptive field. `weight`, [B, n], makes it a
        weighted sum over the last n targets instead.
        """
        tokens = check_tokens(self.config, tokens)
        first = self.config.receptive_field if mask_warmup else 1
        if weight is not None:
            first = tokens.shape[1] - weight.shape[1]
        if not 1 <= first < tokens.shape[1]:
            raise InputError(f"this loss needs more than {max(1, first)} samples in time, got {tokens.shape[1]}.")
        skip_sum = self._skip_sum(tokens[:, :-1], condition, speaker, 0, excitation, first - 1)
        target = tokens[:, first:]
        if weight is None:
            precise = torch.float64 if skip_sum.dtype == torch.float64 else torch.float32
            weight = torch.full(target.shape, 1 / target.numel(), dtype=precise, device=target.device)
        backend, products = self._backend_for(skip_sum), operator.products_of(skip_sum)
        return head_loss(self.config.output, skip_sum, self._head(), target, weight, backend, products)

    def _skip_sum(
        self, tokens: Tensor, condition: object, speaker: object, first: int, excitation: object, wanted: int = 0
    ) -> Tensor:
        """The skip sum of every step from `wanted` on: [B, T - wanted, S]"""
        parameters = dict(self.named_parameters())
        batch, steps = tokens.shape
        prepared = conditioning.prepare(self.config, condition, speaker, batch, first + steps, excitation)
        c = conditioning.vectors(self.config, parameters, prepared, first, steps)
        weight = parameters["front.weight"]
        e = conditioning.excitation(prepared, weight, first, steps)
        more = parameters.get("excitation.weight"), parameters.get("front.bias"), self.config.front_activation
        x = reference.front(tokens, weight, None, e, *more)
        weights, dilations, backend = reference.stack_weights(parameters), self.config.dilations, self._backend_for(x)
        if backend == "reference":
            return reference.residual_stack(x, weights, dilations, c)[0][:, wanted:]
        return operator.residual_stack(
            x, weights, dilations, c, backend=backend, recompute=self.recompute, first=wanted
        )

    def _backend_for(self, x: Tensor) -> str:
        """The backend that computes with tensors such as `x`."""
        return choose("training", self.backend, operator.products_of(x), x.device.type).name

    def _head(self) -> tuple[Tensor, ...]:
        parameters = dict(self.named_parameters())  # not get_parameter: it refuses the tensors of functional_call
        return tuple(parameters[name] for name in HEAD)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], backend: str = "auto") -> WaveNet:
        """The model in a checkpoint folder, in the dtype it was saved in."""
        config, tensors = checkpoint.load(path)
        with torch.device("meta"):  # no memory and no random numbers for weights about to be replaced
            model = cls(config, backend)
        model.load_state_dict(tensors, assign=True)
        return model

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Write config.json, model.safetensors and a model card into a folder, each whole or not at all."""
        checkpoint.save(path, self.config, self.state_dict())

    def extra_repr(self) -> str:
        """What `print(model)` says beyond the parameter groups."""
        return f"{self.config.parameter_count:,} parameters, backend={self.backend}"


def _smoothed(rows: Tensor) -> Tensor:
    """What random rows for the classes of sound, [classes, channels], hold of the longest cosines over all classes.

    The variance stays, and rows are alike where amplitudes are: what is learned about one amplitude holds for its
    neighbours from the first step on, and loud ones are rare.
    """
    classes = rows.shape[0]
    place = (torch.arange(classes, device=rows.device) + 0.5) / classes
    number = torch.arange(min(SMOOTH_COSINES, classes), device=rows.device)
    basis = torch.cos(math.pi * place[:, None] * number).to(rows)
    basis = basis / basis.norm(dim=0)
    smooth: Tensor = basis / basis.norm(dim=1, keepdim=True) @ (basis.T @ rows)
    return smooth


def saved_bytes(config: WaveNetConfig, backend: str, samples: int, recompute: bool = False) -> int:
    """Bytes that a float32 training step holds between its forward and its backward pass: what the residual stack
    saves on this backend, and the gradient of the skip sum.
    """
    sizes = StackSizes(
        batch=1,
        time=samples,
        residual=config.residual_channels,
        gate=config.gate_channels,
        skip=config.skip_channels,
        condition=config.condition_channels,
        taps=config.kernel_size,
        layers=config.layers,
    )
    if backend == "reference":
        saved = eager.saved_by_autograd(sizes, torch.float32)
    else:
        saved = operator.kernels(backend).saved(sizes, torch.float32, "float32", recompute)
    tensors = [*saved, ((samples, config.skip_channels), torch.float32)]
    return sum(math.prod(shape) * dtype.itemsize for shape, dtype in tensors)


def check_tokens(config: WaveNetConfig, tokens: object) -> Tensor:
    """Tokens as a caller gave them -> [B, T], int64 classes, or float for scalar input."""
    if not isinstance(tokens, Tensor) or tokens.dim() != 2:
        got = list(tokens.shape) if isinstance(tokens, Tensor) else type(tokens).__name__
        raise InputError(f"tokens must be a tensor [batch, time], got {got}.")
    if config.scalar_input:
        if not tokens.is_floating_point():
            raise InputError(f"the {config.codec} codec takes a float waveform, got {tokens.dtype}.")
        return tokens
    if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
        raise InputError(
            f"the {config.codec} codec takes integer classes, got {tokens.dtype}: encode the waveform first."
        )
    # not on a GPU: the check would wait for the device, whose own bounds check finds a wrong class
    if tokens.numel() and tokens.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= config.classes:
            raise InputError(f"classes must be 0..{config.classes - 1}, got {low}..{high}.")
    return tokens.to(torch.int64)
