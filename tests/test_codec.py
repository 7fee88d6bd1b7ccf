"""Codecs: waveform or text <-> classes."""

import math

import numpy as np
import pytest
import torch

from fastwave import blocks, codec
from fastwave.errors import ConfigError, InputError

CLASS_COUNTS = [2, 3, 16, 255, 256, 1024, 65536]
AUDIO = [codec.MuLaw, codec.Linear]


def mu_law_of_the_page(x: float, classes: int) -> int:
    """SPEC's formula, one sample at a time in Python's own float64: the witness."""
    mu = classes - 1
    sign = (x > 0) - (x < 0)
    return math.floor((sign * math.log1p(mu * min(abs(x), 1)) / math.log1p(mu) + 1) / 2 * mu + 0.5)


def linear_of_the_page(x: float, classes: int) -> int:
    return math.floor((min(max(x, -1), 1) + 1) / 2 * (classes - 1) + 0.5)


# Every class, every sample


@pytest.mark.parametrize("kind", AUDIO)
@pytest.mark.parametrize("classes", CLASS_COUNTS)
def test_every_class_comes_back_exactly(kind, classes):
    every = torch.arange(classes)
    chosen = kind(classes)
    assert torch.equal(chosen.encode(chosen.decode(every)), every)


@pytest.mark.parametrize("classes", CLASS_COUNTS)
def test_encoding_follows_the_written_formulas(classes):
    wave = np.random.default_rng(0).uniform(-1.2, 1.2, 2000).tolist()
    assert codec.MuLaw(classes).encode(wave).tolist() == [mu_law_of_the_page(x, classes) for x in wave]
    assert codec.Linear(classes).encode(wave).tolist() == [linear_of_the_page(x, classes) for x in wave]


def test_mu_law_gives_the_known_values():
    # by hand: log1p(255 * x) / log(256) at x = 1, 15/255 and 1/255 is exactly 1, 1/2 and 1/8
    wave = torch.tensor([-1.0, -15 / 255, -1 / 255, 0.0, 1 / 255, 15 / 255, 1.0], dtype=torch.float64)
    assert codec.MuLaw(256).encode(wave).tolist() == [0, 64, 112, 128, 143, 191, 255]
    assert codec.MuLaw(256).decode([0, 255]).tolist() == [-1.0, 1.0]
    step = math.expm1(math.log(256) / 255) / 255  # classes 127 and 128 stand half a bin from zero on either side
    assert codec.MuLaw(256).decode([127, 128]).tolist() == pytest.approx([-step, step], rel=2**-23)


def test_linear_gives_the_known_values():
    assert codec.Linear(3).encode([-1.0, -0.51, -0.49, 0.0, 0.49, 0.5, 1.0]).tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert codec.Linear(5).decode([0, 1, 2, 3, 4]).tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]


@pytest.mark.parametrize("kind", AUDIO)
@pytest.mark.parametrize("classes", CLASS_COUNTS)
def test_silence_is_the_class_of_zero(kind, classes):
    chosen = kind(classes)
    assert chosen.silence == int(chosen.encode(torch.zeros(1))[0]) == int(chosen.encode([-0.0])[0])


def test_silence_of_256_classes_is_128():
    assert codec.MuLaw(256).silence == codec.Linear(256).silence == 128


@pytest.mark.parametrize("kind", AUDIO)
@pytest.mark.parametrize("classes", CLASS_COUNTS)
def test_a_louder_sample_never_gets_a_lower_class(kind, classes):
    ramp = torch.linspace(-1, 1, 300_001, dtype=torch.float64)
    encoded = kind(classes).encode(ramp)
    assert bool((encoded.diff() >= 0).all())
    assert (int(encoded[0]), int(encoded[-1])) == (0, classes - 1)
    decoded = kind(classes).decode(torch.arange(classes))
    assert bool((decoded.diff() > 0).all())


