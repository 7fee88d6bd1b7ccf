"""`fastwave prepare` and `fastwave train`, from files to a model, judged by sources of known entropy."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch

from fastwave import WaveNet, WaveNetConfig, conditioning, generate, score
from fastwave.cli.main import main
from fastwave.codec import Linear, MuLaw
from fastwave.data.shards import Data
from fastwave.sound import audio, loudness
from fastwave.sound.features import Array, Mel
from fastwave.sound.mel import MelSettings, mel
from markov import markov_source
from small_runs import lines_of, make_sound, verbs_of

QUICK = [
    *("--steps=4", "--batch=2", "--window=64", "--save-every=2", "--validate-every=2", "--sample-every=4"),
    *("--sample-seconds=0.05", "--threads=1", "--workers=1", "--log-every=1"),
]
TINY = ["--set", "residual_channels=8", "skip_channels=12", "dilations=4x1"]


def test_a_folder_of_sound_becomes_a_model_that_can_be_heard(tmp_path, capsys):
    make_sound(tmp_path / "sound" / "deep")
    (tmp_path / "sound/broken.wav").write_bytes(b"RIFF nothing")
    (tmp_path / "sound/notes.txt").write_text("not sound")
    assert main(["train", str(tmp_path / "sound"), "--out", str(tmp_path / "run"), *QUICK, *TINY]) == 0
    output = capsys.readouterr()
    assert "bits a sample on held-out data" in output.out
    assert "1 files were skipped" in output.err
    assert "broken.wav" in output.err
    assert "1 text files among the sound are left out" in output.err
    assert "step 4 of 4" in output.err and verbs_of(output.err) == {"train"}
    assert main(["generate", str(tmp_path / "run"), "--samples", "50", "-o", str(tmp_path / "out.wav")]) == 0
    assert audio.info(tmp_path / "out.wav").frames == 50


def test_a_folder_of_text_needs_no_more_words(tmp_path, capsys):
    (tmp_path / "text").mkdir()
    for name in "abc":
        (tmp_path / f"text/{name}.txt").write_text(f"once more, said {name}. " * 20)
    assert main(["train", str(tmp_path / "text"), "--out", str(tmp_path / "run"), *QUICK, *TINY]) == 0
    assert "bits a character" in capsys.readouterr().out
    assert WaveNet.from_pretrained(tmp_path / "run").config.codec == "bytes"
    assert (tmp_path / "run/samples/real.txt").read_text().startswith("once more")


def test_the_same_command_resumes_a_run_and_another_seed_is_refused(tmp_path, capsys):
    make_sound(tmp_path / "sound")
    command = ["train", str(tmp_path / "sound"), "--out", str(tmp_path / "run"), *QUICK, *TINY]
    assert main(command) == 0
    assert main([*command, "--steps=6"]) == 0
    assert "resumes from step 4 of 6" in capsys.readouterr().err
    assert main([*command, "--seed=7"]) == 1
    assert "seed was 0, now 7" in capsys.readouterr().err


def test_speakers_and_mel_frames_are_learned_together(tmp_path):
    for who in ("ann", "bob"):
        make_sound(tmp_path / "sound" / who, files=3)
    options = ["--speakers", "folders", "--features", "mel", "--bands", "8", "--sample-rate", "8000"]
    shape = [*TINY, "hop=64", "codec=pcm", "classes=0", "output=mixture-of-logistics", "mixtures=2"]
    assert main(["train", str(tmp_path / "sound"), "--out", str(tmp_path / "run"), *QUICK, *options, *shape]) == 0
    model = WaveNet.from_pretrained(tmp_path / "run")
    assert (model.config.speakers, model.config.local_channels, model.config.hop) == (2, 8, 64)
    result = generate(model, condition=torch.zeros(1, 4, 8), speaker=1)
    assert result.samples.shape == (1, 256)


def test_prepared_data_are_used_where_they_are(tmp_path, capsys):
    make_sound(tmp_path / "sound")
    assert main(["prepare", str(tmp_path / "sound"), "--out", str(tmp_path / "data"), "--sample-rate=8000"]) == 0
    assert "4 files" in capsys.readouterr().out
    assert main(["train", str(tmp_path / "data"), "--out", str(tmp_path / "run"), *QUICK, *TINY]) == 0
    assert WaveNet.from_pretrained(tmp_path / "run").config.sample_rate == 8000
    assert not (tmp_path / "run/data").exists()
    assert main(["train", str(tmp_path / "data"), "--out", str(tmp_path / "run2"), "--features", "mel"]) == 1
    assert "is prepared already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no nowhere"),
        (["."], "holds no .flac"),
        (["sound", "--preset", "huge"], "choose one of ref, small"),
        (["sound", "--set", "dilations"], "--set takes FIELD=VALUE"),
        (["sound", "--set", "dilations=a,b"], "give whole numbers"),
        (["sound", "--set", "depth=3"], "unknown config field 'depth'"),
        (["sound", "--preset", "vocoder"], "add --features mel"),
        (["sound", "--speakers", "nobody.csv"], "cannot read the speakers"),
        (["sound", "--steps", "0"], "steps must be at least 1"),
        (["sound", "--held-out", "2"], "held_out is a share"),
        (["sound", "--device", "cuda"], "torch sees no GPU"),
        (["sound", "--set", "dilations=99x2"], "depth is 1..24"),
        (["sound", "--bands", "8"], "add --features mel"),
        (["sound", "--out", "sound"], "is the folder of the data"),
        (["sound", "--threads", "0"], "--threads must be at least 1"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(arguments, message, tmp_path, monkeypatch, capsys):
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    monkeypatch.chdir(tmp_path)
    if arguments[0] == ".":
        (tmp_path / "readme.pdf").write_bytes(b"")
    else:
        make_sound(tmp_path / "sound", files=2)
    assert main(["train", "--out", "run", *arguments]) == 1
    assert message in capsys.readouterr().err


MEL = ["--features", "mel", "--bands", "8", "--sample-rate", "8000", *TINY, "hop=64"]


def train_vocoder(folder, *options):
    """A model conditioned on mel frames, in folder/run."""
    if not (folder / "sound").exists():
        make_sound(folder / "sound")
    command = ["train", str(folder / "sound"), "--out", str(folder / "run"), *QUICK, *options]
    assert main(command) == 0
    return folder / "run"


def test_a_vocoder_generates_from_a_recording_as_from_its_frames(tmp_path, capsys):
    run = train_vocoder(tmp_path, *MEL, "features.window=512", "features.low=60")
    assert WaveNet.from_pretrained(run).config.features == Mel(bands=8, window=512, low=60)
    time = np.arange(4410) / 22_050
    soundfile.write(tmp_path / "x.wav", np.stack([np.sin(2000 * time), np.sin(900 * time)], axis=1) / 3, 22_050)
    wave = loudness.load(tmp_path / "x.wav", 8000, "loudness")
    np.save(tmp_path / "x.npy", mel(wave, MelSettings(8000, hop=64, bands=8, window=512, low=60.0)).numpy())
    for name in ("wav", "npy"):
        arguments = ["--condition", str(tmp_path / f"x.{name}"), "-o", str(tmp_path / f"from-{name}.wav")]
        assert main(["generate", str(run), *arguments]) == 0
    sound = (tmp_path / "from-wav.wav").read_bytes()
    assert sound == (tmp_path / "from-npy.wav").read_bytes()
    assert audio.info(tmp_path / "from-wav.wav").frames == 25 * 64  # 1600 samples at 8 kHz, and no other length
    expected = generate(run, condition=tmp_path / "x.wav")
    expected.save(tmp_path / "from-python.wav")
    assert sound == (tmp_path / "from-python.wav").read_bytes()
    capsys.readouterr()
    assert main(["score", str(run), str(tmp_path / "x.wav"), "--condition", str(tmp_path / "x.wav")]) == 0
    bits = float(capsys.readouterr().out.split("\t")[0])
    assert bits == pytest.approx(score(run, wave, condition=np.load(tmp_path / "x.npy")), abs=1e-3)
    assert main(["info", str(run)]) == 0
    assert "mel, bands 8, window 512, low 60, floor 1e-05; --condition takes a recording" in capsys.readouterr().out


def forget_features(run):
    """The run as an early fastwave, which did not save features, left it."""
    for path in (run / "run.json", run / "config.json"):
        values = json.loads(path.read_text())
        del values.get("config", values)["features"]
        path.write_text(json.dumps(values))
    for path in (run / "model.safetensors", *(run / "checkpoints").iterdir()):
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        key = "fastwave" if "fastwave" in metadata else "config"
        metadata[key] = json.dumps({k: v for k, v in json.loads(metadata[key]).items() if k != "features"})
        safetensors.torch.save_file(tensors, path, metadata)


def test_a_run_that_did_not_save_its_features_resumes_and_learns_them(tmp_path, capsys):
    whole = train_vocoder(tmp_path / "whole", *MEL, "--steps=8", "--schedule=constant")
    run = train_vocoder(tmp_path / "old", *MEL, "--schedule=constant")
    forget_features(run)
    assert WaveNet.from_pretrained(run).config.features is None
    soundfile.write(tmp_path / "x.wav", np.zeros(800), 8000)
    arguments = ["generate", str(run), "--condition", str(tmp_path / "x.wav"), "-o", str(tmp_path / "y.wav")]
    assert main(arguments) == 1
    assert "does not say how the features of its training data were made" in capsys.readouterr().err
    train_vocoder(tmp_path / "old", *MEL, "--steps=8", "--schedule=constant")
    assert "resumes from step 4 of 8" in capsys.readouterr().err
    old, new = WaveNet.from_pretrained(whole), WaveNet.from_pretrained(run)
    assert old.config == new.config and new.config.features == Mel(bands=8)
    assert all(torch.equal(value, new.state_dict()[name]) for name, value in old.state_dict().items())
    assert main(arguments) == 0


def test_a_run_with_other_features_or_another_codec_is_refused(tmp_path, capsys):
    train_vocoder(tmp_path, *MEL)
    command = ["train", str(tmp_path / "sound"), "--out", str(tmp_path / "run"), *QUICK, *MEL]
    for change, message in (
        ("features.window=512", "features was"),
        ("codec_parameters.mu=256", "codec_parameters was"),
    ):
        assert main([*command, change]) == 1
        assert message in capsys.readouterr().err


def test_prepared_data_name_their_features_and_codec(tmp_path, capsys):
    make_sound(tmp_path / "sound")
    (tmp_path / "frames").mkdir()
    for number in range(4):
        np.save(tmp_path / f"frames/tone{number}.npy", np.ones((63, 3), dtype=np.float32))
    arrays = ["--features", str(tmp_path / "frames"), "--bands", "3"]
    for name, options, expected in (
        ("mel", [*MEL, "features.floor=1e-3", "codec_parameters.rounding=floor"], Mel(bands=8, floor=1e-3)),
        ("array", [*arrays, *TINY, "hop=64"], Array(3)),
    ):
        data, run = tmp_path / f"data-{name}", tmp_path / f"run-{name}"
        assert main(["prepare", str(tmp_path / "sound"), "--out", str(data), "--workers=1", *options]) == 0
        assert main(["train", str(data), "--out", str(run), *QUICK, *TINY]) == 0
        config = WaveNet.from_pretrained(run).config
        assert config.features == expected
        assert dict(config.codec_parameters) == ({"rounding": "floor"} if name == "mel" else {})
    assert (
        main(["train", str(tmp_path / "data-mel"), "--out", str(tmp_path / "r"), *QUICK, "--set", "features.low=9"])
        == 1
    )
    assert "the prepared data have features" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--features", "mels"], "neither a kind of features that is computed from sound (mel) nor a folder"),
        (["--features", "mel", "--set", "features.bins=3"], "no parameter 'bins'; known are bands, window"),
        (["--set", "features.low=3"], "add --features mel"),
        (["--set", "codec_parameters.nu=3"], "no parameter 'nu'; known are mu"),
        (["--set", "codec_parameters.rounding=up"], "choose one of round, floor"),
        (["--set", "hop.low=3"], "only features and codec_parameters have parameters"),
        (["--set", "codec=linear", "codec_parameters.mu=3"], "'linear' takes no parameters"),
    ],
)
def test_features_and_parameters_that_are_not_known_are_named(arguments, message, tmp_path, capsys):
    make_sound(tmp_path / "sound", files=2)
    assert main(["train", str(tmp_path / "sound"), "--out", str(tmp_path / "run"), *arguments]) == 1
    assert message in capsys.readouterr().err


# Honest tests of learning: a model may come near the entropy of its source, and no nearer


def train_on(folder, run, *options):
    """Bits on held-out data."""
    assert main(["train", str(folder), "--out", str(run), "--threads", "1", "--workers", "1", *options]) == 0
    return lines_of(run, "end")[-1]["bits"]


@pytest.mark.slow
def test_a_markov_source_in_text_files_is_learned_to_within_two_percent(tmp_path):
    (tmp_path / "text").mkdir()
    for number in range(20):
        chain, entropy = markov_source(classes=8, samples=15_000, seed=number)
        (tmp_path / f"text/{number}.txt").write_bytes(bytes(97 + chain.numpy().astype(np.uint8)))
    bits = train_on(
        tmp_path / "text", tmp_path / "run", "--steps=700", "--batch=8", "--window=512", "--micro-batch=8",
        "--learning-rate=1e-2", "--average=0.98", "--held-out=0.2", "--set", "residual_channels=24",
        "skip_channels=32", "dilations=1,2,4",
    )  # fmt: skip
    assert 0.99 * entropy < bits < 1.02 * entropy


def autoregressive(samples, classes, seed):
    """A second-order process on whole levels, and its entropy rate: each level is a rounded normal draw around a mean
    that the two before it give, so the conditional entropy of every step is known exactly."""
    random = np.random.default_rng(seed)
    middle, spread = (classes - 1) / 2, 1.5
    edges = (np.arange(1, classes) - 0.5)[None]
    levels, means = [round(middle)] * 2, []
    for draw in random.standard_normal(samples):
        mean = middle + 1.6 * (levels[-1] - middle) - 0.68 * (levels[-2] - middle)
        means.append(mean)
        levels.append(int(np.clip(round(mean + spread * draw), 0, classes - 1)))
    below = torch.special.ndtr(torch.from_numpy((edges - np.array(means)[:, None]) / spread)).numpy()
    shares = np.diff(np.concatenate([np.zeros((samples, 1)), below, np.ones((samples, 1))], axis=1))
    entropy = -(shares * np.log2(np.maximum(shares, 1e-300))).sum(axis=1).mean()
    return np.array(levels[2:]), float(entropy)


@pytest.mark.slow
def test_an_autoregressive_process_in_sound_files_is_learned_to_within_two_percent(tmp_path):
    classes, entropies = 64, []
    (tmp_path / "sound").mkdir()
    for number in range(20):
        levels, entropy = autoregressive(20_000, classes, seed=number)
        entropies.append(entropy)
        audio.save(tmp_path / f"sound/{number}.wav", Linear(classes).decode(torch.from_numpy(levels)), 16_000)
    bits = train_on(
        tmp_path / "sound", tmp_path / "run", "--steps=900", "--batch=8", "--window=512", "--micro-batch=8",
        "--learning-rate=1e-2", "--average=0.98", "--held-out=0.2", "--sample-every=10000", "--normalize=off",
        "--set", "codec=linear", f"classes={classes}", "residual_channels=32", "skip_channels=48", "dilations=1,2",
    )  # fmt: skip
    entropy = float(np.mean(entropies))
    assert math.isclose(entropy, math.log2(1.5 * math.sqrt(2 * math.pi * math.e)), rel_tol=0.02)  # a normal's
    assert 0.99 * entropy < bits < 1.02 * entropy
    assert json.loads((tmp_path / "run/data/prepared.json").read_text())["order0_bits"] > 1.3 * entropy


# The common level


def write_levels(folder):
    """The same tones quiet and loud."""
    make_sound(folder, files=3)
    wave, _ = audio.load(folder / "tone0.wav")
    audio.save(folder / "quiet.wav", 0.05 * wave, 16_000)
    return folder


def test_the_command_brings_sound_to_a_common_loudness_and_the_model_remembers(tmp_path, capsys):
    write_levels(tmp_path / "sound")
    assert main(["prepare", str(tmp_path / "sound"), "--out", str(tmp_path / "data")]) == 0
    assert "brought to -23.0 LUFS; peaks at most" in capsys.readouterr().out
    assert main(["train", str(tmp_path / "data"), "--out", str(tmp_path / "run"), *QUICK, *TINY]) == 0
    assert WaveNet.from_pretrained(tmp_path / "run").config.normalize == "loudness"
    assert main(["train", str(tmp_path / "sound"), "--out", str(tmp_path / "run2"), *QUICK, *TINY]) == 0
    assert "levels: loudness" in capsys.readouterr().err
    assert WaveNet.from_pretrained(tmp_path / "run2").config.normalize == "loudness"
    assert main(["train", str(tmp_path / "data"), "--out", str(tmp_path / "run3"), "--normalize=peak", *QUICK]) == 1
    assert "levels are settled" in capsys.readouterr().err
    assert main(["info", str(tmp_path / "run")]) == 0
    assert "files were brought to a loudness of -23 LUFS" in capsys.readouterr().out
    level = ["--set", *TINY[1:], "normalize=peak"]
    assert main(["train", str(tmp_path / "data"), "--out", str(tmp_path / "run4"), *QUICK, *level]) == 1
    assert "the prepared data have normalize loudness, the model peak" in capsys.readouterr().err


def test_what_a_model_hears_of_a_file_is_brought_to_the_level_that_it_was_trained_at(tmp_path, capsys):
    for normalize in ("loudness", "off"):
        torch.manual_seed(0)
        shape = {"residual_channels": 8, "skip_channels": 12, "dilations": (1, 2, 4)}
        model = WaveNet(WaveNetConfig(**shape, normalize=normalize), "reference")
        model.get_parameter("head.1.weight").data.mul_(30)  # a network that does listen
        model.save_pretrained(tmp_path / normalize)
    time = np.arange(8000) / 16_000
    for name, factor in (("loud", 0.5), ("quiet", 0.02)):
        wave = factor * np.sin(2000 * time) * np.exp(-time)
        soundfile.write(tmp_path / f"{name}.wav", wave, 16_000, subtype="DOUBLE")
    bits, sounds = {}, {}
    for run in ("loudness", "off"):
        assert main(["score", str(tmp_path / run), str(tmp_path / "loud.wav"), str(tmp_path / "quiet.wav")]) == 0
        bits[run] = [float(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
        for name in ("loud", "quiet"):
            out = tmp_path / f"{run}-{name}.wav"
            primed = ["--prime", str(tmp_path / f"{name}.wav"), "--samples", "200", "-o", str(out)]
            assert main(["generate", str(tmp_path / run), *primed]) == 0
            sounds[run, name] = out.read_bytes()
    assert bits["loudness"][0] == pytest.approx(bits["loudness"][1], abs=0.01)  # gains are rounded to 0.01 dB
    assert abs(bits["off"][0] - bits["off"][1]) > 0.1
    assert sounds["loudness", "loud"] == sounds["loudness", "quiet"]
    assert sounds["off", "loud"] != sounds["off", "quiet"]


def test_a_recording_as_a_condition_is_brought_to_the_level_of_the_training(tmp_path):
    run = train_vocoder(tmp_path, *MEL)
    time = np.arange(8000) / 8000
    for name, factor in (("loud", 0.5), ("quiet", 0.02)):
        soundfile.write(tmp_path / f"{name}.wav", factor * np.sin(2000 * time), 8000, subtype="DOUBLE")
    config = WaveNet.from_pretrained(run).config
    assert config.normalize == "loudness"
    distances = []
    for each in (config, dataclasses.replace(config, normalize="off")):
        loud, quiet = (conditioning.read(each, str(tmp_path / f"{name}.wav")) for name in ("loud", "quiet"))
        distances.append(float((loud - quiet).abs().max()))
    assert distances[0] < 5e-3 and distances[1] > 0.5


def test_a_run_without_a_common_level_goes_on_without_one(tmp_path, capsys):
    """As one of an early fastwave: nothing is prepared again, nothing is refused, and no option is needed."""
    write_levels(tmp_path / "sound")
    command = ["train", str(tmp_path / "sound"), "--out", str(tmp_path / "run"), *QUICK, *TINY]
    assert main([*command, "--normalize=off"]) == 0
    for name in ("config.json", "run.json"):
        assert "normalize" not in (tmp_path / "run" / name).read_text().replace("--normalize=off", "")
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run/data").glob("shard-*")}
    assert main([*command, "--steps=6"]) == 0
    printed = capsys.readouterr().err
    assert "resumes from step 4 of 6" in printed and "data have changed" not in printed
    assert times == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run/data").glob("shard-*")}
    shutil.rmtree(tmp_path / "run/data")
    assert main([*command, "--steps=8"]) == 0
    printed = capsys.readouterr().err
    assert "resumes from step 6 of 8" in printed and "data have changed" not in printed
    assert WaveNet.from_pretrained(tmp_path / "run").config.normalize == "off"


def test_prepared_data_keep_their_level_unless_another_is_asked_for(tmp_path):
    write_levels(tmp_path / "sound")
    command = ["prepare", str(tmp_path / "sound"), "--workers=1", "--out"]
    for options, expected in (("--normalize=off", "off"), ("", "off"), ("--normalize=peak", "peak"), ("", "peak")):
        assert main([*command, str(tmp_path / "data"), *options.split()]) == 0
        assert Data(tmp_path / "data").preparation.normalize == expected


def test_features_that_the_user_brings_belong_to_the_sound_as_it_is(tmp_path):
    write_levels(tmp_path / "sound")
    (tmp_path / "arrays").mkdir()
    for path in (tmp_path / "sound").iterdir():
        np.save(tmp_path / f"arrays/{path.stem}.npy", np.zeros((10, 3), dtype=np.float32))
    command = ["prepare", str(tmp_path / "sound"), "--features", str(tmp_path / "arrays"), "--bands=3", "--workers=1"]
    for options, expected in (([], "off"), (["--normalize=loudness"], "loudness")):
        assert main([*command, "--set", "hop=400", "--out", str(tmp_path / f"data-{expected}"), *options]) == 0
        assert Data(tmp_path / f"data-{expected}").preparation.normalize == expected


def test_pre_emphasis_is_an_option_and_is_undone_in_what_is_heard(tmp_path):
    write_levels(tmp_path / "sound")
    command = ["train", str(tmp_path / "sound"), "--out", str(tmp_path / "run"), *QUICK, *TINY]
    assert main([*command, "codec_parameters.pre_emphasis=0.85"]) == 0
    model, chosen = WaveNet.from_pretrained(tmp_path / "run"), MuLaw(256, pre_emphasis=0.85)
    assert model.config.codec_object == chosen
    made = generate(model, samples=300, seed=2)
    assert main(["generate", str(tmp_path / "run"), "--samples=300", "--seed=2", "-o", str(tmp_path / "x.wav")]) == 0
    wave, _ = soundfile.read(tmp_path / "x.wav", dtype="float32")
    assert np.abs(wave - chosen.decode(made.tokens)[0].numpy()).max() <= 1 / 32768
