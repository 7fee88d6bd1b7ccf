"""The gradients of one step: in micro-batches that fit in memory, in the precision of the settings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import TrainingError
from ..runtime import threads
from .parallel import Group
from .progress import Progress
from .task import Batch, Task

NO_MEMORY = ("can't allocate memory", "not enough memory")  # torch on a CPU, on Linux and on Windows


class Gradients:
    """Of a model in training. `shrunk(size, rows)` is called when micro-batches had to become smaller."""

    def __init__(self, task: Task, progress: Progress, group: Group, shrunk: Callable[[int, int], None]) -> None:
        self.task, self.progress, self.group, self._shrunk = task, progress, group, shrunk
        self._threads = threads.pytorch_on_one if task.native(group.device) else contextlib.nullcontext

    def compute(self, batch: Batch, targets: int) -> Tensor:
        """Set the gradients of this process's rows -> their share of the mean loss."""
        settings, device = self.task.settings, self.group.device
        share, c = self.group.share(settings.batch), self.progress.counters
        rows = share.stop - share.start
        while True:
            wanted = settings.micro_batch or self.task.usual_micro_batch(device) or rows
            size = min(c.micro_batch or rows, wanted, rows)
            try:
                for parameter in self.progress.parameters.values():
                    parameter.grad = torch.zeros_like(parameter)
                total = torch.zeros((), device=device)
                with self._threads():
                    for first in range(0, rows, size):
                        loss = self.loss(batch.rows(first, first + size).to(device), targets)
                        loss.backward()  # type: ignore[no-untyped-call]
                        total += loss.detach()
                return total
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                if size == 1:
                    advice = self.task.out_of_memory_advice()
                    raise TrainingError(f"out of memory with {advice} {str(error)[:200]}") from error
                c.micro_batch = (size + 1) // 2
            if device.type == "cuda":
                torch.cuda.empty_cache()
            self._shrunk(c.micro_batch, rows)

    def loss(self, batch: Batch, targets: int, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """The task's loss of the model, or of the model with other weights."""
        model = self.progress.model
        low = self.task.settings.precision == "bfloat16"
        with torch.autocast(self.group.device.type, torch.bfloat16, enabled=low):
            if weights is None:
                return self.task.loss(model, batch, targets)
            renamed = {f"model.{name}": value for name, value in weights.items()}
            loss: Tensor = functional_call(_Loss(self.task, model), renamed, (batch, targets))
            return loss


class _Loss(nn.Module):
    """The loss of a model as a module, which `functional_call` needs."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, batch: Batch, targets: int) -> Tensor:
        """As `Task.loss`."""
        return self.task.loss(self.model, batch, targets)


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in NO_MEMORY)
