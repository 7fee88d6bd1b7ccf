"""Distilling a Gaussian WaveNet into a flow, as a task of the training loop.

The student draws a window of sound, and the teacher says of every sample of it what it would have drawn there itself,
after the same past: a normal distribution each, so their KL is a closed form (`objectives.gaussian_kl`). Only the
student learns; gradients reach it through the teacher, whose past is the student's own sound. The KL alone is content
with a whisper, which a teacher may find likely sample by sample: the magnitudes of the recording's spectrogram are
asked for as well.

A sample of the student's wave is normal after the noise of those before it: network.py makes such an excitation, and
the filters of the frames, which ring forwards only, keep it so. ln of its scale is that of the excitation plus ln of
what the filters make of a sample at its own time.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import ConfigError, InputError
from ..model import WaveNet
from ..sound.features import Mel
from ..training.settings import Settings
from ..vocoder.frames import Frames
from . import checkpoint, objectives
from .config import MOST_DITHER, StudentConfig
from .data import StudentData
from .network import ParallelWaveNet
from .prior import gain, shaped
from .task import Batch, StudentTask

DITHER = 5e-4  # of the recordings: -66 dB
VOICED_TO = 4500.0  # Hz: what a flow makes of pulses above was not tried


@dataclasses.dataclass(frozen=True)
class Weights:
    """Of the two parts of the loss. Without the KL, which is the control, the teacher is not asked."""

    kl: float = 1.0  # nats a sample
    power: float = 2.0  # `objectives.power_distance`, which is 1 where one of two sounds is silent

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e6:
                raise ConfigError(f"the weight of {name} is a number 0..1,000,000, got {str(value)[:80]!r}.")
        if not self.kl and not self.power:
            raise ConfigError("with both weights 0 there is nothing to learn: give --kl or --power.")


def student_of(teacher: WaveNet, dither: float = DITHER) -> StudentConfig:
    """The student of a teacher: frames of the same bands, at the same rate."""
    config = teacher.config
    if config.output != "gaussian" or not config.scalar_input:
        raise InputError(
            f"this teacher's output is {config.output}: only one that draws from a normal distribution can be "
            "distilled. Train it with --features mel --set codec=pcm classes=0 output=gaussian."
        )
    if config.speaker_channels or config.excitation_channels:
        raise InputError("this teacher follows a speaker or an excitation: a student can be taught mel frames only.")
    mel = config.features
    if not isinstance(mel, Mel):
        follows = "no frames" if mel is None else f"frames of kind {mel.kind!r}"
        raise InputError(f"this teacher follows {follows}: a student can be taught mel frames only (--features mel).")
    frames = Frames(sample_rate=config.sample_rate, hop=config.hop, bands=mel.bands, window=mel.window)
    if mel.settings(config.sample_rate, config.hop) != frames.mel:
        changed = ", ".join(name for name in mel.changed() if name != "window")
        raise InputError(f"the mel frames of this teacher have their own {changed}, which those of a student have not.")
    if isinstance(dither, bool) or not 0 <= dither <= MOST_DITHER:
        raise InputError(f"--dither must lie in 0..{MOST_DITHER:g}, got {dither!r}.")
    return StudentConfig(frames, normalize=config.normalize, flow=True, dither=dither, voiced_to=VOICED_TO)


class DistillationTask(StudentTask):
    """Windows of what the student draws, each of them judged by the teacher."""

    kind: ClassVar[str] = "distillation"
    loss_name: ClassVar[str] = "loss"
    explosion_margin: ClassVar[float] = 2.0
    draws: ClassVar[int] = 1

    def __init__(
        self,
        data: StudentData,
        config: StudentConfig,
        settings: Settings,
        backend: str = "auto",
        *,
        teacher: WaveNet,
        weights: Weights | None = None,
    ) -> None:
        super().__init__(data, config, settings, backend)
        self.weights = weights or Weights()
        self.config = {
            **self.config,
            "teacher": checkpoint.digest(teacher.state_dict()),
            **dataclasses.asdict(self.weights),
        }
        self.teacher = WaveNet(teacher.config, backend)
        self.teacher.load_state_dict(teacher.state_dict())
        self.teacher.requires_grad_(False)
        past = -(-teacher.config.receptive_field // self.layout.hop)  # frames of the student's sound before a window
        self.ringing += past
        self.context = max(self.context, self.ringing + 1)  # the first filter reaches one hop back

    def loss(self, model: ParallelWaveNet, batch: Batch, targets: int) -> Tensor:  # type: ignore[override]
        """The weighted sum of both parts for each window, times its samples, over `targets`."""
        skip_sum = model.skip_sum(batch.excitation[:, 0], batch.conditions).float()
        with torch.autocast(skip_sum.device.type, enabled=False):
            kl, power = self.parts(model, batch, skip_sum)
            return (self.weights.kl * kl + self.weights.power * power).sum() * (batch.wave.shape[1] / targets)

    def parts(self, model: ParallelWaveNet, batch: Batch, skip_sum: Tensor) -> tuple[Tensor, Tensor]:
        """Of each window [B] the nats a sample, with what `objectives.regularised_kl` adds, and the power distance."""
        window = batch.wave.shape[1]
        made, mean, log_scale = self.drawn(model, batch, skip_sum)
        power = objectives.power_distance(batch.wave, made[:, -window:])
        if not self.weights.kl:
            return torch.zeros_like(power), power
        judged = self.judged(made, batch)
        kl = objectives.regularised_kl(mean[:, -window:], log_scale[:, -window:], judged[..., 0], judged[..., 1])
        return kl.mean(1), power

    def drawn(self, model: ParallelWaveNet, batch: Batch, skip_sum: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The student's sound with its past, and mean and ln scale of each sample after the noise before it."""
        hop, excitation = self.layout.hop, batch.excitation[:, 0]
        refined, log_scale = model.refined(excitation, skip_sum)
        assert log_scale is not None
        heard = slice(-(batch.filters.shape[1] + 1) * hop, None)
        window = self._window.to(refined)
        made = shaped(refined[:, heard], batch.filters, window)
        # the filters of the first hop fade in: its first sample is 0 whatever is drawn, and no scale has a logarithm
        made, inner = made[:, hop:], slice(heard.start + hop, -hop)
        log_scale = log_scale[:, inner] + gain(batch.filters, window)[:, hop:].log()
        return made, made - log_scale.exp() * excitation[:, 1, inner], log_scale

    def judged(self, made: Tensor, batch: Batch) -> Tensor:
        """The teacher's mean and ln scale of every sample of the window, after the student's sound: [B, window, 2]."""
        self.teacher.to(made.device)
        window, hop = batch.wave.shape[1], self.layout.hop
        steps = hop // self.model_config.squeeze
        # from the first sample of `made` on, and one frame more, towards which the last ones go
        frames = batch.conditions[:, ::steps, : self.layout.bands][:, -(made.shape[1] // hop + 1) :]
        first = made.shape[1] - window - self.teacher.config.receptive_field
        judged: Tensor = self.teacher(made[:, first:-1], frames, first=first)
        return judged[:, -window:]
