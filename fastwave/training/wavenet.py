"""Training a WaveNet on prepared data, as a task of the training loop."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import checkpoint
from ..config import WaveNetConfig
from ..data.shards import Data
from ..data.windows import Batch, Place, Windows
from ..errors import InputError
from ..model import WaveNet
from ..runtime.dispatch import choose
from .listen import Excerpt, render
from .settings import Settings
from .task import Sample, Task

CPU_TARGETS = 8192  # at a time, which stay nearer to the caches: 1.25 times faster at `small`
VALIDATION_ROWS = 4
# Half a second of speech costs 0.5 bits more or less than another (standard deviation), so the 24 of them that a short
# run validates on are 0.1 bits off. At its end it takes more: a minute, but at most a twelfth of what it was trained
# on, which takes some hundredths of its time.
LAST_TARGETS, LAST_SHARE = 1 << 20, 12
UNTRAINED_MARGIN = 0.5  # bits above white noise, within which every model starts
MATRICES = ("dilated.weight", "condition.weight", "residual.weight", "skip.weight", "head.0.weight")


class WaveNetTask(Task):
    """Windows of prepared data, scored in bits a sample."""

    kind: ClassVar[str] = "wavenet"
    loss_name: ClassVar[str] = "bits"
    loss_unit: ClassVar[float] = math.log(2)  # nats in a bit

    def __init__(
        self, data: Data, config: WaveNetConfig, settings: Settings, backend: str = "auto", start: str | None = None
    ) -> None:
        super().__init__(config.to_dict(), settings)
        _check_fits(data, config)
        self.data, self.model_config, self.backend, self.start = data, config, backend, start
        self.training = Windows(data, config, settings.window, settings.seed)
        self.held_out = Windows(data, config, settings.window, settings.seed, held_out=True)
        self.training.places(0, 1)  # refuses data without any window to train on
        _check_enough(self.training.targets, config)

    def build(self) -> WaveNet:
        """A WaveNet on the chosen backend, with new weights or those that it starts from."""
        model = WaveNet(self.model_config, self.backend, self.settings.recompute)
        if self.start is not None:
            model.load_state_dict(checkpoint.load(self.start)[1])
        return model

    def batch(self, step: int, rows: slice) -> tuple[Batch, int]:
        """The step's windows."""
        places = self.training.places(step, self.settings.batch)
        return self.training.batch(places[rows]), _targets(places)

    def loss(self, model: WaveNet, batch: Batch, targets: int) -> Tensor:  # type: ignore[override]
        """Nats of the targets that a window's file has, over `targets`."""
        return model.loss(batch.tokens, batch.frames, batch.speaker, False, batch.counted / targets)

    def export(self, average: Mapping[str, Tensor], folder: Path) -> None:
        """A checkpoint folder for `WaveNet.from_pretrained`."""
        self._model_of(average).save_pretrained(folder)

    def validation(self, rank: int, processes: int) -> Iterator[tuple[Batch, int]]:
        """About `settings.validation_targets` targets, a few windows at a time."""
        yield from self._validation(self.settings.validation_targets, rank, processes)

    def last_validation(self, rank: int, processes: int) -> Iterator[tuple[Batch, int]] | None:
        """On a minute of sound, or on all that is held out: so the ends of runs with other windows compare."""
        s = self.settings
        targets = max(s.validation_targets, min(LAST_TARGETS, s.steps * s.batch * self.training.window // LAST_SHARE))
        few = len(self.held_out.some(s.validation_targets))
        return None if len(self.held_out.some(targets)) == few else self._validation(targets, rank, processes)

    def _validation(self, targets: int, rank: int, processes: int) -> Iterator[tuple[Batch, int]]:
        places = self.held_out.some(targets)[rank::processes]
        for first in range(0, len(places), VALIDATION_ROWS):
            part = places[first : first + VALIDATION_ROWS]
            yield self.held_out.batch(part), _targets(part)

    def sample(self, average: Mapping[str, Tensor], run: Path, step: int, seconds_allowed: float) -> list[Sample]:
        """Sounds or texts, beside the start of the held-out data."""
        side = (self.held_out.sides or self.training.sides)[0]
        excerpt = Excerpt(self.data, self.model_config, side, self.settings.sample_seconds)
        return render(self._model_of(average), excerpt, run, step, self.settings.seed, seconds_allowed)

    def matrices(self) -> Collection[str]:
        """All but the tables of the first layer and the speakers, the upsampling, and the last layer."""
        return MATRICES

    def usual_micro_batch(self, device: torch.device) -> int:
        """About 8,000 targets at a time on a CPU."""
        return max(1, CPU_TARGETS // self.training.window) if device.type == "cpu" else 0

    def native(self, device: torch.device) -> bool:
        """Where the C++ backend is chosen."""
        return choose("training", self.backend, self.settings.precision, device.type).name == "cpu"

    def out_of_memory_advice(self) -> str:
        """A shorter window, or a smaller model."""
        return f"one window of {self.training.window} targets: give a smaller --window, or a smaller model."

    def failure(self, loss: float) -> str:
        """A loss above that of white noise, by more than a model that has learned nothing may have."""
        noise = float(self.data.index["white_noise_bits"])
        if not loss > noise + UNTRAINED_MARGIN:
            return ""
        return (
            f"the training has failed: it ended at {loss:.4g} bits, and white noise costs {noise:.4g}. Start anew, in "
            f"another --out, with a smaller --learning-rate than {self.settings.learning_rate:g}."
        )

    def data_digest(self) -> str:
        """Another one for other files, other settings, or another held-out side."""
        return self.data.digest()

    def data_summary(self) -> dict[str, Any]:
        """Files, samples, and the bits of a blind guess."""
        return self.data.summary()

    def _model_of(self, average: Mapping[str, Tensor]) -> WaveNet:
        model = WaveNet(self.model_config, "reference")
        missing = model.load_state_dict(average, strict=False)
        assert all(not model.get_parameter(name).numel() for name in missing.missing_keys)
        return model


def _targets(places: Sequence[Place]) -> int:
    return sum(place.last - place.first for place in places)


def _check_fits(data: Data, config: WaveNetConfig) -> None:
    preparation = data.preparation
    pairs = (
        ("codec", preparation.codec, config.codec),
        ("classes", preparation.classes, config.classes),
        ("codec parameters", dict(preparation.codec_parameters), dict(config.codec_parameters)),
        ("sample_rate", preparation.sample_rate, config.sample_rate),
        ("local feature channels", preparation.feature_channels if preparation.features else 0, config.local_channels),
        ("hop", preparation.hop if preparation.features else 1, config.hop),
        # a config that does not say how its features are made fits any
        ("features", preparation.feature_kind if config.features else None, config.features),
        ("speakers", len(data.speakers), config.speakers),
        ("normalize", preparation.normalize, config.normalize),
    )
    for name, prepared, wanted in pairs:
        if prepared != wanted:
            raise InputError(
                f"the prepared data have {name} {prepared}, the model {wanted}: prepare them for this model."
            )


def _check_enough(samples: int, config: WaveNetConfig) -> None:
    """Refuse data that are shorter than what the model looks back on."""
    least = config.receptive_field
    if samples >= least:
        return
    rate = config.sample_rate
    got, needed = (f"{count / rate:.3g} s" if rate else f"{count:,} characters" for count in (samples, least))
    usual = "Minutes of sound make a model" if rate else "Hundreds of thousands of characters make a model"
    raise InputError(
        f"there is too little to train on: {got} beside what is held out, and this model needs at least {needed}, "
        f"as far as it looks back. {usual}: give more files, or a smaller --preset."
    )
