"""A config cannot contradict itself, and its figures are the published ones."""

import json

import pytest

from fastwave import ConfigError, WaveNetConfig, dilation_cycle
from fastwave.config import PRESETS


@pytest.mark.parametrize(
    ("name", "weights", "mflop", "field"),
    [
        ("ref", 0.87e6, 1.74, 2047),
        ("small", 0.23e6, 0.46, 2047),
        ("large", 3.6e6, 7.1, 3070),
        ("vocoder", 3.6e6, 7.3, 505),
        ("music8x10", 1.2e6, 2.4, 8185),
    ],
)
def test_presets_have_the_stated_size_work_and_receptive_field(name, weights, mflop, field):
    config = WaveNetConfig.preset(name)
    assert config.weights_read_per_sample == pytest.approx(weights, rel=0.03)
    assert config.flop_per_sample / 1e6 == pytest.approx(mflop, rel=0.03)
    assert config.receptive_field == field


def test_receptive_field_counts_front_kernel_and_every_tap():
    config = WaveNetConfig(kernel_size=3, front_kernel=4, dilations=(1, 5, 7))
    assert config.receptive_field == 1 + 3 + 2 * 13
    assert config.history_slots == (2, 10, 14)
    assert config.receptive_field_ms == pytest.approx(1000 * 30 / 16_000)
    assert WaveNetConfig(codec="bytes", sample_rate=0).receptive_field_ms is None


def test_dilation_cycle_repeats_powers_of_two():
    assert dilation_cycle(3, 2) == (1, 2, 4, 1, 2, 4)
    with pytest.raises(ConfigError, match="depth"):
        dilation_cycle(0, 1)


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip_is_exact(name):
    config = WaveNetConfig.preset(name)
    assert WaveNetConfig.from_dict(json.loads(config.to_json())) == config


def test_widths_left_out_follow_the_stream_and_the_skips():
    config = WaveNetConfig(residual_channels=24, skip_channels=48)
    assert (config.gate_channels, config.head_channels) == (24, 48)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"residual_channels": 0}, "residual_channels must be 1"),
        ({"residual_channels": 1.5}, "residual_channels must be an integer"),
        ({"residual_channels": True}, "residual_channels must be an integer"),
        ({"kernel_size": 1}, "kernel_size must be 2"),
        ({"dilations": ()}, "number of dilations"),
        ({"dilations": (0,)}, "dilation must be 1"),
        ({"dilations": "12"}, "list of at most"),
        ({"dilations": (2**24,)}, "receptive field"),
        ({"codec": "vorbis"}, "vorbis"),
        ({"codec": "pcm", "classes": 0}, "needs 'mixture-of-logistics'"),
        ({"codec": "bytes"}, "no sample_rate"),
        ({"sample_rate": 0}, "sample_rate must be 1"),
        ({"output": "student-t"}, "student-t"),
        ({"output": "gaussian"}, "need 'categorical'"),
        ({"mixtures": 3}, "has no meaning"),
        ({"codec": "pcm", "classes": 0, "output": "mixture-of-logistics"}, "mixtures must be 1"),
        ({"speaker_channels": 4}, "speaker_channels must be 0..0"),
        ({"speakers": 3}, "speaker_channels, the width"),
        ({"hop": 4}, "without local features"),
        ({"condition_channels": 2, "upsampling": "cubic"}, "cubic"),
        ({"condition_channels": 2, "hop": 6, "upsampling": "learned", "upsample_scales": (2, 2)}, "not to hop=6"),
        ({"condition_channels": 2, "hop": 4, "upsample_scales": (2, 2)}, "no meaning"),
        ({"upsampling": "learned", "upsample_scales": (1,)}, "without local features"),
    ],
)
def test_contradictions_are_refused_with_the_field_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        WaveNetConfig(**fields)


def test_unknown_fields_and_presets_are_refused_by_name():
    with pytest.raises(ConfigError, match="'flavour'"):
        WaveNetConfig.from_dict({"flavour": 1})
    with pytest.raises(ConfigError, match="reff"):
        WaveNetConfig.preset("reff")


def test_a_preset_takes_changes():
    assert WaveNetConfig.preset("ref", kernel_size=3).kernel_size == 3
