"""WaveNetConfig: what a model is, in numbers that cannot contradict each other. Letters as in docs/spec.md."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from . import codec as codecs
from .errors import ConfigError, did_you_mean
from .parameters import Parameters
from .sound import features as kinds
from .sound import loudness
from .upsampling import UpsampleStage, hop_of, stages_of

Output = Literal["categorical", "mixture-of-logistics", "gaussian"]
Upsampling = Literal["repeat", "linear", "learned", "stages"]
FrontActivation = Literal["none", "relu", "tanh"]

# Bounds that no real model meets and a damaged file soon does: they keep every product of sizes inside int64
# and refuse a config before anything is allocated for it.
MAX_CHANNELS = 65_536
MAX_LAYERS = 4_096
MAX_TAPS = 1_024
MAX_RECEPTIVE_FIELD = 2**24
MAX_SPEAKERS = 2**20
MAX_SAMPLE_RATE = 768_000


def dilation_cycle(depth: int = 10, stacks: int = 2) -> tuple[int, ...]:
    """1, 2, 4, ..., 2^(depth-1), the whole row `stacks` times."""
    if not (1 <= depth <= 24 and 1 <= stacks <= MAX_LAYERS):
        raise ConfigError(f"dilation_cycle(depth={depth}, stacks={stacks}): depth is 1..24, stacks 1..{MAX_LAYERS}.")
    return tuple(2**layer for layer in range(depth)) * stacks


@dataclasses.dataclass(frozen=True)
class WaveNetConfig:
    """One WaveNet. Frozen, validated on creation, exact in and out of JSON."""

    residual_channels: int = 64  # R: every layer reads and writes it, so it sets the cost
    gate_channels: int = 0  # G, one half; 0 stands for R
    skip_channels: int = 256  # S: wide, because it is all the head sees
    head_channels: int = 0  # H; 0 stands for S
    kernel_size: int = 2  # K
    front_kernel: int = 1  # K0; 1 is a plain embedding
    dilations: tuple[int, ...] = dilation_cycle()
    codec: str = "mu-law"
    classes: int = 256  # A; 0 for the pcm codec, which has none
    sample_rate: int = 16_000  # samples a second; 0 for text
    output: Output = "categorical"
    mixtures: int = 0  # M, mixture-of-logistics only
    condition_channels: int = 0  # C: local features and speaker vector together
    speaker_channels: int = 0  # the part of C that is a speaker (or any global) vector
    speakers: int = 0  # speaker ids with a learned vector; 0: the caller passes the vector itself
    hop: int = 1  # samples a frame of local features
    upsampling: Upsampling = "repeat"
    upsample_scales: tuple[int, ...] = ()  # learned only; their product is the hop
    codec_parameters: Mapping[str, Any] = Parameters()  # that are not the defaults: see codec.MuLaw and Pcm
    # How local features are made from a file; a mapping with a kind and its parameters becomes one of sound/features.
    # None where there are none, or where it is not known: a model saved by an early fastwave does not say.
    features: kinds.Features | None = None
    normalize: loudness.Normalize = "off"  # the level that every file of the training data was brought to
    speaker_names: tuple[str, ...] = ()  # of the speakers, in the order of their ids; empty where they have none
    excitation_channels: int = 0  # E: values of each sample that enter the first layer alone
    front_bias: bool = False  # scalar input only: with classes it would be part of every embedding
    upsample_stages: tuple[UpsampleStage, ...] = ()  # stages only; the product of their strides is the hop
    front_activation: FrontActivation = "none"  # behind the first layer, before the excitation is added

    def __post_init__(self) -> None:
        for name in ("dilations", "upsample_scales"):
            object.__setattr__(self, name, _integers(name, getattr(self, name)))
        for field in dataclasses.fields(self):
            if field.type == "int":
                _require_integer(field.name, getattr(self, field.name))
        if self.gate_channels == 0:
            object.__setattr__(self, "gate_channels", self.residual_channels)
        if self.head_channels == 0:
            object.__setattr__(self, "head_channels", self.skip_channels)
        self._check_codec()
        self._check_stack()
        self._check_output()
        self._check_condition()
        self._check_speaker_names()
        self._check_features()

    # What follows from the fields

    @property
    def layers(self) -> int:
        """L."""
        return len(self.dilations)

    @property
    def receptive_field(self) -> int:
        """How many input samples, the newest included, one output depends on."""
        return 1 + (self.front_kernel - 1) + (self.kernel_size - 1) * sum(self.dilations)

    @property
    def receptive_field_ms(self) -> float | None:
        """The same in milliseconds; None where time has no rate (text)."""
        return 1000.0 * self.receptive_field / self.sample_rate if self.sample_rate else None

    @property
    def scalar_input(self) -> bool:
        """True when the waveform itself is the input, not a class."""
        return self.codec_object.scalar

    @property
    def codec_object(self) -> codecs.Codec:
        """The codec that `codec`, `classes` and `codec_parameters` name."""
        return codecs.by_name(self.codec, self.classes, self.codec_parameters)

    @property
    def output_channels(self) -> int:
        """O: A for categorical, 3M for M logistics, 2 for a Gaussian."""
        return {"categorical": self.classes, "mixture-of-logistics": 3 * self.mixtures, "gaussian": 2}[self.output]

    @property
    def local_channels(self) -> int:
        """The part of C that is local features."""
        return self.condition_channels - self.speaker_channels

    @property
    def history_slots(self) -> tuple[int, ...]:
        """Past inputs that each layer keeps while generating: exactly (K-1)*d."""
        return tuple((self.kernel_size - 1) * dilation for dilation in self.dilations)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every parameter of the model by name, in the order of the forward pass."""
        r, g, s, h = self.residual_channels, self.gate_channels, self.skip_channels, self.head_channels
        layers, taps, c = self.layers, self.kernel_size, self.condition_channels
        shapes: dict[str, tuple[int, ...]] = {"front.weight": (self.front_kernel, self.classes or 1, r)}
        if self.front_bias:
            shapes["front.bias"] = (r,)
        if self.excitation_channels:
            shapes["excitation.weight"] = (self.excitation_channels, r)
        if self.speakers:
            shapes["speaker.weight"] = (self.speakers, self.speaker_channels)
        if self.upsampling == "learned":
            for stage, scale in enumerate(self.upsample_scales):
                shapes[f"upsample.{stage}.weight"] = (2 * scale, self.local_channels, self.local_channels)
                shapes[f"upsample.{stage}.bias"] = (self.local_channels,)
        for number, upsample_stage in enumerate(self.upsample_stages):
            for leaf, shape in upsample_stage.parameter_shapes(self.local_channels).items():
                shapes[f"upsample.{number}.{leaf}"] = shape
        shapes["dilated.weight"] = (layers, taps, r, 2 * g)
        shapes["dilated.bias"] = (layers, 2 * g)
        if c:
            shapes["condition.weight"] = (layers, c, 2 * g)
        shapes["residual.weight"] = (layers - 1, g, r)
        shapes["residual.bias"] = (layers - 1, r)
        shapes["skip.weight"] = (layers, g, s)
        shapes["skip.bias"] = (s,)
        shapes["head.0.weight"] = (s, h)
        shapes["head.0.bias"] = (h,)
        shapes["head.1.weight"] = (h, self.output_channels)
        shapes["head.1.bias"] = (self.output_channels,)
        return shapes

    @property
    def parameter_count(self) -> int:
        """All of them."""
        return sum(math.prod(shape) for shape in self.parameter_shapes().values())

    @property
    def weights_read_per_sample(self) -> int:
        """Weights that one generated sample must touch: not the embedding tables (one row each), not the upsampler."""
        skipped = ("front.", "speaker.", "upsample.")
        shapes = self.parameter_shapes().items()
        return sum(math.prod(shape) for name, shape in shapes if not name.startswith(skipped))

    @property
    def flop_per_sample(self) -> int:
        """Floating-point operations of one generated sample: a multiply and an add for each weight read."""
        return 2 * self.weights_read_per_sample

    # In and out

    @classmethod
    def preset(cls, name: str, **changes: Any) -> WaveNetConfig:
        """A named shape (`PRESETS`), with fields changed by keyword."""
        if name not in PRESETS:
            hint = did_you_mean(name, PRESETS)
            raise ConfigError(f"preset {name!r} is not known; choose one of {', '.join(PRESETS)}.{hint}")
        return cls.from_dict({**PRESETS[name], **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values. `codec_parameters`, `features`, `upsample_stages` and what `_LEFT_OUT` names are left out
        where they are empty or as usual: files, saved states and runs of models without them stay what they were before
        these fields existed.
        """
        values: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, kinds.Features):
                values[field.name] = value.to_dict()
            elif field.name == "upsample_stages":
                values |= {field.name: [stage.to_dict() for stage in value]} if value else {}
            elif isinstance(value, Parameters):
                values |= {field.name: dict(value)} if value else {}
            elif value is not None and (field.name, value) not in _LEFT_OUT:
                values[field.name] = list(value) if isinstance(value, tuple) else value
        return values

    def to_json(self) -> str:
        """One line a field."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WaveNetConfig:
        """The inverse of `to_dict`. Fields that are absent take their defaults; unknown ones are refused."""
        if not isinstance(values, Mapping):
            raise ConfigError(f"a config is a JSON object, got {type(values).__name__}.")
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(str(key) for key in values if key not in known)
        if unknown:
            raise ConfigError(
                f"unknown config field {', '.join(map(repr, unknown))[:200]}; this version knows "
                f"{', '.join(sorted(known))}. The file may come from a newer fastwave, or from another project."
            )
        return cls(**values)

    # Validation

    def _check_codec(self) -> None:
        object.__setattr__(self, "codec_parameters", Parameters(self.codec_parameters))
        codec = self.codec_object  # refuses an unknown name or parameter, and a class count that does not fit it
        loudness.check(self.normalize)
        if self.normalize != "off" and not codec.is_audio:
            raise ConfigError(f"codec {self.codec!r} is text, which has no loudness: normalize must be off.")
        object.__setattr__(self, "codec_parameters", Parameters(codecs.parameters_of(codec)))

    def _check_stack(self) -> None:
        for field in ("residual_channels", "gate_channels", "skip_channels", "head_channels"):
            _require_range(field, getattr(self, field), 1, MAX_CHANNELS)
        _require_range("kernel_size", self.kernel_size, 2, MAX_TAPS)
        _require_range("front_kernel", self.front_kernel, 1, MAX_TAPS)
        _require_range("number of dilations", self.layers, 1, MAX_LAYERS)
        for dilation in self.dilations:
            _require_range("dilation", dilation, 1, MAX_RECEPTIVE_FIELD)
        _require_range("receptive field", self.receptive_field, 2, MAX_RECEPTIVE_FIELD)

    def _check_output(self) -> None:
        codec = self.codec_object
        if codec.is_audio:
            _require_range("sample_rate", self.sample_rate, 1, MAX_SAMPLE_RATE)
        elif self.sample_rate != 0:
            raise ConfigError(f"codec {self.codec!r} is text and has no sample_rate: give 0, not {self.sample_rate}.")
        _require_choice("output", self.output, get_args(Output))
        _require_choice("front_activation", self.front_activation, get_args(FrontActivation))
        if not isinstance(self.front_bias, bool) or (self.front_bias and not codec.scalar):
            raise ConfigError(
                f"front_bias is true or false, and true for the pcm codec only, got {str(self.front_bias)[:40]!r}: "
                "with classes, add it to the last tap of front.weight."
            )
        if codec.scalar == (self.output == "categorical"):
            raise ConfigError(
                f"codec {self.codec!r} with output {self.output!r}: pcm has no classes and needs "
                "'mixture-of-logistics' or 'gaussian'; codecs with classes need 'categorical'."
            )
        if self.output == "mixture-of-logistics":
            _require_range("mixtures", self.mixtures, 1, MAX_CHANNELS // 3)
        elif self.mixtures:
            raise ConfigError(f"mixtures={self.mixtures} has no meaning for output {self.output!r}: leave it 0.")

    def _check_condition(self) -> None:
        _require_range("condition_channels", self.condition_channels, 0, MAX_CHANNELS)
        _require_range("speaker_channels", self.speaker_channels, 0, self.condition_channels)
        _require_range("speakers", self.speakers, 0, MAX_SPEAKERS)
        _require_range("excitation_channels", self.excitation_channels, 0, MAX_CHANNELS)
        _require_range("hop", self.hop, 1, MAX_RECEPTIVE_FIELD)
        if self.speakers and not self.speaker_channels:
            raise ConfigError(f"speakers={self.speakers} needs speaker_channels, the width of a speaker's vector.")
        if self.hop > 1 and not self.local_channels:
            raise ConfigError(f"hop={self.hop} without local features: raise condition_channels or leave hop at 1.")
        _require_choice("upsampling", self.upsampling, get_args(Upsampling))
        if self.upsampling == "learned":
            if not self.local_channels:
                raise ConfigError("upsampling 'learned' without local features: raise condition_channels.")
            _require_range("number of upsample_scales", len(self.upsample_scales), 1, 24)
            for scale in self.upsample_scales:
                _require_range("upsample scale", scale, 1, MAX_RECEPTIVE_FIELD)
            if math.prod(self.upsample_scales) != self.hop:
                raise ConfigError(
                    f"upsample_scales={self.upsample_scales} multiply to {math.prod(self.upsample_scales)}, "
                    f"not to hop={self.hop}."
                )
        elif self.upsample_scales:
            raise ConfigError(f"upsample_scales has no meaning for upsampling {self.upsampling!r}: leave it empty.")
        self._check_stages()

    def _check_stages(self) -> None:
        stages = stages_of(self.upsample_stages)
        object.__setattr__(self, "upsample_stages", stages)
        if self.upsampling != "stages":
            if stages:
                raise ConfigError(f"upsample_stages has no meaning for upsampling {self.upsampling!r}: leave it empty.")
            return
        if not stages or not self.local_channels:
            raise ConfigError("upsampling 'stages' needs local features (condition_channels) and upsample_stages.")
        if hop_of(stages) != self.hop:
            raise ConfigError(f"the strides of upsample_stages multiply to {hop_of(stages)}, not to hop={self.hop}.")

    def _check_speaker_names(self) -> None:
        names = self.speaker_names
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"speaker_names must be a list of names, got {str(names)[:80]!r}.")
        if names and (len(names) != self.speakers or len(set(names)) != len(names)):
            raise ConfigError(f"speaker_names must be {self.speakers} different names, got {str(names)[:80]}.")
        object.__setattr__(self, "speaker_names", tuple(names))

    def _check_features(self) -> None:
        values: object = self.features
        if values is None:
            return
        features = values if isinstance(values, kinds.Features) else kinds.from_dict(values)
        object.__setattr__(self, "features", features)
        if features.hears_sound and not self.codec_object.is_audio:
            raise ConfigError(f"features of kind {features.kind!r} are for sound, and codec {self.codec!r} is text.")
        features.check(self.sample_rate, self.hop)
        if features.width != self.local_channels:
            raise ConfigError(
                f"features of kind {features.kind!r} have {features.width} values a frame, but the model takes "
                f"{self.local_channels}: condition_channels less speaker_channels must be as wide."
            )


_SAVED_LATER = ("features", "speaker_names")
_LEFT_OUT: tuple[tuple[str, Any], ...] = (
    ("normalize", "off"),
    ("speaker_names", ()),
    ("excitation_channels", 0),
    ("front_bias", False),
    ("front_activation", "none"),
)


def differences(now: Mapping[str, Any], saved: object) -> list[str]:
    """What differs between two configs as JSON values: "classes was 256, now 64" for every such field.

    A saved config without `features` or `speaker_names` agrees with any: early versions of fastwave did not save them.
    """
    if not isinstance(saved, Mapping):
        return [f"the config was {type(saved).__name__}, now an object"]
    values = json.loads(json.dumps(now))  # tuples become lists
    names = [*values, *sorted(str(name) for name in saved if name not in values)]
    usual = {name: value for name, value in _LEFT_OUT if name not in _SAVED_LATER}
    return [
        f"{name} was {saved.get(name, usual.get(name))}, now {values.get(name, usual.get(name))}"
        for name in names
        if saved.get(name) != values.get(name) and (name not in _SAVED_LATER or saved.get(name) is not None)
    ]


def _require_integer(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} must be an integer, got {str(value)[:80]!r} ({type(value).__name__}).")


def _require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} {str(value)[:80]!r} is not known; choose one of {', '.join(choices)}.")


def _require_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} must be {low}..{high}, got {str(value)[:80]}.")


