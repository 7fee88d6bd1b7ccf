"""An imported vocoder works as a model of our own: generate, score, train further, doctor; copy says what it lacks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fastwave import WaveNet, import_model, score, train
from fastwave.cli.main import main
from fastwave.errors import CheckpointError, InputError
from fastwave.importers.importing import save
from fastwave.sound import audio
from fastwave.sound.mel import MelSettings, mel

DATA = Path(__file__).resolve().parent / "data"
RATE, SECONDS, HOP, BANDS = 16_000, 0.5, 6, 5
FRAMES = -(-int(RATE * SECONDS) // HOP)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`vocoder`: r9y9's mel vocoder, imported; `sounds`: recordings; `frames`: an array for each."""
    folder = tmp_path_factory.mktemp("use")
    save(*import_model(DATA / "r9y9-repeated"), folder / "vocoder")
    rng = np.random.default_rng(0)
    (folder / "sounds").mkdir()
    (folder / "frames").mkdir()
    for number in range(3):
        times = np.arange(int(RATE * SECONDS)) / RATE
        wave = 0.3 * np.sin(2 * np.pi * (200 + 60 * number) * times) + 0.02 * rng.standard_normal(len(times))
        audio.save(folder / "sounds" / f"{number}.wav", torch.from_numpy(wave).float(), RATE)
        np.save(folder / "frames" / f"{number}.npy", rng.standard_normal((FRAMES, BANDS)).astype(np.float32))
    return folder


def test_generate_makes_as_much_sound_as_there_are_frames(place, capsys):
    frames, out = place / "frames" / "0.npy", place / "new.wav"
    assert main(["generate", str(place / "vocoder"), "--condition", str(frames), "-o", str(out), "--quiet"]) == 0
    wave, rate = audio.load(out)
    assert (rate, wave.shape[-1]) == (RATE, FRAMES * HOP)


def test_a_recording_is_no_condition_and_copy_says_what_is(place, capsys):
    recording = str(place / "sounds" / "0.wav")
    assert main(["copy", str(place / "vocoder"), recording, "-o", str(place / "copy.wav")]) == 1
    assert "use fastwave generate with --condition" in capsys.readouterr().err
    arguments = ["generate", str(place / "vocoder"), "--condition", recording, "-o", str(place / "new.wav")]
    assert main(arguments) == 1
    assert f"give a .npy array of floats [frames, {BANDS}]" in capsys.readouterr().err


def test_score_takes_frames(place, capsys):
    sound, frames = place / "sounds" / "0.wav", place / "frames" / "0.npy"
    assert main(["score", str(place / "vocoder"), str(sound), "--condition", str(frames), "--json"]) == 0
    assert np.isfinite(json.loads(capsys.readouterr().out)[0]["bits"])


def test_doctor_finds_it_causal_and_aimed_at_the_next_sample(place, capsys):
    assert main(["doctor", str(place / "vocoder")]) == 0
    assert "parallel equals incremental" in capsys.readouterr().out