@pytest.mark.parametrize("kind", AUDIO)
@pytest.mark.parametrize("classes", CLASS_COUNTS)
def test_up_and_down_are_treated_alike(kind, classes):
    wave = torch.rand(20_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    chosen = kind(classes)
    assert torch.equal(chosen.encode(-wave), classes - 1 - chosen.encode(wave))
    every = torch.arange(classes)
    # float32 decoding rounds after the symmetric float64: one step of float32 near 1
    assert torch.allclose(chosen.decode(every), -chosen.decode(classes - 1 - every), rtol=0, atol=2**-23)


@pytest.mark.parametrize("classes", CLASS_COUNTS)
def test_the_error_is_at_most_half_a_step(classes):
    wave = torch.rand(50_000, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 2 - 1
    mu = classes - 1
    linear_error = codec.Linear(classes).decode(codec.Linear(classes).encode(wave)).double() - wave
    assert float(linear_error.abs().max()) <= 1 / mu + 2**-24  # half of 2 / mu, and the rounding to float32

    # mu-law's steps are equal after compression, so half a step is measured there
    def compressed(x: torch.Tensor) -> torch.Tensor:
        return x.sign() * torch.log1p(mu * x.abs()) / math.log1p(mu)

    decoded = codec.MuLaw(classes).decode(codec.MuLaw(classes).encode(wave)).double()
    steepest = mu / math.log1p(mu)  # what compression makes of float32's rounding
    assert float((compressed(decoded) - compressed(wave)).abs().max()) <= 1 / mu + steepest * 2**-24


def test_loud_samples_are_clipped():
    for kind in AUDIO:
        assert kind(256).encode([-1e300, -1.5, 1.5, 1e300]).tolist() == [0, 0, 255, 255]
    assert codec.Pcm().encode([-1e300, -1.5, 0.25, 1.5]).tolist() == [-1.0, -1.0, 0.25, 1.0]


# What goes in and what comes out


@pytest.mark.parametrize("kind", AUDIO)
def test_every_kind_of_float_input_gives_the_same_classes(kind):
    chosen = kind(256)
    wave = torch.tensor([[-0.75, 0.0, 0.125], [0.5, -0.25, 1.0]])  # exact in every float type
    expected = chosen.encode(wave)
    forms = [wave.to(dtype) for dtype in (torch.float16, torch.bfloat16, torch.float64)]
    forms += [wave.clone().requires_grad_(), wave.t().contiguous().t()]
    forms += [wave.numpy(), wave.numpy().astype(">f4"), wave.numpy().astype(np.longdouble), wave.tolist()]
    for form in forms:
        encoded = chosen.encode(form)
        assert encoded.dtype == torch.int64
        assert torch.equal(encoded, expected)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3, 4)])
def test_shapes_are_kept(shape):
    for chosen in (codec.MuLaw(), codec.Linear(), codec.Pcm()):
        encoded = chosen.encode(torch.zeros(shape))
        assert encoded.shape == shape
        assert chosen.decode(encoded).shape == shape
        assert chosen.decode(encoded).dtype == torch.float32


def test_integer_classes_of_any_width_decode_alike():
    expected = codec.MuLaw().decode(torch.tensor([0, 5, 127]))
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32):
        assert torch.equal(codec.MuLaw().decode(torch.tensor([0, 5, 127], dtype=dtype)), expected)
    assert torch.equal(codec.MuLaw().decode(np.array([0, 5, 127], dtype=np.uint16)), expected)
    assert torch.equal(codec.MuLaw().decode([0, 5, 127]), expected)


def test_the_caller_keeps_his_data():
    wave = torch.tensor([0.3, -2.0], dtype=torch.float64)
    classes = torch.tensor([3, 200])
    for chosen in (codec.MuLaw(), codec.Linear(), codec.Pcm()):
        chosen.encode(wave)
    codec.MuLaw().decode(classes)
    codec.Linear().decode(classes)
    assert wave.tolist() == [0.3, -2.0]
    assert classes.tolist() == [3, 200]


def test_long_audio_converts_as_its_pieces_do(monkeypatch):
    wave = torch.rand(1000, generator=torch.Generator().manual_seed(3)) * 2 - 1
    for chosen in (codec.MuLaw(), codec.Linear(), codec.Pcm()):
        whole = chosen.encode(wave)
        with monkeypatch.context() as patch:
            patch.setattr(blocks, "BLOCK", 7)
            assert torch.equal(chosen.encode(wave), whole)
            assert torch.equal(chosen.decode(whole), torch.cat([chosen.decode(part) for part in whole.split(13)]))


