"""A source of known entropy, which a model may come near and never pass."""

from __future__ import annotations

import numpy as np
import torch


def markov_source(classes: int, samples: int, seed: int) -> tuple[torch.Tensor, float]:
    """A second-order Markov chain and its entropy rate in bits, computed from its stationary distribution."""
    random = np.random.default_rng(7)
    transition = random.dirichlet(np.full(classes, 0.3), size=(classes, classes))  # [before last, last, next]
    pairs = np.full((classes, classes), 1 / classes**2)
    for _ in range(500):
        pairs = np.einsum("ab,abc->bc", pairs, transition)
    entropy = -float((pairs[..., None] * transition * np.log2(transition + 1e-300)).sum())
    draws, running = np.random.default_rng(seed).random(samples), transition.cumsum(-1)
    chain = np.zeros(samples, dtype=np.int64)
    for t in range(2, samples):
        chain[t] = min(int((running[chain[t - 2], chain[t - 1]] <= draws[t]).sum()), classes - 1)
    return torch.from_numpy(chain), entropy