@pytest.mark.parametrize("case", ["r9y9-mulaw", "r9y9-mixture", "r9y9-repeated", "clarinet-two-taps"])
@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
def test_fewer_digits_cost_less_than_a_fiftieth_of_a_bit(place, case, dtype):
    settings = {"num_blocks": 1} if case.startswith("clarinet") else {}
    rate = 22_050 if settings else None
    model, _ = import_model(DATA / case, sample_rate=rate, settings=settings)
    wave, _ = audio.load(place / "sounds" / "0.wav")
    wave = wave.flatten()[:3000]
    generator = torch.Generator().manual_seed(0)
    options = {"condition": torch.randn(-(-3000 // model.config.hop), BANDS, generator=generator), "backend": "cpu"}
    options |= {"speaker": 2} if model.config.speakers else {}
    precise = score(model, wave, dtype="float32", **options)
    assert abs(score(model, wave, dtype=dtype, **options) - precise) < 0.02


def trained(place, name, **options):
    common = {"features": str(place / "frames"), "window": 512, "progress": False, "held_out": 0.34, "save_every": 1}
    return train(place / "sounds", place / name, start=str(place / "vocoder"), **{**common, **options})


def test_training_goes_on_from_its_weights_and_keeps_its_config(place):
    start = WaveNet.from_pretrained(place / "vocoder")
    still = trained(place, "still", steps=2, learning_rate=1e-9)
    assert still.config == start.config
    for name, parameter in start.named_parameters():
        assert torch.allclose(still.model.get_parameter(name), parameter, rtol=0, atol=1e-5), name
    moved = trained(place, "moved", steps=12, average=0.5)
    assert moved.bits < still.bits


def test_a_run_that_was_planned_from_a_time_resumes_without_naming_the_model_again(place):
    ended = trained(place, "planned", minutes=0.25)
    plan = json.loads((ended.folder / "run.json").read_text())["plan"]
    assert plan["start"] == str(place / "vocoder")
    again = train(place / "sounds", place / "planned", features=str(place / "frames"), progress=False, held_out=0.34)
    assert again.config == ended.config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": None}, "follows arrays of 5 values a frame of 6 samples: add --features with a folder"),
        ({"features": "mel"}, "follows arrays of 5 values"),
        ({"preset": "small"}, "--preset has no place beside --from"),
        ({"changes": {"kernel_size": 3}}, "--set has no place beside --from"),
        ({"sample_rate": 8000}, "--sample-rate has no place beside --from"),
    ],
)
def test_what_the_model_settles_cannot_be_chosen_again(place, options, message):
    with pytest.raises(InputError, match=message):
        trained(place, "refused", steps=2, **options)


def test_a_start_that_is_no_model_is_refused_before_the_data_are_prepared(place):
    with pytest.raises(CheckpointError):
        train(place / "sounds", place / "nothing", start=str(place / "sounds"), steps=2, progress=False)
    assert not (place / "nothing" / "data").exists()


MEAN, SCALE = [-3.0, -2.5, -2.0, -3.5, -4.0], [0.5, 1.0, 1.5, 2.0, 0.8]
DEFINED = {"mel_mean": MEAN, "mel_scale": SCALE, "fft_size": 64, "fmin": 200, "fmax": 7000, "win_length": 64}


@pytest.mark.parametrize("case", ["r9y9-mixture", "r9y9-repeated", "r9y9-mulaw"])
def test_with_its_statistics_a_model_of_r9y9s_hears_recordings(place, case, capsys):
    arrays, _ = import_model(DATA / case)
    model, report = import_model(DATA / case, settings=DEFINED)
    assert report.difference < 1e-6
    wave, _ = audio.load(place / "sounds" / "0.wav")
    settings = MelSettings(sample_rate=RATE, hop=HOP, bands=BANDS, window=64, low=200.0, high=7000.0, floor=1e-10)
    frames = mel(wave, settings)
    assert torch.equal(next(model.config.features.from_sound([wave.numpy()], RATE, HOP))[:50], frames[:50])
    logs = (1 - frames.double()) / 2 * -10  # log10 of the bands, as its logmelspectrogram
    theirs = ((logs - torch.tensor(MEAN)) / torch.tensor(SCALE)).float()
    speaker = {"speaker": torch.tensor([1])} if model.config.speakers else {}
    steps = 600
    tokens = model.config.codec_object.encode(wave[:steps])[None]
    with torch.no_grad():
        expected = arrays(tokens, theirs[None, : steps // HOP], **speaker)
        actual = model(tokens, frames[None, : steps // HOP], **speaker)
    assert (actual - expected).abs().max() < 2e-5 * expected.abs().max()


def test_then_generate_and_copy_take_a_recording(place, tmp_path, capsys):
    save(*import_model(DATA / "r9y9-repeated", settings=DEFINED), tmp_path / "hears")
    recording = str(place / "sounds" / "0.wav")
    arguments = [str(tmp_path / "hears"), "-o", str(tmp_path / "new.wav")]
    assert main(["generate", *arguments, "--condition", recording, "--quiet"]) == 0
    assert audio.info(tmp_path / "new.wav").frames == pytest.approx(RATE * SECONDS, abs=HOP)
    assert main(["copy", str(tmp_path / "hears"), recording, "-o", str(tmp_path / "copy.wav"), "--json"]) == 0
    options = {"window": 512, "steps": 2, "learning_rate": 1e-9, "progress": False, "held_out": 0.34}
    run = train(place / "sounds", tmp_path / "run", start=str(tmp_path / "hears"), **options)
    assert run.config == WaveNet.from_pretrained(tmp_path / "hears").config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mel_scale": [1.0] * 4}, "must be 5 numbers each"),
        ({"mel_scale": [0.0] * 5}, "scales above 0"),
        ({"win_length": 48}, "win_length is 48 .* fft_size, which is the window"),
        ({"fft_size": None}, "'fft_size' .* is missing"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(CheckpointError, match=message):
        import_model(DATA / "r9y9-repeated", settings={**DEFINED, **changes})
