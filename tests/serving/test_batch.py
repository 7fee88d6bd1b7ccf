"""Continuous batching: streams join and leave, and each has the samples that it would have alone."""

import random
import threading

import numpy as np
import pytest
import torch

import fastwave
from fastwave.errors import InputError
from fastwave.generation.request import Request
from fastwave.serving import batch as batches
from fastwave.serving.batch import Batch, GeneratedStream
from listening import listen, until
from shapes import BASE, make_model

NO_FRAMES = ["categorical", "categorical-front3", "mixture", "gaussian", "one-layer"]


@pytest.fixture(autouse=True)
def small_rounds(monkeypatch):
    """Rounds of few samples, so that streams have many chances to be mixed up."""
    monkeypatch.setattr(batches, "MOST", 48)


def speakers_model():
    torch.manual_seed(0)
    speakers = {"condition_channels": 3, "speaker_channels": 3, "speakers": 4}
    return fastwave.WaveNet(fastwave.WaveNetConfig(**BASE, classes=11, **speakers))


def emphasised_model():
    torch.manual_seed(0)
    return fastwave.WaveNet(
        fastwave.WaveNetConfig(**{**BASE, "classes": 256, "codec_parameters": {"pre_emphasis": 0.9}})
    )


def started(batch, options):
    stream = GeneratedStream(Request(batch.engine, None, options))
    batch.add(stream)
    return stream


def requests_of(model):
    """Requests that differ in everything in which they may."""
    picks = random.Random(1)
    for number in range(12):
        options = {"samples": picks.choice([1, 7, 90, 300]), "seed": picks.choice([0, 5, 2**64 - 1])}
        options["temperature"] = picks.choice([1.0, 0.7])
        if model.config.output == "categorical" and number % 4 == 3:
            options["top_k"] = 3
        if number % 3 == 1 and model.config.codec_object.is_audio:
            options["prime"] = 0.5 * torch.sin(torch.arange(40) * 0.3 + number)
        if model.config.speakers:
            options["speaker"] = number % model.config.speakers
        yield options


@pytest.mark.parametrize(
    "make", [*NO_FRAMES, speakers_model, emphasised_model], ids=lambda make: getattr(make, "__name__", make)
)
def test_every_stream_has_the_samples_that_it_has_alone(make):
    model = make_model(make) if isinstance(make, str) else make()
    engine = fastwave.Engine(model, threads=2)
    batch = Batch(engine, "test")
    wanted = list(requests_of(model))
    streams = [started(batch, options) for options in wanted]
    heard = [listen(stream) for stream in streams]
    batch.close()
    for options, samples in zip(wanted, heard, strict=True):
        alone = fastwave.generate(engine, **options).samples[0].numpy()
        assert np.array_equal(samples, alone), options


def test_a_model_of_text_gives_its_letters():
    torch.manual_seed(0)
    config = fastwave.WaveNetConfig(**{**BASE, "codec": "bytes", "sample_rate": 0})
    engine = fastwave.Engine(fastwave.WaveNet(config))
    batch = Batch(engine, "test")
    letters = listen(started(batch, {"samples": 50, "seed": 4}))
    batch.close()
    alone = fastwave.generate(engine, samples=50, seed=4)
    assert np.array_equal(letters, alone.tokens[0].numpy())


def test_streams_that_are_together_are_one_run():
    engine = fastwave.Engine(make_model("categorical"), threads=1)
    sizes, run = [], engine.run
    gate = threading.Event()

    def counted(state, *arguments, **options):
        gate.wait(60)
        sizes.append(state.batch)
        return run(state, *arguments, **options)

    engine.run = counted
    batch = Batch(engine, "test")
    streams = [started(batch, {"samples": 100, "seed": seed}) for seed in range(5)]
    gate.set()
    for stream in streams:
        listen(stream)
    batch.close()
    assert max(sizes) == 5 and sum(sizes) <= 5 * len(sizes)
    assert len(sizes) <= 1 + 5 + -(-100 // batches.FEWEST)  # the first may have begun alone


def test_who_does_not_listen_costs_nothing_and_holds_nobody_up():
    engine = fastwave.Engine(make_model("categorical"), threads=1)
    batch = Batch(engine, "test")
    slow = started(batch, {"samples": 200_000, "seed": 1})
    until(lambda: not slow.wants_more)
    most = slow.made
    assert most <= batches.AHEAD_SECONDS * engine.sample_rate + batches.MOST
    for seed in range(3):
        assert len(listen(started(batch, {"samples": 2_000, "seed": seed}))) == 2_000
    assert slow.made == most
    slow.take()  # reads again, and gets more
    until(lambda: slow.made > most)
    slow.leave()
    batch.close()


def test_who_leaves_frees_the_place_at_once():
    engine = fastwave.Engine(make_model("categorical"), threads=1)
    batch = Batch(engine, "test")
    streams = [started(batch, {"samples": 10**6, "seed": seed}) for seed in range(4)]
    until(lambda: all(stream.made for stream in streams))
    for stream in streams[1:]:
        stream.leave()
    until(lambda: batch.running == 1)
    made = streams[1].made
    streams[0].take()
    until(lambda: not streams[0].wants_more)
    assert streams[1].made == made
    streams[0].leave()
    batch.close()


def test_a_stream_that_fails_takes_no_other_with_it():
    engine = fastwave.Engine(make_model("categorical"), threads=1)
    run = engine.run

    def failing(state, *arguments, noise, **options):
        if bool((state.time == 0).any()) and bool((noise[:, 0] == bad).all(dim=1).any()):
            raise InputError("the network has made a NaN.")
        return run(state, *arguments, noise=noise, **options)

    bad = fastwave.philox.noise(13, 0, 0, 1, 1)[0]
    engine.run = failing
    batch = Batch(engine, "test")
    streams = [started(batch, {"samples": 80, "seed": seed}) for seed in (11, 12, 13, 14)]
    with pytest.raises(InputError, match="NaN"):
        listen(streams[2])
    for stream in (streams[0], streams[1], streams[3]):
        alone = fastwave.generate(make_model("categorical"), samples=80, seed=stream.request.seed)
        assert np.array_equal(listen(stream), alone.samples[0].numpy())
    batch.close()


def test_a_closed_batch_makes_what_was_asked_for_and_ends_its_thread():
    engine = fastwave.Engine(make_model("categorical"), threads=1)
    batch = Batch(engine, "test")
    stream = started(batch, {"samples": 500, "seed": 1})
    batch.close()
    assert len(listen(stream)) == 500
    until(lambda: batch._thread is None)


def test_a_stream_that_comes_after_the_end_is_made_too():
    """A request may have waited for its place while the models were loaded again."""
    batch = Batch(fastwave.Engine(make_model("categorical"), threads=1), "test")
    batch.close()
    assert len(listen(started(batch, {"samples": 100, "seed": 1}))) == 100
    until(lambda: batch._thread is None)
    assert len(listen(started(batch, {"samples": 100, "seed": 1}))) == 100
