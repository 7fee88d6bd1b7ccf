"""Is a model what it claims to be? Three checks that published WaveNets have failed, for any model.

They only compare outputs and losses, mostly before and after a change of one input, so they also serve for models whose
weights came from elsewhere.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ..distributions import negative_log_likelihood
from ..engine.engine import Engine
from ..engine.example import example
from ..model import WaveNet

# Over ten times the worst rounding of a float64 dot product of 2^16 terms (7e-12), for outputs of order one.
EXACT = 1e-10
LOOK_BACK_LIMIT = 1 << 15  # longer receptive fields are probed over this many samples, and the answer says so


@dataclasses.dataclass(frozen=True)
class Finding:
    """One question and its answer."""

    question: str
    healthy: bool
    detail: str


def examine(model: WaveNet) -> list[Finding]:
    """Finite weights, causality and reach, target shift, parallel = incremental. Works on a float64 copy."""
    broken = [name for name, parameter in model.named_parameters() if not torch.isfinite(parameter).all()]
    if broken:
        return [Finding("weights are finite", False, f"NaN or infinity in {', '.join(broken)}")]
    copy = WaveNet(model.config, backend="reference").double()
    copy.load_state_dict(model.state_dict())
    with torch.inference_mode():
        return [
            Finding("weights are finite", True, f"{model.config.parameter_count:,} parameters"),
            _causality(copy),
            _target_shift(copy),
            _parallel_is_incremental(copy),
        ]


def _causality(model: WaveNet) -> Finding:
    """Change one sample: nothing before it may move, and the last output that moves shows the receptive field."""
    field = model.config.receptive_field
    reach = min(field, LOOK_BACK_LIMIT)
    at = 16
    tokens, inputs = example(model.config, at + reach + 16)
    changed = _changed(tokens, at)
    before, after = (model(each, **inputs) for each in (tokens, changed))
    moved = (before - after).abs().amax(dim=(0, 2)).nonzero()[:, 0]
    if not len(moved):
        return Finding("causal", False, "outputs ignore their input altogether: dead weights")
    first, last = int(moved[0]), int(moved[-1])
    if first < at:
        return Finding(
            "causal", False, f"a change at sample {at} moved the output at {first}: the model sees the future"
        )
    if last >= at + field:
        return Finding(
            "causal", False, f"an output {last - at + 1} samples later moved; the receptive field is {field}"
        )
    probed = "" if field == reach else f" (probed over {reach})"
    return Finding(
        "causal", True, f"a sample moves outputs up to {last - at + 1} later, receptive field {field}{probed}"
    )


def _target_shift(model: WaveNet) -> Finding:
    """The last sample is only ever a target: changing it must change the loss by exactly its own term."""
    tokens, inputs = example(model.config, 64)
    changed = _changed(tokens, tokens.shape[1] - 1)
    out = model(tokens, **inputs)[:, -2:-1]
    terms = [negative_log_likelihood(model.config.output, out, each[:, -1:]).sum() for each in (tokens, changed)]
    expected = (terms[1] - terms[0]) / (tokens[:, 1:].numel())
    error = float((model.loss(changed, **inputs) - model.loss(tokens, **inputs) - expected).abs())
    ok = error < EXACT * max(1.0, float(expected.abs()))
    return Finding("targets are the next sample", ok, f"off by {error:.1e} nats")


def _parallel_is_incremental(model: WaveNet) -> Finding:
    """One pass over a whole sequence against the same samples fed one by one."""
    field = model.config.receptive_field
    tokens, inputs = example(model.config, 32, batch=1)
    engine = Engine(model, backend="reference", dtype="float64")
    state = engine.start(1, **inputs)
    one_by_one = [engine.feed(state, token, **inputs) for token in torch.split(tokens, 1, dim=1)]
    state = engine.start(1, **inputs)
    together = engine.feed(state, tokens, **inputs)
    error = float((torch.cat(one_by_one, dim=1) - together).abs().max())
    scale = max(1.0, float(together.abs().max()))
    return Finding(
        "parallel equals incremental", error < EXACT * scale, f"largest difference {error:.1e}, field {field}"
    )


def _changed(tokens: Tensor, at: int) -> Tensor:
    """The same tokens with another value at one time."""
    other = tokens.clone()
    if tokens.is_floating_point():
        other[:, at] = -tokens[:, at] + 0.05
    else:
        other[:, at] = torch.where(tokens[:, at] == 0, 1, tokens[:, at] - 1)
    return other
