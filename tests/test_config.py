"""A config cannot contradict itself, and its figures are the published ones."""

import copy
import dataclasses
import hashlib
import json
import math
import pickle

import pytest

from fastwave import ConfigError, WaveNetConfig, dilation_cycle
from fastwave.codec import MuLaw
from fastwave.config import PRESETS, differences
from fastwave.sound.features import Mel


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
        ({"excitation_channels": -1}, r"excitation_channels must be 0\.\.65536, got -1"),
        ({"excitation_channels": 65_537}, r"excitation_channels must be 0\.\.65536"),
        ({"excitation_channels": True}, "excitation_channels must be an integer"),
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


# Parameters of codecs and features


MEL = {"condition_channels": 8, "hop": 64, "features": {"kind": "mel", "bands": 8, "low": 60.0}}


def test_json_of_a_model_without_parameters_is_what_it_was_before_there_were_any():
    """Saved states hash these bytes, and weights files and runs hold them."""
    names = [field.name for field in dataclasses.fields(WaveNetConfig)]
    later = ["codec_parameters", "features", "normalize", "speaker_names", "excitation_channels"]
    assert names[-8:] == [*later, "front_bias", "upsample_stages", "front_activation"]
    assert list(WaveNetConfig().to_dict()) == names[:-8]
    for name in PRESETS:
        config = WaveNetConfig.preset(name, codec_parameters={})
        assert list(json.loads(config.to_json())) == names[:-8]
    digest = hashlib.sha256(WaveNetConfig.preset("ref").to_json().encode()).hexdigest()
    assert digest[:16] == "9614c55834a311dd"


def test_features_and_codec_parameters_come_back_from_json():
    config = WaveNetConfig(**MEL, codec_parameters={"rounding": "floor", "mu": 256})
    assert config.features == Mel(bands=8, low=60.0)
    assert config.codec_object == MuLaw(256, mu=256, rounding="floor")
    assert WaveNetConfig.from_dict(json.loads(config.to_json())) == config
    assert config.to_dict()["features"] == {
        "kind": "mel", "bands": 8, "window": 1024, "low": 60.0, "high": None, "floor": 1e-5,
    }  # fmt: skip
    assert config.to_dict()["codec_parameters"] == {"mu": 256, "rounding": "floor"}


def test_configs_can_be_hashed_and_those_that_mean_the_same_are_equal():
    same = [WaveNetConfig(), WaveNetConfig(codec_parameters={"mu": 255, "rounding": "round"})]
    assert same[0] == same[1] and hash(same[0]) == hash(same[1])
    other = WaveNetConfig(**MEL, codec_parameters={"mu": 256})
    assert other != same[0] and len({*same, other, copy.deepcopy(other), pickle.loads(pickle.dumps(other))}) == 2
    with pytest.raises(TypeError):
        other.codec_parameters["mu"] = 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"codec_parameters": {"nu": 3}}, "no parameter 'nu'; known are mu, encode_bins, rounding"),
        ({"codec_parameters": {"rounding": "up"}}, "'up' is not known: choose one of round, floor"),
        ({"codec_parameters": {"mu": -1}}, "mu must be a number"),
        ({"codec_parameters": {"mu": math.nan}}, "mu must be a number"),
        ({"codec_parameters": {"decode_bins": 1.5}}, "decode_bins must be a whole number"),
        ({"codec_parameters": {"silence_class": 256}}, r"silence_class must be a whole number 0\.\.255"),
        ({"codec_parameters": [1]}, "an object of names and values, got list"),
        ({"codec": "linear", "codec_parameters": {"mu": 3}}, "'linear' takes no parameters, got 'mu'"),
        ({"features": {"kind": "phones"}}, "'phones' is not known; known are array, mel"),
        ({"features": "mel"}, "an object with a kind"),
        ({**MEL, "features": {"kind": "mel"}}, "80 values a frame, but the model takes 8"),
        ({**MEL, "condition_channels": 12, "speaker_channels": 4, "hop": 2048}, "hop must be a whole number 1..1024"),
        ({**MEL, "features": {"kind": "mel", "bands": 8, "high": 9000}}, "low and high must keep"),
        ({**MEL, "features": {"kind": "mel", "bands": []}}, "bands must be a whole number"),
        ({**MEL, "features": {"kind": "array", "channels": True}}, "channels must be a whole number"),
        ({**MEL, "codec": "bytes", "sample_rate": 0}, "are for sound"),
        ({"codec_parameters": {"pre_emphasis": 1}}, r"pre_emphasis must be a number 0\.\.0\.99"),
        ({"normalize": "loud"}, "normalize is one of off, peak, loudness, got 'loud'"),
        ({"normalize": None}, "normalize is one of"),
        ({"normalize": "peak", "codec": "bytes", "sample_rate": 0}, "text, which has no loudness"),
    ],
)
def test_parameters_that_fit_no_model_are_refused_with_a_sentence(fields, message):
    with pytest.raises(ConfigError, match=message):
        WaveNetConfig(**fields)


