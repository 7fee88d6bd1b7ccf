"""The naive row. The naive way, running the whole window for every sample, is what there was before caches."""

import pytest
import torch

from fastwave import WaveNet, WaveNetConfig, noise
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
