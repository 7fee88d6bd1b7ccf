"""What an engine shows before the clock runs: outputs as near to float64 as eager PyTorch's of the same dtype."""

import functools

import torch

from fastwave import Engine, WaveNet
from fastwave.engine.example import example
from tolerances import assert_as_close_as_eager

PROOF_SAMPLES = 24


@functools.cache
def prepared(config, streams=1):
    """A model, tokens that fit it, and for them the exact outputs and those of eager float32 and bfloat16."""
    torch.manual_seed(0)
    model = WaveNet(config, backend="reference")
    tokens, conditioning = example(config, PROOF_SAMPLES, streams)
    outputs = {}
    for dtype in ("float64", "float32", "bfloat16"):
        engine = Engine(model, backend="reference", dtype=dtype)
        outputs[dtype] = engine.feed(engine.start(streams, **conditioning), tokens, **conditioning)
    return model, tokens, conditioning, outputs


def prove(engine, streams=1):
    """float32 by the rule of every kernel; bfloat16 no worse than eager bfloat16; int8 within 4 times of that."""
    _, tokens, conditioning, outputs = prepared(engine.config, streams)
    fed = engine.feed(engine.start(streams, **conditioning), tokens, **conditioning).cpu()
    if engine.dtype == "float32":
        return assert_as_close_as_eager(fed, outputs["float32"], outputs["float64"])
    error = float((fed - outputs["float64"]).abs().max())
    eager = float((outputs["bfloat16"].double() - outputs["float64"]).abs().max())
    limit = {"bfloat16": 1, "int8": 4}[engine.dtype] * eager
    assert error <= limit, f"{engine.dtype}: error {error:.3g}, limit {limit:.3g}"
    return f"{engine.dtype}: error {error:.3g}, eager bfloat16's {eager:.3g}"