def test_differences_name_every_field_and_forgive_only_features_that_were_never_saved():
    config = WaveNetConfig(**MEL, codec_parameters={"mu": 256})
    now = config.to_dict()
    assert differences(now, json.loads(config.to_json())) == []
    assert differences(now, {name: value for name, value in now.items() if name != "features"}) == []
    without = {name: value for name, value in now.items() if name != "codec_parameters"}
    assert differences(now, without) == ["codec_parameters was None, now {'mu': 256}"]
    assert differences(without, now) == ["codec_parameters was {'mu': 256}, now None"]
    bare = {name: value for name, value in now.items() if name != "features"}
    assert len(differences(bare, now)) == 1  # what was saved must not be forgotten
    assert differences(now, {**now, "classes": 64}) == ["classes was 64, now 256"]
    assert differences(now, None) == ["the config was NoneType, now an object"]


def test_the_level_of_the_data_comes_back_from_json_and_differs_from_a_config_without_one():
    config = WaveNetConfig(normalize="loudness")
    assert WaveNetConfig.from_dict(json.loads(config.to_json())) == config
    assert "normalize" not in WaveNetConfig(normalize="off").to_dict()
    old = WaveNetConfig().to_dict()
    assert differences(config.to_dict(), old) == ["normalize was off, now loudness"]
    assert differences(old, config.to_dict()) == ["normalize was loudness, now off"]


def test_excitation_channels_come_back_from_json_and_differ_from_a_config_without_them():
    config = WaveNetConfig.preset("small", excitation_channels=3)
    assert WaveNetConfig.from_dict(json.loads(config.to_json())) == config
    old = WaveNetConfig.preset("small")
    assert "excitation_channels" not in old.to_dict()
    assert differences(config.to_dict(), old.to_dict()) == ["excitation_channels was 0, now 3"]
    assert differences(old.to_dict(), config.to_dict()) == ["excitation_channels was 3, now 0"]
    assert config.parameter_shapes()["excitation.weight"] == (3, 32)
    assert config.weights_read_per_sample == old.weights_read_per_sample + 3 * 32


def test_a_front_bias_comes_back_from_json_differs_from_a_config_without_and_needs_numbers():
    config = WaveNetConfig.preset("vocoder", front_bias=True)
    assert WaveNetConfig.from_dict(json.loads(config.to_json())) == config
    assert config.parameter_shapes()["front.bias"] == (128,)
    assert differences(config.to_dict(), WaveNetConfig.preset("vocoder").to_dict()) == [
        "front_bias was False, now True"
    ]
    for fields in ({"front_bias": True}, {"front_bias": 1}):
        with pytest.raises(ConfigError, match="front_bias is true or false, and true for the pcm codec only"):
            WaveNetConfig(**fields)


def test_a_front_activation_comes_back_from_json_differs_from_a_config_without_and_has_a_known_name():
    config = WaveNetConfig(front_activation="tanh")
    assert WaveNetConfig.from_dict(json.loads(config.to_json())) == config
    assert differences(config.to_dict(), WaveNetConfig().to_dict()) == ["front_activation was none, now tanh"]
    for wrong in ("sigmoid", None, ["relu"]):
        with pytest.raises(ConfigError, match=r"front_activation .* is not known; choose one of none, relu, tanh"):
            WaveNetConfig(front_activation=wrong)
