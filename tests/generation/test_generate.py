"""generate, stream and score: the same samples however they are asked for, nothing lost on the way."""

import math
import warnings

import numpy as np
import pytest
import soundfile
import torch

from fastwave import GenerationError, InputError, StagnationWarning, WaveNet, WaveNetConfig, generate, score, stream
from fastwave.distributions import negative_log_likelihood
from shapes import CONFIGS, heard, make_condition, make_model, make_tokens


@pytest.mark.parametrize("name", CONFIGS)
def test_streamed_parts_are_the_generated_samples_bit_for_bit(name):
    model = make_model(name)
    given = make_condition(model.config, 2, 90)
    options = {"samples": 90, "batch": 2, "seed": 3, **given}
    whole = generate(model, **options)
    parts = list(stream(model, chunk=17, **options))
    assert [part.tokens.shape[1] for part in parts] == [17] * 5 + [5]
    assert torch.equal(torch.cat([part.tokens for part in parts], dim=1), whole.tokens)


@pytest.mark.parametrize("prime", [None, "prime"])
def test_streamed_parts_sound_as_the_whole_also_where_the_codec_has_a_memory(prime, tmp_path):
    """Pre-emphasis: a sample depends on all tokens before it, those of the prime too."""
    torch.manual_seed(0)
    shape = {"residual_channels": 4, "skip_channels": 4, "dilations": (1, 2)}
    model = WaveNet(WaveNetConfig(**shape, codec_parameters={"pre_emphasis": 0.9}), "reference")
    chosen = model.config.codec_object
    wave = 0.3 * torch.sin(torch.arange(140).reshape(2, 70) * 0.2) if prime else None
    options = {"samples": [90, 60], "batch": 2, "seed": 3, "prime": wave}
    whole = generate(model, **options)
    parts = list(stream(model, chunk=17, **options))
    assert torch.equal(torch.cat([part.samples for part in parts], dim=1), whole.samples)
    before = chosen.encode(wave) if prime else torch.zeros(2, 0, dtype=torch.int64)
    together = chosen.decode(torch.cat([before, whole.tokens], dim=1))
    assert torch.equal(whole.samples, together[:, before.shape[1] :])
    assert (whole.past is not None) == bool(prime)
    generate(model, **options, output=tmp_path / "a.wav", save_every=20)
    saved, _ = soundfile.read(tmp_path / "a-0.wav", dtype="float32")
    assert np.abs(saved - whole.samples[0].numpy()).max() <= 1 / 32768


def test_streams_of_a_batch_end_at_their_own_lengths():
    model = make_model("categorical")
    together = generate(model, samples=[40, 0, 65], batch=3, seed=1)
    longest = generate(model, samples=65, batch=3, seed=1)
    assert together.lengths == (40, 0, 65) and together.tokens.shape == (3, 65)
    assert torch.equal(together.tokens[2], longest.tokens[2])
    assert torch.equal(together.tokens[0, :40], longest.tokens[0, :40])
    assert (together.tokens[0, 40:] == model.config.codec_object.silence).all()


def test_seconds_are_samples_at_the_models_rate():
    model = make_model("categorical")
    assert generate(model, 0.005).lengths == (80,)
    assert generate(model, seconds=[0.001, 0.002], batch=2).lengths == (16, 32)


def test_without_a_length_the_conditioning_decides():
    model = make_model("gaussian-repeat")
    result = generate(model, condition=torch.zeros(5, 4), prime=torch.zeros(10))
    assert result.lengths == (5 * 6 - 10,)


def test_samples_are_the_decoded_waveform():
    model = make_model("mixture")
    result = generate(model, samples=50)
    assert result.sample_rate == 16_000
    assert result.samples.dtype == torch.float32 and result.samples.abs().max() <= 1
    with pytest.raises(InputError, match="sound"):
        _ = result.text


def test_text_models_make_text():
    model = make_model("bytes")
    result = generate(model, samples=[20, 10], batch=2, speaker=1)
    assert len(result.text) == 2 and all(isinstance(text, str) for text in result.text)
    assert len(result.text[1].encode()) >= 10 or "\ufffd" in result.text[1]
    with pytest.raises(InputError, match="text"):
        _ = result.samples
    with pytest.raises(InputError, match="no seconds"):
        generate(model, seconds=1.0, speaker=1)