# Pre-emphasis


def tone(shape, seed=4):
    """Float32 noise without treble, [..., T] within [-0.8, 0.8]."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    smooth = noise.cumsum(-1) - 0.98 * torch.nn.functional.pad(noise.cumsum(-1), (1, 0))[..., :-1]
    return 0.8 * smooth / smooth.abs().amax()


def test_pre_emphasis_follows_the_written_formulas():
    chosen, p = codec.MuLaw(256, pre_emphasis=0.85), 0.85
    wave = tone((500,)).double().tolist()
    classes = [mu_law_of_the_page(x - p * before, 256) for x, before in zip(wave, [0.0, *wave], strict=False)]
    assert chosen.encode(wave).tolist() == classes
    decoded, last = [], 0.0
    steps = codec.MuLaw(256)._expand(torch.tensor(classes, dtype=torch.float64)).tolist()
    for step in steps:
        last = step + p * last
        decoded.append(min(1.0, max(-1.0, last)))
    assert chosen.decode(classes).tolist() == torch.tensor(decoded, dtype=torch.float32).tolist()


def test_pre_emphasis_gives_the_sound_back_with_less_hiss_than_without():
    """Hiss is the error of the treble, above a quarter of the sample rate: 7 dB less of it."""
    wave = tone((20_000,))

    def hiss(chosen):
        error = chosen.decode(chosen.encode(wave)) - wave
        spectrum = torch.fft.rfft(error)
        return float(spectrum[len(spectrum) // 2 :].abs().square().sum())

    assert hiss(codec.MuLaw(pre_emphasis=0.85)) < hiss(codec.MuLaw()) / 5


@pytest.mark.parametrize("shape", [(300,), (3, 300), (2, 2, 300)])
def test_parts_with_their_memory_are_the_whole_bit_for_bit(shape, monkeypatch):
    chosen, wave = codec.MuLaw(256, pre_emphasis=0.9), tone(shape)
    whole, memory = chosen.decode_part(chosen.encode(wave))
    assert torch.equal(chosen.decode(chosen.encode(wave)), whole)
    for size in (1, 7, 299):
        encoded, decoded, before, past = [], [], None, None
        for part in wave.split(size, dim=-1):
            encoded.append(chosen.encode(part, before))
            before = part[..., -1]
            samples, past = chosen.decode_part(encoded[-1], past)
            decoded.append(samples)
        assert torch.equal(torch.cat(encoded, dim=-1), chosen.encode(wave))
        assert torch.equal(torch.cat(decoded, dim=-1), whole)
        assert torch.equal(past, memory) and past.shape == shape[:-1] and past.dtype == torch.float64
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "BLOCK", 7)
        assert torch.equal(chosen.encode(wave), torch.cat(encoded, dim=-1))
        assert torch.equal(chosen.decode(chosen.encode(wave)), whole)


def test_what_pre_emphasis_decodes_stays_within_full_scale_and_recovers():
    chosen = codec.MuLaw(256, pre_emphasis=0.9)
    loud, memory = chosen.decode_part(torch.full((50,), 255))
    assert loud.max() == 1.0 and memory > 5  # the recursion itself is not clipped, or parts would not be the whole
    after, _ = chosen.decode_part(torch.tensor([127, 128] * 100), memory)
    assert after[-1].abs() < 1e-3


def test_pre_emphasis_is_left_out_of_the_parameters_where_there_is_none():
    assert codec.MuLaw(256, pre_emphasis=0).parameters() == codec.MuLaw(256).parameters() == {}
    assert codec.MuLaw(256, pre_emphasis=0.85).parameters() == {"pre_emphasis": 0.85}
    assert codec.by_name("mu-law", 256, {"pre_emphasis": 0.85}) == codec.MuLaw(256, pre_emphasis=0.85)
    assert not codec.remembers(codec.MuLaw()) and codec.remembers(codec.MuLaw(pre_emphasis=0.5))
    assert codec.MuLaw(pre_emphasis=0.5).silence == 128


def test_pre_emphasis_needs_time_and_takes_none_of_it():
    chosen = codec.MuLaw(pre_emphasis=0.5)
    with pytest.raises(InputError, match="along time"):
        chosen.encode(torch.tensor(0.5))
    assert chosen.encode(torch.zeros(2, 0)).shape == (2, 0)
    nothing, memory = chosen.decode_part(torch.zeros(2, 0, dtype=torch.int64), torch.tensor([0.5, -0.25]))
    assert nothing.shape == (2, 0) and memory.tolist() == [0.5, -0.25]


def test_text_comes_back_and_broken_text_is_shown_as_such():
    chosen = codec.Bytes()
    text = "naïve café, 波形 🎵\n"
    encoded = chosen.encode(text)
    assert encoded.dtype == torch.int64
    assert encoded.tolist() == list(text.encode())
    assert torch.equal(chosen.encode(text.encode()), encoded)
    assert chosen.decode(encoded) == text
    assert chosen.decode([72, 105, 0xFF]) == "Hi\ufffd"
    assert chosen.decode([]) == ""
    assert chr(chosen.silence) == "\n"


def test_pcm_gives_the_samples_themselves():
    wave = torch.tensor([-1.0, 0.1, 1.0])
    chosen = codec.Pcm()
    assert torch.equal(chosen.encode(wave), wave)
    assert torch.equal(chosen.decode(wave), wave)
    assert chosen.encode(wave.double()).dtype == torch.float32
    assert (chosen.classes, chosen.silence, chosen.scalar) == (0, 0.0, True)


# What is refused


@pytest.mark.parametrize("chosen", [codec.MuLaw(), codec.Linear(), codec.Pcm()])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_poisoned_waveform_is_refused_with_its_place(chosen, bad, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 4)
    wave = torch.zeros(10)
    wave[6] = bad
    with pytest.raises(InputError, match="NaN or infinity, first at element 6"):
        chosen.encode(wave)


@pytest.mark.parametrize("chosen", [codec.MuLaw(), codec.Linear(), codec.Pcm()])
@pytest.mark.parametrize(
    "wave", [torch.zeros(3, dtype=torch.int16), np.zeros(3, np.int16), [0, 1], torch.zeros(2, dtype=torch.complex64)]
)
def test_a_waveform_that_is_not_float_is_refused(chosen, wave):
    with pytest.raises(InputError, match="floats in"):
        chosen.encode(wave)


@pytest.mark.parametrize("wave", ["sound", None, [[0.1], [0.1, 0.2]], [True], {"a": 1}, np.array(["a"]), [1j]])
def test_what_is_not_numbers_is_refused(wave):
    for chosen in (codec.MuLaw(), codec.Linear(), codec.Pcm()):
        with pytest.raises(InputError):
            chosen.encode(wave)
        with pytest.raises(InputError):
            chosen.decode(wave)


@pytest.mark.parametrize("chosen", [codec.MuLaw(16), codec.Linear(16)])
def test_classes_out_of_range_or_not_whole_are_refused(chosen):
    for classes in ([16], [-1], [0, 3, 99], torch.tensor([2**40])):
        with pytest.raises(InputError, match=r"0\.\.15"):
            chosen.decode(classes)
    for classes in ([0.5], torch.zeros(2), torch.tensor([True])):
        with pytest.raises(InputError):
            chosen.decode(classes)


def test_text_that_cannot_be_encoded_is_refused():
    for text in ("\ud800", 5, None, ["a"]):
        with pytest.raises(InputError):
            codec.Bytes().encode(text)
    for classes in ([256], [-1], [0.5], [[65, 66]]):
        with pytest.raises(InputError):
            codec.Bytes().decode(classes)


# By name


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("mu-law", 256, codec.MuLaw(256)),
        ("mu-law", 65536, codec.MuLaw(65536)),
        ("linear", 2, codec.Linear(2)),
        ("bytes", 256, codec.Bytes()),
        ("pcm", 0, codec.Pcm()),
    ],
)
def test_a_codec_is_found_by_name_and_carries_it(name, classes, expected):
    found = codec.by_name(name, classes)
    assert found == expected
    assert type(found) is type(expected)
    assert (found.name, found.classes) == (name, classes)
    assert found.is_audio == (name != "bytes")
    assert found.scalar == (name == "pcm")


def test_every_listed_name_is_known():
    classes = {"bytes": 256, "pcm": 0}
    assert [codec.by_name(name, classes.get(name, 16)).name for name in codec.NAMES] == list(codec.NAMES)


@pytest.mark.parametrize("name", ["mulaw", "MU-LAW", "", "mu-law ", None, 3, ["mu-law"]])
def test_an_unknown_codec_is_refused_and_the_known_ones_listed(name):
    with pytest.raises(ConfigError, match="mu-law, linear, bytes, pcm"):
        codec.by_name(name, 256)


@pytest.mark.parametrize(
    ("name", "classes"),
    [("mu-law", count) for count in (1, 0, -5, 65537, 2.0, "256", None, True)]
    + [("linear", 1), ("linear", 65537), ("bytes", 255), ("bytes", 256.0), ("pcm", 256), ("pcm", False), ("pcm", None)],
)
def test_a_class_count_that_the_codec_cannot_have_is_refused(name, classes):
    with pytest.raises(ConfigError, match=name):
        codec.by_name(name, classes)


def test_a_codec_cannot_be_changed():
    with pytest.raises(AttributeError):
        codec.MuLaw().classes = 3


# Gain, and the filters of pcm


@pytest.mark.parametrize("kind", [codec.MuLaw, codec.Pcm])
@pytest.mark.parametrize("p", [0, 0.85])
def test_gain_is_applied_before_encoding_and_undone_after_decoding(kind, p):
    chosen, plain = kind(pre_emphasis=p, gain=0.5), kind()
    wave = 0.4 * torch.sin(torch.arange(300, dtype=torch.float64) * 0.3)
    before = torch.cat([torch.zeros(1, dtype=torch.float64), wave[:-1]])
    tokens = chosen.encode(wave)
    assert torch.equal(tokens, plain.encode(0.5 * (wave - p * before)))
    levels, expected, last = plain.decode(tokens).double() / 0.5, [], 0.0
    for level in levels.tolist():
        last = level + p * last
        expected.append(last)
    assert chosen.decode(tokens).tolist() == pytest.approx(expected, abs=1e-6)
    first, memory = chosen.decode_part(tokens[:100])
    assert torch.equal(torch.cat([first, chosen.decode_part(tokens[100:], memory)[0]]), chosen.decode(tokens))


def test_pcm_may_be_companded():
    wave = torch.tensor([-1.0, -15 / 255, 0.0, 1 / 255, 1.0], dtype=torch.float64)
    chosen = codec.Pcm(mu=255)
    assert chosen.encode(wave).tolist() == pytest.approx([-1, -0.5, 0, 0.125, 1], abs=1e-7)
    assert chosen.decode(chosen.encode(wave)).tolist() == pytest.approx(wave.tolist(), abs=1e-7)


def test_pcm_holds_only_parameters_that_are_not_usual():
    assert codec.Pcm(gain=1).parameters() == {}
    assert codec.by_name("pcm", 0, {"gain": 0.5, "pre_emphasis": 0.9}).parameters() == {
        "pre_emphasis": 0.9,
        "gain": 0.5,
    }
    assert codec.remembers(codec.Pcm(pre_emphasis=0.5)) and not codec.remembers(codec.Pcm(gain=0.5))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"gain": 0}, "gain must be a number 0.001..1000"),
        ({"pre_emphasis": 1}, "pre_emphasis must be a number 0..0.99"),
        ({"mu": -1}, "mu must be a number"),
        ({"rounding": "floor"}, "has no parameter 'rounding'; known are pre_emphasis, gain, mu"),
    ],
)
def test_parameters_that_pcm_cannot_have_are_refused(parameters, message):
    with pytest.raises(ConfigError, match=message):
        codec.by_name("pcm", 0, parameters)


# Dialects of mu-law


def dialect(name):
    return codec.MuLaw(256, **codec.DIALECTS[name])


WAVE = np.random.default_rng(5).uniform(-0.999, 0.999, 20_000)


def compressed(x, mu):
    return np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)


def expanded(y, mu):
    return np.sign(y) / mu * ((1 + mu) ** np.abs(y) - 1)


# name -> (encode, decode) as the projects write them, and the class of silence
WRITTEN = {
    "fastwave": (
        lambda x: np.floor((compressed(x, 255) + 1) / 2 * 255 + 0.5), lambda q: expanded(2 * q / 255 - 1, 255), 128,
    ),
    "r9y9": (lambda x: ((compressed(x, 255) + 1) / 2 * 255).astype(int), lambda q: expanded(2 * q / 255 - 1, 255), 127),
    "r9y9-0.1.1": (
        lambda x: ((compressed(x, 256) + 1) / 2 * 256).astype(int), lambda q: expanded(2 * q / 256 - 1, 256), 128,
    ),
    "vincentherrmann": (
        lambda x: np.digitize(compressed(x, 256), np.linspace(-1, 1, 256)) - 1,
        lambda q: expanded(q / 256 * 2.0 - 1, 256),
        127,
    ),
    "kan-bayashi": (
        lambda x: np.floor((compressed(x, 255) + 1) / 2 * 255 + 0.5),
        lambda q: np.clip(expanded((q - 0.5) / 255 * 2 - 1, 255), -1, 1),
        128,
    ),
    "nsynth": (
        lambda x: np.floor(compressed(x, 255) * 128) + 128,
        lambda q: np.where(q == 128, 0, expanded((q - 128 + 0.5) * 2 / 256, 255)),
        128,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", codec.DIALECTS)
def test_a_dialect_computes_what_its_project_writes(name):
    encode, decode, silence = WRITTEN[name]
    chosen, every = dialect(name), np.arange(256)
    assert chosen.encode(WAVE).tolist() == encode(WAVE).tolist()
    assert chosen.decode(every).numpy() == pytest.approx(decode(every), rel=2**-22, abs=2**-40)
    assert chosen.silence == int(chosen.encode([0.0])[0]) == silence


@pytest.mark.parametrize(
    ("name", "encoded", "decoded"),
    [
        # by hand, of -1, -15/255, 0, 15/255 and 1, where log1p(255 * 15/255) / log(256) is exactly 1/2
        ("fastwave", [0, 64, 128, 191, 255], {0: -1.0, 255: 1.0}),
        ("r9y9", [0, 63, 127, 191, 255], {0: -1.0, 255: 1.0}),
        ("kan-bayashi", [0, 64, 128, 191, 255], {0: -1.0, 128: 0.0}),
        ("nsynth", [0, 64, 128, 192, 255], {128: 0.0, 127: -math.expm1(math.log(256) / 256) / 255}),
        ("r9y9-0.1.1", [0, None, 128, None, 255], {0: -1.0, 128: 0.0}),
        ("vincentherrmann", [0, None, 127, None, 255], {0: -1.0, 128: 0.0}),
    ],
)
def test_a_dialect_gives_the_known_values(name, encoded, decoded):
    chosen = dialect(name)
    wave = torch.tensor([-1.0, -15 / 255, 0.0, 15 / 255, 1.0], dtype=torch.float64)
    for value, expected in zip(chosen.encode(wave).tolist(), encoded, strict=True):
        assert expected in (None, value)
    for class_, sample in decoded.items():
        assert float(chosen.decode([class_])[0]) == pytest.approx(sample, rel=2**-22, abs=0)


@pytest.mark.parametrize("name", codec.DIALECTS)
def test_every_class_of_a_dialect_comes_back_as_documented(name):
    every = torch.arange(256)
    lost = every - dialect(name).encode(dialect(name).decode(every))
    if name in ("fastwave", "nsynth"):
        assert bool((lost == 0).all())
    elif name == "vincentherrmann":
        assert lost.tolist() == [0] + [1] * 255
    else:  # a decoder that gives the lower edge of a bin
        assert set(lost.tolist()) == {0, 1} and int(lost[0]) == 0


def test_only_parameters_that_differ_from_the_defaults_are_held():
    assert codec.MuLaw(64, mu=63, encode_bins=63, decode_shift=0).parameters() == {}
    assert codec.MuLaw(64) != codec.MuLaw(64, mu=64)
    for name, parameters in codec.DIALECTS.items():
        assert dialect(name).parameters() == parameters
        assert codec.by_name("mu-law", 256, parameters) == dialect(name)


def test_the_silence_class_of_a_dialect_can_be_named():
    assert codec.MuLaw(256, silence_class=3).silence == 3
