"""The voice's WaveNet: frames to sound, in blocks or whole, and its training."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from fastwave.errors import ConfigError, InputError
from fastwave.model import WaveNet
from fastwave.speech import analysis
from fastwave.training.loop import train
from fastwave.training.parallel import Group
from fastwave.training.settings import Settings
from fastwave.vocoder import data as vocoder_data
from fastwave.vocoder import vocoder
from fastwave.vocoder.frame_task import Place
from fastwave.vocoder.frames import Frames
from fastwave.vocoder.task import VocoderTask

SHAPE = {"residual_channels": 4, "skip_channels": 8, "dilations": (1, 2, 4)}


def tiny(seed=0):
    torch.manual_seed(seed)
    return WaveNet(vocoder.config(**SHAPE), "reference")


def frames_of(count=8, seed=0):
    random = np.random.default_rng(seed)
    frames = random.uniform(-0.8, 0.4, (count, 42)).astype(np.float32)
    frames[:, 40] = np.log(150) + 0.1 * random.normal(size=count)
    frames[:, 41] = np.linspace(0, 1, count)
    return frames


def recording(seed=0, seconds=0.6, held_out=False):
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16_000)) / 16_000
    wave = sum(np.sin(2 * np.pi * n * 140 * time + n) / n for n in range(1, 30))
    wave = 0.1 * wave + 0.01 * random.normal(size=len(time))
    return vocoder_data.Recording(wave, analysis.frames(wave), held_out)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocoder")
    recordings = [recording(0, held_out=True), recording(1), recording(2)]
    vocoder_data.prepare(recordings, folder, vocoder.VocoderSettings())
    return vocoder_data.VocoderData(folder)


def settings(**changes):
    quick = {
        "steps": 6, "batch": 2, "window": 800, "warmup": 1, "validate_every": 3, "sample_every": 6, "save_every": 3,
        "log_every": 1, "average": 0.9, "sample_seconds": 0.05, "validation_targets": 1_600, "learning_rate": 1e-2,
    }  # fmt: skip
    return Settings(**{**quick, **changes})


def test_a_streamed_sound_is_the_whole_sound():
    speak, frames = vocoder.Vocoder(tiny(), backend="reference"), frames_of(24)
    blocks = list(speak.stream(frames, seed=3))
    assert len(blocks) > 2
    assert np.array_equal(np.concatenate(blocks), speak(frames, seed=3))


def test_a_sound_has_200_samples_a_frame_and_never_clips():
    frames = frames_of()
    frames[:, :40] += 2.5  # far louder than full scale
    wave = vocoder.Vocoder(tiny(), backend="reference")(frames)
    assert wave.shape == (1_600,) and wave.dtype == np.float32
    assert np.abs(wave).max() == 1


def test_the_seed_and_the_temperature_decide_the_sound():
    speak, frames = vocoder.Vocoder(tiny(), backend="reference"), frames_of(4)
    assert np.array_equal(speak(frames, seed=1), speak(frames, seed=1))
    assert not np.array_equal(speak(frames, seed=1), speak(frames, seed=2))
    assert not np.array_equal(speak(frames, seed=1), speak(frames, seed=1, temperature=0.5))
    assert np.array_equal(speak(frames, seed=1, temperature=0), speak(frames, seed=2, temperature=0))


def test_voiced_frames_take_their_own_temperature():
    usual = vocoder.VocoderSettings(voiced_temperature=0.0, unvoiced_temperature=0.0)
    other = dataclasses.replace(usual, unvoiced_temperature=1.0)
    frames = frames_of(6)
    frames[:3, 41], frames[3:, 41] = 1, 0
    waves = [vocoder.Vocoder(tiny(), each, "reference")(frames) for each in (usual, other)]
    assert np.array_equal(waves[0][:600], waves[1][:600])
    assert not np.array_equal(waves[0][600:], waves[1][600:])


def test_no_frames_make_no_sound():
    assert vocoder.Vocoder(tiny(), backend="reference")(np.zeros((0, 42))).shape == (0,)


@pytest.mark.parametrize("frames", [np.zeros((4, 40)), np.zeros(42), np.full((4, 42), np.nan)])
def test_frames_that_cannot_be_spoken_are_refused(frames):
    with pytest.raises(InputError):
        vocoder.Vocoder(tiny(), backend="reference")(frames)


def test_a_wavenet_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match="excitation_channels 2, this one has 0"):
        vocoder.Vocoder(WaveNet(vocoder.config(**SHAPE, excitation_channels=0), "reference"))


def test_settings_go_through_json():
    changed = vocoder.VocoderSettings(scale=10.0, voiced_temperature=0.7)
    assert vocoder.VocoderSettings.from_dict(json.loads(json.dumps(changed.to_dict()))) == changed
    with pytest.raises(ConfigError, match="unknown setting"):
        vocoder.VocoderSettings.from_dict({"gain": 1})
    with pytest.raises(ConfigError, match="scale"):
        vocoder.VocoderSettings.from_dict({"scale": "12"})


def test_prepared_data_hold_every_recording_and_the_held_out_ones_last(data):
    assert (data.frames, data.trained_frames) == (144, 96)
    assert np.array_equal(data.rows(96, 48), recording(0).frames)
    assert (data.tokens(-2, 4, 77)[:400] == 77).all() and (data.tokens(143, 2, 77)[200:] == 77).all()


def test_predicted_frames_take_the_place_of_those_of_the_sound(tmp_path):
    sound = recording(1)
    predicted = sound.frames.copy()
    predicted[:, :40] -= 0.4  # 20 dB too quiet, so the excitation has to be 10 times as loud
    excitations = []
    for name, frames in (("sound", sound.frames), ("predicted", predicted)):
        prepared = dataclasses.replace(sound, frames=frames)
        vocoder_data.prepare([prepared], tmp_path / name, vocoder.VocoderSettings(scale=100.0))
        data = vocoder_data.VocoderData(tmp_path / name)
        excitations.append(vocoder.config().codec_object.decode(data.tokens(0, data.frames, 0)).numpy() * 100)
    assert np.array_equal(data.rows(0, 48), predicted)
    assert np.std(excitations[1]) / np.std(excitations[0]) == pytest.approx(10, rel=0.05)
    with pytest.raises(InputError, match="48 frames of 42"):
        vocoder_data.prepare([dataclasses.replace(sound, frames=predicted[:9])], tmp_path, vocoder.VocoderSettings())


def test_pulses_of_prepared_data_stand_at_whole_periods(data):
    tokens, sines = data.tokens(10, 30, 0), data.sines(10, 30)
    strength = np.abs(tokens - 127.5)
    assert strength[sines[:, 1] > 0.9].mean() > 1.2 * strength[sines[:, 1] < -0.5].mean()


def test_windows_differ_from_step_to_step_and_are_the_same_in_every_run(data):
    task = VocoderTask(data, vocoder.config(**SHAPE), settings())
    first, targets = task.batch(0, slice(0, 2))
    again, _ = VocoderTask(data, vocoder.config(**SHAPE), settings()).batch(0, slice(0, 2))
    assert targets == 1_600 and all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other, _ = task.batch(1, slice(0, 2))
    assert not torch.equal(first.tokens, other.tokens)
    one, _ = task.batch(0, slice(1, 2))
    assert torch.equal(one.tokens, first.tokens[1:])


def test_the_loss_takes_each_sample_with_its_frame_and_phase(data):
    """A window that begins elsewhere gives the same loss to the samples that both have."""
    task = VocoderTask(data, vocoder.config(**SHAPE), settings())
    model = tiny()
    with torch.no_grad():
        model.get_parameter("head.1.weight").mul_(50)  # so that outputs depend on the inputs
    early, late = (task.read([Place(first, 0, False)]) for first in (20, 22))
    early.counted[:, :400], late.counted[:, 400:] = 0, 0  # frames 22 and 23 are in both
    early.counted[:, 800:] = 0
    losses = [task.loss(model, batch, 400).item() for batch in (early, late)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_window_holds_the_samples_frames_and_sines_of_one_place(data):
    task = VocoderTask(data, vocoder.config(**SHAPE), settings())
    window = task.read([Place(20, 0, False)])
    frames = slice(20 - task.context, 20 + task.window)
    samples = slice(frames.start * 200, frames.stop * 200)
    assert window.tokens[0].tolist() == data.tokens(0, data.frames, 0)[samples].tolist()
    assert np.allclose(window.sines[0], data.sines(0, data.frames)[samples], atol=1e-4)
    assert torch.equal(window.conditions[0, :-1], data.layout.conditions(data.rows(0, data.frames))[frames])


def test_a_killed_training_resumes_with_the_same_bits(data, tmp_path):
    config = vocoder.config(**SHAPE)
    train(VocoderTask(data, config, settings(), "reference"), tmp_path / "whole", Group("cpu"))

    class Killed(VocoderTask):
        def batch(self, step, rows):
            if step == 4:
                raise KeyboardInterrupt
            return super().batch(step, rows)

    with pytest.raises(KeyboardInterrupt):
        train(Killed(data, config, settings(), "reference"), tmp_path / "killed", Group("cpu"))
    train(VocoderTask(data, config, settings(), "reference"), tmp_path / "killed", Group("cpu"))
    models = [WaveNet.from_pretrained(tmp_path / name) for name in ("whole", "killed")]
    assert all(torch.equal(a, b) for a, b in zip(*(m.state_dict().values() for m in models), strict=True))
    saved = json.loads((tmp_path / "whole" / "vocoder.json").read_text())
    assert vocoder.VocoderSettings.from_dict(saved) == data.settings


def test_training_lowers_the_loss(data):
    task = VocoderTask(data, vocoder.config(**SHAPE), settings(), "reference")
    model = task.build()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    batch, targets = task.batch(0, slice(0, 2))
    losses = []
    for _ in range(20):
        loss = task.loss(model, batch, targets)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < losses[0] - 0.3


def test_other_frames_travel_with_the_settings_and_rule_the_sound(tmp_path):
    """Bands, hop and sample rate of music, say, are part of what is saved beside the weights."""
    layout = Frames(hop=100, bands=8, window=512, usual_f0=400.0, f0_factor=1.0)
    chosen = vocoder.VocoderSettings(frames=layout)
    assert vocoder.VocoderSettings.from_dict(json.loads(json.dumps(chosen.to_dict()))) == chosen
    rows = np.zeros((12, layout.width), dtype=np.float32)
    rows[:, layout.log_f0] = np.log(400.0)
    torch.manual_seed(0)
    speak = vocoder.Vocoder(WaveNet(vocoder.config(frames=layout, **SHAPE)), chosen, backend="reference")
    assert speak(rows).shape == (1_200,)
    assert layout.conditions(rows)[:, layout.log_f0].abs().max() < 1e-6
    vocoder_data.prepare([vocoder_data.Recording(np.zeros(1_200), rows)], tmp_path, chosen)
    data = vocoder_data.VocoderData(tmp_path)
    assert data.layout == layout and data.sines(0, 12).shape == (1_200, 2)
    with pytest.raises(ConfigError, match="hop 200, this one has 100"):
        vocoder.Vocoder(WaveNet(vocoder.config(frames=layout, **SHAPE)))


@pytest.mark.parametrize("factor", [2.0, 1.0, 0.5])
def test_an_octave_in_the_conditions_is_ln_2_times_the_factor(factor):
    layout = Frames(f0_factor=factor)
    rows = np.zeros((3, layout.width), dtype=np.float32)
    rows[:, layout.log_f0] = np.log([100.0, 200.0, 400.0])
    octave = factor * np.log(2)
    assert layout.conditions(rows)[:, layout.log_f0].tolist() == pytest.approx([-octave, 0, octave], abs=1e-5)


@pytest.mark.parametrize("values", [{"hop": 0}, {"bands": "40"}, {"usual_f0": -1}, {"width": 3}, {"bands": 500}, 7])
def test_frames_that_cannot_be_are_refused(values):
    with pytest.raises(ConfigError):
        Frames.from_dict(values)


@pytest.mark.parametrize("sign", [1, -1])
def test_each_source_has_a_polarity_of_its_own(tmp_path, sign):
    """The same sound upside down from another source has its pulses at the same places."""
    one, two = recording(1), recording(1)
    two = dataclasses.replace(two, wave=-two.wave, source="other")
    vocoder_data.prepare([one, two][::sign], tmp_path, vocoder.VocoderSettings())
    data = vocoder_data.VocoderData(tmp_path)
    assert np.array_equal(data.sines(0, 47), data.sines(48, 47))
