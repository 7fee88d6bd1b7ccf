"""The samples of a run: from silence and as the continuation of data, at two temperatures, in a bounded time."""

import numpy as np
import pytest
import torch

from fastwave import WaveNet, generate
from fastwave.data.preparation import Preparation
from fastwave.data.prepare import prepare
from fastwave.data.shards import Data
from fastwave.data.windows import Place
from fastwave.sound import audio
from fastwave.training import listen
from fastwave.training.listen import Excerpt, render
from small_runs import make_config, make_data


class Clock:
    """Every look at it takes a second."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 1
        return self.now


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def mel_data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("mel"), features="mel", feature_channels=4, hop=64)


def model_of(config):
    torch.manual_seed(3)
    return WaveNet(config, "reference")


def waves_of(run, samples):
    return [audio.load(run / sample.file)[0] for sample in samples]


def test_an_event_makes_four_sounds_beside_the_real_one(data, tmp_path):
    excerpt = Excerpt(data, make_config(), Place(1, 0, 4000), 0.05)
    samples = render(model_of(make_config()), excerpt, tmp_path, 30, seed=0)
    assert [sample.file for sample in samples] == [
        f"samples/step-00000030-{kind}-t{temperature}.wav"
        for kind in ("from-silence", "primed") for temperature in (1.0, 0.8)
    ]  # fmt: skip
    assert [sample.label for sample in samples] == [
        "from silence, temperature 1", "from silence, temperature 0.8",
        "continues the data, temperature 1", "continues the data, temperature 0.8",
    ]  # fmt: skip
    real = audio.load(tmp_path / "samples/real.wav")[0]
    prime = excerpt.prime
    assert prime == 2000 and len(real) == prime + 800  # half of the file, and 0.05 s
    assert [sample.prime for sample in samples] == [0, 0, prime, prime]
    plain, cool, primed, primed_cool = waves_of(tmp_path, samples)
    assert len(plain) == len(cool) == 800 and len(primed) == len(primed_cool) == prime + 800
    assert torch.equal(primed[:prime], real[:prime]) and torch.equal(primed_cool[:prime], real[:prime])
    assert not torch.equal(primed[prime:], real[prime:])
    assert all(sample.real == "samples/real.wav" and sample.samples_per_second > 0 for sample in samples)


def test_the_samples_are_what_generation_makes_of_the_same_prime(data, tmp_path, monkeypatch):
    monkeypatch.setattr(listen, "TEMPERATURES", (0.0,))  # without chance the place of a sample in time changes nothing
    model, excerpt = model_of(make_config()), Excerpt(data, make_config(), Place(1, 0, 4000), 0.02)
    plain, primed = waves_of(tmp_path, render(model, excerpt, tmp_path, 1, seed=0))
    prime = excerpt.tokens(excerpt.prime)
    assert heard(plain, generate(model, samples=320, temperature=0.0, dtype="float32"))
    assert heard(primed[excerpt.prime :], generate(model, samples=320, temperature=0.0, dtype="float32", prime=prime))


def test_a_conditioned_model_gets_the_frames_of_what_it_makes(mel_data, tmp_path, monkeypatch):
    """Also the stream from silence, which stands behind a silent prime."""
    monkeypatch.setattr(listen, "TEMPERATURES", (0.0,))
    config = make_config(condition_channels=4, hop=64)
    model, excerpt = model_of(config), Excerpt(mel_data, config, Place(1, 0, 4000), 0.02)
    plain, primed = waves_of(tmp_path, render(model, excerpt, tmp_path, 1, seed=0))
    assert excerpt.prime == 1984 and excerpt.prime % 64 == 0
    frames = torch.from_numpy(mel_data.frames(1, np.arange(60)))
    options = {"dtype": "float32", "samples": 320, "temperature": 0.0, "condition": frames}
    assert heard(plain, generate(model, **options))
    assert heard(primed[excerpt.prime :], generate(model, **options, prime=excerpt.tokens(excerpt.prime)))


def test_frames_that_are_made_of_no_recording_are_saved_for_the_command_that_makes_more(mel_data, tmp_path):
    config = make_config(condition_channels=4, hop=64)
    render(model_of(config), Excerpt(mel_data, config, Place(1, 0, 4000), 0.02), tmp_path, 1, seed=0)
    saved = np.load(tmp_path / "samples/real.npy")
    assert np.array_equal(saved[:30], mel_data.frames(1, np.arange(30)))
    assert generate(model_of(config), condition=str(tmp_path / "samples/real.npy"), samples=64).lengths == (64,)


def heard(wave, result):
    """Whether a 16-bit file holds what was generated."""
    return torch.allclose(wave, result.samples[0], atol=2**-15)


@pytest.mark.parametrize("allowed", [4.0, 20.0])
def test_samples_are_cut_to_the_time_that_they_may_take(data, tmp_path, monkeypatch, allowed):
    monkeypatch.setattr(listen, "time", Clock())
    excerpt = Excerpt(data, make_config(), Place(1, 0, 4000), 10.0)
    samples = render(model_of(make_config()), excerpt, tmp_path, 1, seed=0, seconds_allowed=allowed)
    lengths = {len(wave) - sample.prime for sample, wave in zip(samples, waves_of(tmp_path, samples), strict=True)}
    (length,) = lengths  # all variants are as long
    assert listen.CHUNK <= length <= listen.CHUNK * allowed
    assert listen.time.now <= allowed + 8  # each of the two passes may end a chunk late


def test_texts_say_how_many_characters_are_data(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.txt").write_text("Übung macht den Meister. " * 40)
    preparation = Preparation(codec="bytes", classes=256, sample_rate=0, held_out=0.25)
    prepare(tmp_path / "text", tmp_path / "data", preparation)
    config = make_config(codec="bytes", classes=256, sample_rate=0)
    excerpt = Excerpt(Data(tmp_path / "data"), config, Place(0, 0, 700), 3.0)
    samples = render(model_of(config), excerpt, tmp_path, 1, seed=0)
    primed = (tmp_path / samples[2].file).read_text()
    assert primed[: samples[2].prime] == ("Übung macht den Meister. " * 40).encode()[: excerpt.prime].decode()
    assert excerpt.prime == 100 and samples[2].prime == 96  # four letters of two bytes
    assert (tmp_path / "samples/real.txt").read_text().startswith("Übung")


def test_data_too_short_for_a_prime_give_samples_from_silence(data, tmp_path):
    config = make_config(condition_channels=0)
    samples = render(model_of(config), Excerpt(data, config, Place(1, 0, 1), 0.02), tmp_path, 1, seed=0)
    assert [sample.prime for sample in samples] == [0, 0]