def _integers(name: str, values: object) -> tuple[int, ...]:
    if not isinstance(values, (list, tuple)) or len(values) > MAX_LAYERS:
        raise ConfigError(f"{name} must be a list of at most {MAX_LAYERS} integers, got {str(values)[:80]}.")
    for value in values:
        _require_integer(f"an element of {name}", value)
    return tuple(values)


# The reference shapes: benches, docs and tests use these names.
PRESETS: dict[str, dict[str, Any]] = {
    "ref": {"residual_channels": 64, "skip_channels": 256, "dilations": dilation_cycle(10, 2)},
    "small": {"residual_channels": 32, "skip_channels": 128, "dilations": dilation_cycle(10, 2)},
    "large": {"residual_channels": 128, "skip_channels": 256, "dilations": dilation_cycle(10, 3)},
    "vocoder": {
        "residual_channels": 128,
        "skip_channels": 128,
        "kernel_size": 3,
        "dilations": dilation_cycle(6, 4),
        "codec": "pcm",
        "classes": 0,
        "output": "mixture-of-logistics",
        "mixtures": 10,
        "condition_channels": 80,
        "hop": 256,
        "upsampling": "linear",
    },
    "music8x10": {"residual_channels": 32, "skip_channels": 256, "dilations": dilation_cycle(10, 8)},
}
