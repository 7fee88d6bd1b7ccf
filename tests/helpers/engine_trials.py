"""What the tests of the engines share: models, trials by teacher forcing after a random past, draws near a boundary."""

import copy
import dataclasses
import math

import numpy as np
import torch

from fastwave import Engine, WaveNet, WaveNetConfig
from fastwave.engine.reference import quiet_torch
from fastwave.proof import generation
from shapes import make_condition, make_tokens
from tolerances import assert_as_close_as_eager

EPSILON = 2.0**-23


def lively(seed=0, **fields):
    """A model whose every weight matters, as those of shapes.make_model, of any config."""
    return generation.lively(WaveNetConfig(**fields), seed)


@dataclasses.dataclass
class Trial:
    model: WaveNet
    prime: torch.Tensor
    tokens: torch.Tensor
    given: dict
    exact: torch.Tensor
    eager: torch.Tensor

    def outputs(self, backend, **options):
        engine = Engine(self.model, backend, **{"dtype": "float32", **options})
        state = engine.start(len(self.prime), prime=self.prime, **self.given)
        return engine.feed(state, self.tokens, **self.given)

    def check(self, **options):
        assert_as_close_as_eager(self.outputs("cpu", **options), self.eager, self.exact)


def make_trial(model, batch, steps):
    config = model.config
    past = config.receptive_field + 3
    known = make_tokens(config, batch, past + steps)
    given = make_condition(config, batch, past + steps)
    exact_model = copy.deepcopy(model).double()
    with quiet_torch():  # no silence before it: the past is long enough
        exact = exact_model(known.double() if config.scalar_input else known, **given)[:, past - 1 : -1]
    # a rectifier of one channel is often shut for good, and then any fault behind it is invisible
    assert exact.std(dim=1).max() > 0.05 * exact.abs().max()
    trial = Trial(model, known[:, :past], known[:, past:], given, exact, exact)
    trial.eager = trial.outputs("reference")
    return trial


ODD_SIZES = [
    # R, G, S, H, K, K0, A, dilations, conditioning
    (1, 3, 17, 100, 2, 1, 256, (3, 7, 1, 12), {}),
    (3, 17, 100, 1, 3, 2, 2, (3, 7, 1, 12), {"condition_channels": 3, "hop": 5}),
    (17, 100, 1, 3, 5, 3, 1000, (5,), {"condition_channels": 3, "hop": 7, "upsampling": "linear"}),
    (100, 1, 3, 17, 2, 2, 11, (1, 12), {"condition_channels": 2, "speaker_channels": 2}),
    (100, 100, 100, 100, 3, 1, 100, (3, 7), {"condition_channels": 5, "speaker_channels": 2, "speakers": 3, "hop": 4}),
    (1, 1, 1, 1, 5, 1, 2, (1, 1, 1), {"condition_channels": 1, "hop": 6, "upsampling": "learned",
                                      "upsample_scales": (3, 2)}),
    (32, 16, 48, 64, 2, 3, 129, (9, 2, 30), {}),
]  # fmt: skip


def odd_model(sizes):
    r, g, s, h, taps, front, classes, dilations, given = sizes
    return lively(
        residual_channels=r, gate_channels=g, skip_channels=s, head_channels=h, kernel_size=taps, front_kernel=front,
        classes=classes, dilations=dilations, seed=2, **given,
    )  # fmt: skip


def to_bfloat16(weight):
    return weight.bfloat16().float()


def to_words_of_bfloat16(weight):
    """Weights [in, out] as the CPU engine packs them: two rows share words, whose low halves are the first row rounded.
    The second row is the whole word, the nearest one with that low half.
    """
    first, second = to_bfloat16(weight[0::2]), weight[1::2].contiguous()
    low = (first.view(torch.int32) >> 16) & 0xFFFF
    down = (second.view(torch.int32) & ~0xFFFF) | low
    words = torch.stack([down, down - 0x10000, down + 0x10000]).view(torch.float32)
    nearest = (words - second).abs().argmin(dim=0, keepdim=True)
    return torch.stack([first, words.gather(0, nearest)[0]], dim=1).flatten(0, 1)


def choices_near(logits, u, slack, temperature=1.0, top_k=None, top_p=None):
    """The classes that a draw may choose whose logits are right to slack[0] and whose sums to slack[1] of the total."""
    logits = np.asarray(logits, dtype=np.float64)
    if np.float32(temperature) == 0:
        return set(np.flatnonzero(logits >= logits.max() - 2 * slack[0]).tolist())
    weights = np.exp((logits - logits.max()) / np.float32(temperature))
    rounding = min(1.0, 2 * slack[0] / float(np.float32(temperature)) + slack[1])
    order = np.argsort(-weights, kind="stable")
    cut = len(weights) if top_k is None else min(top_k, len(weights))
    cuts = {cut}
    if top_p is not None and top_p < 1:
        running = np.cumsum(weights[order[:cut]])
        total = running[-1]
        cuts = {
            min(int((running < (float(np.float32(top_p)) + move) * total).sum()) + 1, cut)
            for move in (-rounding, 0, rounding)
        }
    near = set()
    for kept in cuts:
        last = weights[order[kept - 1]]
        sure = weights > last * (1 + rounding)
        doubtful = np.flatnonzero(~sure & (weights >= last * (1 - rounding)))  # among equals any may have been kept
        options = [order[:kept]] if kept == len(weights) or len(doubtful) > 2 else []
        if not options:
            sure = np.flatnonzero(sure)
            options = [np.append(sure, one) for one in doubtful] + [np.append(sure, doubtful)]
        for members in options:
            chosen = np.zeros_like(weights)
            chosen[members] = weights[members]
            running = np.cumsum(chosen)
            at, margin = u * running[-1], rounding * running[-1]
            high = running >= at - margin
            low = running - chosen <= at + margin
            near |= set(np.flatnonzero(high & low & (chosen > 0)).tolist())
    return near


def sum_rounding(classes):
    """Of a running sum: each of its additions rounds by half an epsilon at most, in either direction at random, and
    four standard deviations; and two units for each weight's exponential."""
    return (4 * math.sqrt(classes / 12) + 2) * EPSILON


def unmoved(state, before):
    """The state is what it was, to the last bit."""
    pairs = zip([state.time, state.streams, state.tokens, *state.memory],
                [before.time, before.streams, before.tokens, *before.memory], strict=True)  # fmt: skip
    assert all(torch.equal(one, other) for one, other in pairs)
