"""A training step by several means: plain PyTorch, the same compiled, and the fused stack; and the memory of each.

python bench/training.py fused float32 ref 2 8192    # prints the peak memory of one step on the CPU, in bytes
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from fastwave import WaveNet, WaveNetConfig, conditioning, reference
from fastwave.distributions import negative_log_likelihood
from fastwave.engine.example import example
from fastwave.stack import buffers, operator
from fastwave.stack.head import head_loss

MEANS = {
    "eager": "eager",
    "compiled": "torch.compile",
    "fused": "fused, activations saved",
    "recompute": "fused, activations recomputed",
}
COUNT = 64  # stretches: a mean over all samples hides errors that cancel, and is near by luck
STRETCHES = f"nats of {COUNT} stretches"
FUSED = {"cpu": "cpu", "cuda": "triton"}
STATUS = Path("/proc/self/status")


@dataclasses.dataclass(frozen=True)
class Window:
    """What all means of one comparison train on."""

    name: str  # of the shape
    config: WaveNetConfig
    batch: int
    steps: int
    device: str = "cpu"

    def inputs(self, dtype: torch.dtype = torch.float32) -> tuple[Tensor, dict[str, Tensor]]:
        """Tokens [batch, steps + 1], so that `steps` of them are targets, and conditioning."""
        tokens, features = example(self.config, self.steps + 1, self.batch)
        return self._placed(tokens, dtype), {name: self._placed(value, dtype) for name, value in features.items()}

    def _placed(self, values: Tensor, dtype: torch.dtype) -> Tensor:
        return values.to(self.device, dtype if values.is_floating_point() else None)

    def model(self, backend: str = "reference", recompute: bool = False) -> WaveNet:
        """The same weights each time."""
        torch.manual_seed(0)
        return WaveNet(self.config, backend=backend, recompute=recompute).to(self.device)


class Step:
    """One of MEANS, with products in `dtype`: its own copy of the model, and an optimiser."""

    def __init__(self, means: str, dtype: str, window: Window) -> None:
        self.means, self.dtype, self.window = means, dtype, window
        exact = dtype == "float64"
        self.tokens, self.features = window.inputs(torch.float64 if exact else torch.float32)
        plain = means in ("eager", "compiled")
        self.model = window.model("reference" if plain else FUSED[window.device], means == "recompute")
        self.model = self.model.double() if exact else self.model
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self._by_autograd = plain
        self._nats = torch.compile(self._plain_nats, dynamic=False) if means == "compiled" else self._plain_nats

    def run(self) -> None:
        """A whole step."""
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()

    def loss(self) -> Tensor:
        with self.precision():
            if self._by_autograd:
                return self._nats(self.tokens, **self.features).mean()
            return self.model.loss(self.tokens, **self.features)

    def precision(self) -> contextlib.AbstractContextManager[object]:
        return torch.autocast(self.window.device, torch.bfloat16, enabled=self.dtype == "bfloat16")

    def results(self) -> dict[str, Tensor]:
        """The loss, and what it is the mean of: nats of short stretches."""
        with torch.no_grad(), self.precision():
            if self._by_autograd:
                nats = self._nats(self.tokens, **self.features)
                return {"loss": nats.mean(), STRETCHES: nats.reshape(COUNT, -1).mean(1)}
            return {"loss": self.model.loss(self.tokens, **self.features), STRETCHES: self._stretches_of_loss()}

    def _plain_nats(self, tokens: Tensor, **features: Tensor) -> Tensor:
        out = self.model(tokens[:, :-1], **features)
        return negative_log_likelihood(self.window.config.output, out, tokens[:, 1:])

    def _stretches_of_loss(self) -> Tensor:
        """As `model.loss` computes them, from one skip sum."""
        given = self.features.get("condition"), self.features.get("speaker")
        skip_sum = self.model._skip_sum(self.tokens[:, :-1], *given, first=0, excitation=None)
        parts = zip(skip_sum.flatten(0, 1).chunk(COUNT), self.tokens[:, 1:].flatten().chunk(COUNT), strict=True)
        output, head = self.window.config.output, self.model._head()
        even = torch.full((1, skip_sum.shape[0] * skip_sum.shape[1] // COUNT), 1.0, device=skip_sum.device)
        backend, products = FUSED[self.window.device], operator.products_of(skip_sum)
        losses = [
            head_loss(output, part[None], head, target[None], even / even.numel(), backend, products)
            for part, target in parts
        ]
        return torch.stack(losses)


class Stack:
    """The forward pass of the residual stack alone, as in training: what the backward pass needs is saved."""

    def __init__(self, step: Step) -> None:
        self.step, config = step, step.window.config
        parameters = dict(step.model.named_parameters())
        tokens, features = step.tokens[:, :-1], (step.features.get("condition"), step.features.get("speaker"))
        with torch.no_grad():
            prepared = conditioning.prepare(config, *features, *tokens.shape)
            condition = conditioning.vectors(config, parameters, prepared, 0, tokens.shape[1])
            x = reference.front(tokens, parameters["front.weight"])
        self.x, self.weights = x.requires_grad_(), reference.stack_weights(parameters)
        self.dilations, self.condition = config.dilations, condition

    def run(self) -> Tensor:
        """-> skip sum"""
        with self.step.precision():
            if self.step.means == "eager":
                return reference.residual_stack(self.x, self.weights, self.dilations, self.condition)[0]
            backend, recompute = FUSED[self.step.window.device], self.step.means == "recompute"
            return operator.residual_stack(
                self.x, self.weights, self.dilations, self.condition, backend=backend, recompute=recompute
            )

    def results(self) -> dict[str, Tensor]:
        """The skip sum, and the gradients of x and of all weights under a drawn gradient of it.

        Not those of the loss: where an input of the head's relu is within rounding of zero, as one in millions is, its
        gradient is there or not, and the rarest class of the front layer shows it by one percent.
        """
        skip_sum = self.run()
        generator = torch.Generator().manual_seed(1)
        drawn = torch.randn(skip_sum.shape, generator=generator, dtype=torch.float64)
        tensors = {**self.weights._asdict(), "x": self.x}
        tensors = {name: each for name, each in tensors.items() if each is not None and each.numel()}
        gradients = torch.autograd.grad(skip_sum, list(tensors.values()), drawn.to(skip_sum))
        named = {f"gradient of {name}": each for name, each in zip(tensors, gradients, strict=True)}
        return {"skip sum": skip_sum.detach(), **named}


def exact(window: Window) -> dict[str, Tensor]:
    """What Step.results and Stack.results have, in float64."""
    step = Step("eager", "float64", window)
    return {**step.results(), **Stack(step).results()}


def peak_memory(step: Step) -> int:
    """Bytes that a step needs beyond what is held before it: weights and the optimiser's state.

    On a CPU every means in a fresh process, so that none finds memory that another left; what native code takes for
    itself counts there like everything else.
    """
    window = step.window
    if window.device == "cpu":
        sizes = (window.name, str(window.batch), str(window.steps))
        command = [sys.executable, __file__, step.means, step.dtype, *sizes]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    step.run()
    step.optimizer.zero_grad()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step.run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def peak_memory_here(step: Step) -> int:
    """The same of this process, on Linux: its peak in physical memory during a step that follows another."""
    step.run()  # makes the optimiser's state, loads libraries, compiles
    step.optimizer.zero_grad()
    buffers.release()
    ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory, which the step would find without a trace
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    step.run()
    return resident("VmHWM") - before


def resident(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    return 1024 * next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(field))


if __name__ == "__main__":
    torch.set_num_threads(1)
    means, dtype, preset, batch, steps = sys.argv[1:]
    window = Window(preset, WaveNetConfig.preset(preset), int(batch), int(steps))
    print(peak_memory_here(Step(means, dtype, window)))
