"""score(): how many bits a sample a model needs for sound or text that exists."""

from __future__ import annotations

import contextlib
import copy
import math
import os
from collections.abc import Iterator

import torch
from torch import Tensor

from .. import conditioning
from ..codec import Codec
from ..distributions import negative_log_likelihood
from ..engine.engine import Engine
from ..errors import InputError
from ..model import WaveNet
from ..sound.loudness import Normalize
from .request import encoded, level_of, model_of

WINDOW = 16_384  # samples scored at once: 100 MB at `ref`


def score(
    model: WaveNet | str | os.PathLike[str],
    samples: object,
    *,
    condition: object = None,
    speaker: object = None,
    excitation: object = None,
    backend: str = "auto",
    dtype: str = "float32",
    threads: int | None = None,
) -> float:
    """Mean bits a sample that the model needs for given sound (a waveform at its rate, or a file), text or tokens.

    Every sample counts, each predicted from silence and all that came before it. White noise over 256 classes
    costs 8 bits. For a Gaussian output it is a density (add 15 to compare with 16-bit probabilities).

    In float32 on the backend "auto" many samples are heard at once, as in training; a named backend, or another dtype,
    is the generation engine of that name, which hears them one by one as it would generate.
    """
    if (backend, dtype) == ("auto", "float32"):
        return _score_in_windows(model_of(model), samples, condition, speaker, excitation, threads)
    engine = Engine(model_of(model), backend, dtype, threads)
    tokens = _tokens_to_score(engine.codec, samples, engine.sample_rate, level_of(engine))
    batch, steps = tokens.shape
    prepared = engine.prepare(engine.read_condition(condition), speaker, batch, steps, excitation)
    state = engine.start(batch, condition=prepared)
    nats = 0.0
    for part in torch.split(tokens, 4096, dim=1):  # a few megabytes of activations a layer, however long the recording
        out = engine.feed(state, part, condition=prepared, in_place=True)
        nats += float(negative_log_likelihood(engine.config.output, out, part.to(out.device)).double().sum())
    return nats / tokens.numel() / math.log(2)


@torch.inference_mode()
def _score_in_windows(
    model: WaveNet, samples: object, condition: object, speaker: object, excitation: object, threads: int | None
) -> float:
    """`score` by parallel passes over stretches of the recording, each behind one receptive field of its past."""
    config, field = model.config, model.config.receptive_field
    tokens = _tokens_to_score(config.codec_object, samples, config.sample_rate, config.normalize)
    batch, steps = tokens.shape
    exact = model if next(model.parameters()).dtype == torch.float32 else copy.deepcopy(model).float()
    frames = conditioning.read(config, condition)
    prepared = conditioning.prepare(config, frames, speaker, batch, steps, excitation)
    silence = tokens.new_full((batch, field), config.codec_object.silence)
    padded = torch.cat([silence, tokens], dim=1).to(next(exact.parameters()).device)
    nats = 0.0
    with _torch_threads(threads):
        for first in range(0, steps, WINDOW):
            last = min(first + WINDOW, steps)
            out = exact(padded[:, first : last + field - 1], prepared, first=first - field)[:, field - 1 :]
            target = padded[:, first + field : last + field]
            nats += float(negative_log_likelihood(config.output, out, target).double().sum())
    return nats / tokens.numel() / math.log(2)


def _tokens_to_score(codec: Codec, samples: object, sample_rate: int, normalize: Normalize) -> Tensor:
    tokens = encoded(codec, samples, "samples", sample_rate, normalize)
    if tokens is None or not tokens.numel():
        raise InputError("nothing to score: samples is empty.")
    return tokens


@contextlib.contextmanager
def _torch_threads(count: int | None) -> Iterator[None]:
    """torch on so many threads; None leaves it as it is."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count or before)
        yield
    finally:
        torch.set_num_threads(before)
