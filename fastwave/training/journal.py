"""What happens in a run: JSON lines in its log, sentences on the terminal, and curves for TensorBoard if asked for."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError, TrainingError
from ..sound import plots
from .progress import Counters
from .saying import say

FILE = "log.jsonl"


class Journal:
    """Appends to RUN/log.jsonl. Processes that do not write pass no folder: their journals do nothing."""

    def __init__(self, run: Path | None, tensorboard: bool = False) -> None:
        self.run = run
        self._board = _board(run) if run is not None and tensorboard else None

    def write(self, event: str, counters: Counters, **values: Any) -> None:
        """Append a whole line. If a killed process left half a line, end that first."""
        if self.run is None:
            return
        when = {"step": counters.step, "elapsed": round(counters.elapsed, 3), "time": time.time()}
        line = json.dumps({"event": event, **when, **values})
        path = self.run / FILE
        try:
            with open(path, "a+b") as file:
                if file.tell():
                    file.seek(-1, 2)
                    if file.read(1) != b"\n":
                        line = "\n" + line
                file.write(line.encode() + b"\n")
        except OSError as error:
            raise TrainingError(
                f"cannot write {path}: {error.strerror or error}. The last checkpoint is intact; mend that and run the "
                "same command to resume."
            ) from error
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{event}/{name}", value, counters.step)
            self._board.flush()

    def announce(self, *sentences: str) -> None:
        """Print to the terminal, above the progress bar."""
        if self.run is not None:
            say(*sentences)

    def show(self, step: int, wave: Tensor, sample_rate: int) -> None:
        """Add a sound [T] and its spectrogram to TensorBoard."""
        if self._board is None:
            return
        levels = plots.spectrogram(wave.double().numpy(), sample_rate)
        image = plots.palette()[plots.shades(levels)]
        self._board.add_audio("sample", wave[None], step, sample_rate)
        self._board.add_image("spectrogram", image, step, dataformats="HWC")


def _board(run: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("TensorBoard is not installed: pip install 'fastwave[train]', or leave it out.") from error
    return SummaryWriter(str(run / "tensorboard"))
