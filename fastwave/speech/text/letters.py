"""Letters to sounds: the phones of a word that the lexicon does not have, by a small recurrent network in numpy.

Every letter becomes 0, 1 or 2 phones, a chunk. Two gated recurrent units read the word, one from each end; a third
goes from letter to letter with the chunk that it chose last, and a beam keeps the best few of its choices.
recipes/voice/letters.py trains it.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from fastwave.speech.text.lexicon import Phones

FILE = Path(__file__).parent / "data" / "letters.safetensors"
ALPHABET = "abcdefghijklmnopqrstuvwxyz'"
LONGEST = 40  # letters of a word that are read; no word has more
BEAM = 4

Array = np.ndarray[Any, np.dtype[np.float32]]


@functools.lru_cache(maxsize=4096)
def guess(word: str) -> Phones:
    """The phones of a word in lower case; other characters than letters and apostrophes are passed over."""
    return _bundled()(word)


@functools.cache
def _bundled() -> Letters:
    return Letters(FILE)


class Letters:
    def __init__(self, path: Path):
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            self.chunks = [tuple(chunk.split()) for chunk in json.loads(file.metadata()["chunks"])]
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        weights: dict[str, Array] = {
            name: tensor.astype(np.float32) * stored[name + ".scale"] if tensor.dtype == np.int8 else tensor
            for name, tensor in stored.items()
            if not name.endswith(".scale")
        }
        self.letters = weights["letters.weight"]
        self.near = np.ascontiguousarray(weights["near.weight"].transpose(2, 1, 0))  # [5, E, C]
        self.near_bias = weights["near.bias"]
        self.units = {name: Unit(weights, name) for name in ("ahead", "back", "decide")}
        width = 2 * weights["ahead.weight_hh_l0"].shape[1]
        into = self.units["decide"].into  # [2 * width + H, 3 * memory]
        self.history = weights["history.weight"] @ into[width:]  # what each chunk adds to the gates of the next
        self.units["decide"].into = np.ascontiguousarray(into[:width])
        self.score = np.ascontiguousarray(weights["score.weight"].T)
        self.score_bias = weights["score.bias"]

    def __call__(self, word: str) -> Phones:
        numbers = [ALPHABET.index(letter) for letter in word if letter in ALPHABET][:LONGEST]
        return stressed(self._search(self._read(numbers))) if numbers else ()

    def _read(self, numbers: list[int]) -> Array:
        """What is known of every letter in its word, [T, 2 * width]."""
        letters = np.pad(self.letters[numbers], ((2, 2), (0, 0)))
        near = sum(letters[tap : tap + len(numbers)] @ self.near[tap] for tap in range(5)) + self.near_bias
        near = np.maximum(near, 0)
        return np.concatenate([self.units["ahead"](near), self.units["back"](near[::-1])[::-1]], axis=1)

    def _search(self, word: Array) -> Phones:
        unit = self.units["decide"]
        last = np.array([len(self.chunks)])
        scores = np.zeros(1, np.float32)
        state = np.zeros((1, unit.memory), np.float32)
        paths: list[tuple[int, ...]] = [()]
        for row in word @ unit.into + unit.into_bias:
            state = unit.step(row + self.history[last], state)
            logits = state @ self.score + self.score_bias
            logits -= logits.max(axis=1, keepdims=True)
            total = scores[:, None] + logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            best = np.argsort(-total, axis=None, kind="stable")[:BEAM]
            rows, last = np.unravel_index(best, total.shape)
            scores, state = total[rows, last], state[rows]
            paths = [(*paths[row], int(chunk)) for row, chunk in zip(rows, last, strict=True)]
        return tuple(phone for chunk in paths[0] for phone in self.chunks[chunk])


class Unit:
    """A gated recurrent unit with its gates in torch's order: reset, update, new."""

    def __init__(self, weights: dict[str, Array], name: str):
        self.into = np.ascontiguousarray(weights[f"{name}.weight_ih_l0"].T)
        self.into_bias = weights[f"{name}.bias_ih_l0"]
        self.past = np.ascontiguousarray(weights[f"{name}.weight_hh_l0"].T)
        self.past_bias = weights[f"{name}.bias_hh_l0"]
        self.memory = len(self.past)

    def __call__(self, inputs: Array) -> Array:
        state = np.zeros((1, self.memory), np.float32)
        states = []
        for row in inputs @ self.into + self.into_bias:
            state = self.step(row[None], state)
            states.append(state[0])
        return np.stack(states)

    def step(self, projected: Array, state: Array) -> Array:
        """The state after one input, which is already projected; both [beam, ...]."""
        size = self.memory
        past = state @ self.past + self.past_bias
        gates = _sigmoid(projected[:, : 2 * size] + past[:, : 2 * size])
        new = np.tanh(projected[:, 2 * size :] + gates[:, :size] * past[:, 2 * size :])
        return new + gates[:, size:] * (state - new)  # type: ignore[no-any-return]


def _sigmoid(values: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * values)  # type: ignore[no-any-return]


def stressed(phones: Phones) -> Phones:
    """The same with a primary stress, on the first vowel where there was none."""
    vowels = [place for place, phone in enumerate(phones) if phone[-1].isdigit()]
    if not vowels or any(phones[place].endswith("1") for place in vowels):
        return phones
    place = next((place for place in vowels if phones[place].endswith("2")), vowels[0])
    return (*phones[:place], phones[place][:-1] + "1", *phones[place + 1 :])


def save(path: Path, tensors: dict[str, Any], chunks: list[Phones]) -> None:
    """Matrices as int8 with a scale for every row, biases as float32."""
    from safetensors.numpy import save_file

    stored = {}
    for name, tensor in tensors.items():
        if tensor.ndim > 1:
            rows = tuple(range(1, tensor.ndim))
            scale = np.abs(tensor).max(axis=rows, keepdims=True).astype(np.float32) / 127 + 1e-12
            stored[name + ".scale"] = scale
            tensor = np.round(tensor / scale).astype(np.int8)
        stored[name] = tensor
    save_file(stored, path, {"chunks": json.dumps([" ".join(chunk) for chunk in chunks])})
    path.chmod(0o644)
