"""Anything that keeps the generator protocol can be generated from: here a parallel one, 16 samples a step."""

import inspect
import typing

import numpy as np
import pytest
import soundfile
import torch

import fastwave
from fastwave import Engine, InputError, generate, stream
from fastwave.codec import by_name
from fastwave.engine.protocol import Generator
from shapes import make_condition, make_model

STEP = 16


class Prepared:
    """A pitch for each stream."""

    def __init__(self, pitch):
        self.pitch = pitch

    def rows(self, rows):
        return Prepared(self.pitch[list(rows)])


class State:
    """How many samples each stream has had, and those that the last step made too many."""

    def __init__(self, made, rest, numbers):
        self.made, self.rest, self.numbers = made, rest, numbers

    def take(self, rows):
        return State(self.made, self.rest[list(rows)], self.numbers[list(rows)])


class Hum:
    """A sine a stream, with noise that the seed decides, computed 16 samples at a time."""

    codec = by_name("pcm", 0)
    sample_rate = 8000

    def __init__(self):
        self.steps = 0

    def check_sampling(self, sampling):
        if sampling.top_k is not None or sampling.top_p is not None:
            raise InputError("a hum has no classes.")

    def read_condition(self, condition):
        return condition

    def length_of(self, condition):
        return None if condition is None else 100 * len(condition)

    def prepare(self, condition, speaker, batch, samples):
        if speaker is not None:
            raise InputError("a hum knows no speakers.")
        pitch = torch.full((batch,), 0.05) if condition is None else torch.as_tensor(condition).expand(batch, -1)[:, 0]
        return Prepared(pitch)

    def start(self, batch=1, *, prime=None, condition=None):
        return State(0 if prime is None else prime.shape[1], torch.empty(batch, 0), torch.arange(batch))

    def run(self, state, samples, *, seed=0, condition=None, temperature=1.0, top_k=None, top_p=None, in_place=False):
        while state.rest.shape[1] < samples:
            self.steps += 1
            time = torch.arange(state.made, state.made + STEP)
            noise = torch.stack([fastwave.noise(seed, int(n), state.made, STEP)[:, 0] for n in state.numbers])
            wave = 0.5 * torch.sin(condition.pitch[:, None] * time) + temperature * 0.1 * (noise - 0.5)
            state.rest = torch.cat([state.rest, wave], dim=1)
            state.made += STEP
        drawn, state.rest = state.rest[:, :samples], state.rest[:, samples:]
        return drawn


def test_engines_keep_the_protocol_on_every_backend():
    for backend in ("reference", "cpu"):
        assert isinstance(Engine(make_model("categorical"), backend), Generator)
    assert isinstance(Hum(), Generator)


def test_another_kind_of_generator_goes_through_generate_stream_and_save(tmp_path):
    hum = Hum()
    whole = generate(hum, samples=[100, 50, 333], batch=3, seed=4, output=tmp_path / "hum.wav")
    assert whole.lengths == (100, 50, 333) and whole.sample_rate == 8000
    assert hum.steps == -(-333 // STEP)
    parts = list(stream(Hum(), samples=[100, 50, 333], batch=3, seed=4, chunk=37))
    assert torch.equal(torch.cat([part.tokens for part in parts], dim=1), whole.tokens)
    alone = generate(Hum(), samples=333, batch=3, seed=4)
    assert torch.equal(alone.tokens[2], whole.tokens[2]) and torch.equal(alone.tokens[0, :100], whole.tokens[0, :100])
    assert len(alone.tokens.unique(dim=0)) == 3
    assert (whole.tokens[0, 100:] == 0).all()
    for row, length in enumerate(whole.lengths):
        wave, rate = soundfile.read(tmp_path / f"hum-{row}.wav", dtype="float32")
        assert (rate, len(wave)) == (8000, length)
        assert np.abs(wave - whole.samples[row, :length].numpy()).max() <= 1 / 32768


def test_lengths_primes_and_refusals_are_the_generators():
    assert generate(Hum(), condition=torch.tensor([0.1, 0.2])).lengths == (200,)
    assert generate(Hum(), condition=torch.tensor([0.1, 0.2]), prime=torch.zeros(50)).lengths == (150,)
    assert generate(Hum(), 0.01).lengths == (80,) and generate(Hum()).lengths == (24_000,)
    with pytest.raises(InputError, match="no classes"):
        stream(Hum(), samples=5, top_k=3)
    with pytest.raises(InputError, match="no speakers"):
        stream(Hum(), samples=5, speaker=1)


def test_a_generator_that_exists_takes_no_backend():
    for options in ({"backend": "cpu"}, {"dtype": "bfloat16"}, {"threads": 2}):
        with pytest.raises(InputError, match=f"{next(iter(options))} cannot be chosen"):
            generate(Hum(), samples=5, **options)
    with pytest.raises(InputError, match="needs a WaveNet"):
        generate(object(), samples=5)


@pytest.mark.parametrize("name", ["categorical", "mixture-learned", "bytes"])
def test_an_engine_is_generated_from_as_its_model(name):
    model = make_model(name)
    options = {"samples": [40, 90], "batch": 2, "seed": 3, **make_condition(model.config, 2, 90)}
    engine = Engine(model, "cpu")
    expected = generate(model, backend="cpu", **options)
    for _ in range(2):
        assert torch.equal(generate(engine, **options).tokens, expected.tokens)


def test_generate_and_stream_show_the_same_options():
    alone = ("progress", "output", "save_every", "include_prime")  # options of generate alone
    shown = {function: inspect.signature(function).parameters for function in (generate, stream)}
    kinds = {name: each for name, each in shown[generate].items() if name not in alone}
    others = {name: each for name, each in shown[stream].items() if name != "chunk"}
    assert kinds == others
    assert list(kinds) == [
        *("model", "seconds", "samples", "seed", "temperature", "top_k", "top_p", "prime", "condition", "speaker"),
        *("excitation", "batch", "backend", "dtype", "threads"),
    ]
    defaults = {"seed": 0, "temperature": 1.0, "batch": 1, "backend": "auto", "dtype": "auto"}
    assert {
        name: each.default for name, each in kinds.items() if each.default is not None and name != "model"
    } == defaults
    assert all(
        each.kind is each.KEYWORD_ONLY for name, each in shown[generate].items() if name not in ("model", "seconds")
    )
    assert "temperature: float = 1.0" in str(inspect.signature(stream))
    assert typing.get_type_hints(generate)["temperature"] is float


def test_an_option_that_does_not_exist_is_a_type_error():
    for function in (generate, stream):
        with pytest.raises(TypeError, match="unexpected keyword argument 'tempo'"):
            function(make_model("categorical"), samples=1, tempo=3)
