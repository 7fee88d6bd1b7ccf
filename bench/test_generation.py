"""Generation rows. The naive way, running the whole window for every sample, is what there was before caches."""

import pytest
import torch

from fastwave import Engine, WaveNet, WaveNetConfig, noise
from fastwave.distributions import sample
from tolerances import assert_as_close_as_eager


@pytest.fixture
def model():
    torch.manual_seed(0)
    return WaveNet(WaveNetConfig.preset("ref"), backend="reference")


def random_past(config, steps):
    return torch.randint(config.classes, (1, steps), generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def naive(model, past, count):
    """Sample by sample, each from a forward pass over one whole receptive field."""
    field, first = model.config.receptive_field, past.shape[1]
    uniforms = noise(0, 0, first, count)
    for step in range(count):
        out = model(past[:, -field:])[:, -1]
        drawn = sample(model.config.output, out, uniforms[step : step + 1])
        past = torch.cat([past, drawn[:, None]], dim=1)
    return past[:, first:]


def test_naive_generation_ref(model, row):
    past = random_past(model.config, 2 * model.config.receptive_field)
    with torch.inference_mode():
        windowed, whole = (model(past[:, -steps:])[:, -1] for steps in (model.config.receptive_field, past.shape[1]))
        exact = WaveNet(model.config, backend="reference").double()
        exact.load_state_dict(model.state_dict())
        assert_as_close_as_eager(windowed, whole, exact(past)[:, -1])
    row(
        "generate ref, naive full window", lambda: naive(model, past, 4), 4,
        proof="one window = the whole past", config=model.config, dtype="float32",
    )  # fmt: skip


def test_incremental_reference_ref(model, row):
    config = model.config
    past = random_past(config, config.receptive_field + 64)
    engine = Engine(model, backend="reference")
    with torch.inference_mode():
        state = engine.start(prime=past[:, :-64])
        fed = torch.cat([engine.feed(state, token) for token in past[:, -64:].split(1, dim=1)], dim=1)
        exact = WaveNet(config, backend="reference").double()
        exact.load_state_dict(model.state_dict())
        assert_as_close_as_eager(fed, model(past)[:, -65:-1], exact(past)[:, -65:-1])
    row(
        "generate ref, incremental reference", lambda: engine.run(state, 256), 256,
        proof="fed one by one = one parallel pass", config=config, dtype="float32",
    )  # fmt: skip