def test_a_prime_may_be_a_waveform_tokens_or_text():
    model = make_model("categorical")
    wave = torch.sin(torch.arange(50) * 0.3) * 0.5
    classes = model.config.codec_object.encode(wave)
    expected = generate(model, samples=20, prime=classes).tokens
    assert torch.equal(generate(model, samples=20, prime=wave).tokens, expected)
    assert torch.equal(generate(model, samples=20, prime=wave.numpy()).tokens, expected)
    assert torch.equal(generate(model, samples=20, prime=classes[None].expand(2, -1), batch=2).tokens[:1], expected)
    text = make_model("bytes")
    assert generate(text, samples=5, prime="hello", speaker=0).lengths == (5,)
    with pytest.raises(InputError, match="give a waveform"):
        generate(model, samples=5, prime="hello")
    with pytest.raises(InputError, match="give a str"):
        generate(text, samples=5, prime=wave, speaker=0)


def test_temperature_zero_needs_no_seed():
    model = make_model("categorical")
    assert torch.equal(
        generate(model, samples=40, temperature=0, seed=1).tokens,
        generate(model, samples=40, temperature=0, seed=2).tokens,
    )


def test_the_seed_decides():
    model = make_model("categorical")
    first, same, other = (generate(model, samples=60, seed=seed).tokens for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_results_are_saved_one_file_a_stream(tmp_path):
    model = make_model("mixture")
    result = generate(model, samples=[300, 200], batch=2, output=tmp_path / "out.wav")
    paths = [tmp_path / "out-0.wav", tmp_path / "out-1.wav"]
    assert result.save(tmp_path / "out.wav") == paths
    for row, (path, length) in enumerate(zip(paths, (300, 200), strict=True)):
        wave, rate = soundfile.read(path, dtype="float32")
        assert rate == 16_000 and len(wave) == length
        assert np.abs(wave - result.samples[row, :length].numpy()).max() <= 1 / 32768
    text = generate(make_model("bytes"), samples=30, speaker=2)
    assert text.save(tmp_path / "out.txt") == [tmp_path / "out.txt"]
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == text.text[0]


class Interrupted(BaseException):
    """Stands in for Ctrl-C, which pytest takes for itself."""


def test_what_was_made_is_kept_when_generation_is_interrupted(tmp_path, monkeypatch):
    model = make_model("mixture")
    expected = generate(model, samples=2048)
    from fastwave.engine.engine import Engine

    original, calls = Engine.run, []

    def interrupted_third(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise Interrupted
        return original(self, *arguments, **options)

    monkeypatch.setattr(Engine, "run", interrupted_third)
    with pytest.raises(Interrupted):
        generate(model, samples=5000, output=tmp_path / "kept.wav")
    wave, _ = soundfile.read(tmp_path / "kept.wav", dtype="float32")
    assert len(wave) == 2048
    assert np.abs(wave - expected.samples[0].numpy()).max() <= 1 / 32768


def test_save_every_leaves_a_whole_file_at_each_stage(tmp_path, monkeypatch):
    from fastwave.generation.result import Result

    lengths, save = [], Result.save
    monkeypatch.setattr(Result, "save", lambda self, path: (lengths.append(self.lengths), save(self, path))[1])
    generate(make_model("mixture"), samples=3000, output=tmp_path / "x.wav", save_every=1000)
    assert lengths == [(1024,), (2048,), (3000,)]
    with pytest.raises(InputError, match="save_every"):
        generate(make_model("mixture"), samples=10, save_every=5)


def test_a_stuck_output_is_reported_once_a_stream(monkeypatch):
    monkeypatch.setattr("fastwave.generation.stagnation.STUCK_SECONDS", 0.1)
    model = make_model("categorical")
    with torch.no_grad():
        model.get_parameter("head.1.bias")[3] += 1000
    with pytest.warns(StagnationWarning, match="repeated the value 3") as caught:
        generate(model, samples=4_000, temperature=0)
    assert len(caught) == 1


def test_a_lively_output_is_not_reported():
    with warnings.catch_warnings():
        warnings.simplefilter("error", StagnationWarning)
        result = generate(make_model("bytes"), samples=1500, speaker=0)
    assert result.tokens.unique().numel() > 10  # it is lively indeed


def test_broken_weights_stop_with_the_step(tmp_path):
    model = make_model("categorical")
    with torch.no_grad():
        model.get_parameter("skip.bias")[0] = math.inf
    with pytest.raises(GenerationError, match="sample 0 of stream 0"):
        generate(model, samples=10, output=tmp_path / "never.wav")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", CONFIGS)
def test_score_is_the_mean_loss_after_silence_in_bits(name, monkeypatch):
    model = make_model(name, torch.float64)
    config = model.config
    tokens = make_tokens(config, 2, 70)
    given = make_condition(config, 2, 70)
    out = heard(model, tokens, given)
    expected = negative_log_likelihood(config.output, out, tokens.double() if config.scalar_input else tokens).mean()
    bits = expected.item() / math.log(2)
    assert score(model, tokens, dtype="float64", **given) == pytest.approx(bits, rel=1e-9)
    single = make_model(name)
    for window in (1000, 7, 1):  # in parallel passes, behind one receptive field each
        monkeypatch.setattr("fastwave.generation.score.WINDOW", window)
        assert score(single, tokens, **given) == pytest.approx(bits, rel=1e-5)
    assert score(model, tokens, **given) == pytest.approx(bits, rel=1e-5)  # float64 weights, computed in float32


def test_score_of_a_blind_model_is_the_entropy_of_white_noise():
    from fastwave import WaveNet, WaveNetConfig

    torch.manual_seed(0)
    model = WaveNet(WaveNetConfig.preset("small"))
    with torch.no_grad():
        model.get_parameter("head.1.weight").zero_()
    assert score(model, torch.rand(5000) * 2 - 1) == pytest.approx(8.0, abs=1e-5)


def test_long_recordings_are_scored_in_pieces_with_the_same_answer(monkeypatch):
    model = make_model("categorical", torch.float64)
    tokens = make_tokens(model.config, 1, 4096 + 100)
    one = score(model, tokens, dtype="float64")
    two = score(model, torch.cat([tokens, tokens], dim=1)[:, : tokens.shape[1]], dtype="float64")
    first = score(model, tokens[:, :100], dtype="float64")
    assert one == two and math.isfinite(first)
    expected = negative_log_likelihood("categorical", heard(model, tokens, {}), tokens).mean().item() / math.log(2)
    assert one == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 1, "samples": 5}, "not both"),
        ({"samples": -1}, "samples must be >= 0"),
        ({"samples": 1.5}, "samples must be >= 0"),
        ({"seconds": math.nan}, "seconds must be >= 0"),
        ({"seconds": math.inf}, "seconds must be >= 0"),
        ({"samples": [1, 2]}, "2 lengths for batch=1"),
        ({"samples": 5, "batch": 0}, "batch"),
        ({"samples": 5, "seed": -1}, "seed"),
        ({"samples": 5, "seed": 2**64}, "seed"),
        ({"samples": 5, "temperature": math.nan}, "temperature"),
        ({"samples": 5, "prime": torch.zeros(1, 2, 3)}, "prime must have shape"),
        ({"samples": 5, "dtype": "int4"}, "int4"),
        ({"samples": 5, "condition": torch.zeros(3, 3)}, "no local features"),
    ],
)
def test_impossible_requests_are_refused_before_anything_runs(options, message):
    with pytest.raises(InputError, match=message):
        generate(make_model("categorical"), **options)


def test_stream_refuses_at_the_call_not_at_the_first_part():
    with pytest.raises(InputError, match="chunk"):
        stream(make_model("categorical"), samples=5, chunk=0)
    with pytest.raises(InputError, match="top_k"):
        stream(make_model("gaussian"), samples=5, top_k=3)
