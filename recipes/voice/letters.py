"""The letter-to-sound network of the front end, trained on the CMU pronouncing dictionary.

    python recipes/voice/letters.py package/index.js fastwave/speech/text/data/letters.safetensors

About 11 minutes on one core. Every letter becomes 0, 1 or 2 phones: expectation maximisation finds which, then a
recurrent network learns to choose them, knowing the whole word and the phones before. Words of one family (a stem
and its inflections) are held out together, 5% of all; the script ends with the phone error of the held-out words.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import torch
from lexicon import alternatives, read, underived
from torch import nn

from fastwave.speech.phones import SYMBOLS
from fastwave.speech.text.letters import ALPHABET, Letters, save
from fastwave.speech.text.lexicon import SUFFIXES, Phones, stems

PLAIN = sorted({symbol.rstrip("012") for symbol in SYMBOLS if symbol[0].isalpha()})
RAREST_PAIR = 20  # pairs of phones for one letter that are expected more seldom are no alternative
RAREST_CHUNK = 4  # words with a rarer chunk are left out of the training
EPOCHS, BATCH = 8, 160
RATE = 3e-3  # of Adam, for embeddings, convolution, biases and scores
TURN = 0.02  # of the matrices of the recurrent units, whose steps are orthogonal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dictionary", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--held-out", type=Path, help="also write the held-out words with their phones to this file")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    entries = read(arguments.dictionary)
    names = {letter: phones for letter, phones in entries.items() if letter.isupper()}
    words = underived({word: phones for word, phones in entries.items() if word.islower()})
    chosen = held_out(words)
    held = [word for word in chosen if not is_spelled(word, words[word], names)]
    set_aside = set(chosen)
    train = {word: phones for word, phones in words.items() if word not in set_aside and len(word) > 1}
    aligned = align(train)
    print(f"{len(train)} words to train with, {len(aligned)} of them aligned; {len(held)} held out", flush=True)
    counts = Counter(chunk for chunks in aligned.values() for chunk in chunks)
    chunks = [chunk for chunk, count in counts.most_common() if count >= RAREST_CHUNK]
    aligned = {word: parts for word, parts in aligned.items() if set(parts) <= set(chunks)}
    begun = time.process_time()
    network = fit(Network(len(chunks)), aligned, chunks, arguments.epochs)
    print(f"trained in {(time.process_time() - begun) / 60:.1f} minutes of one core", flush=True)
    save(arguments.out, {name: tensor.numpy() for name, tensor in network.state_dict().items()}, chunks)
    others = alternatives(arguments.dictionary)
    references = {word: [*others.get(word, []), words[word]] for word in held}
    if arguments.held_out:
        arguments.held_out.write_text(json.dumps(references))
    print(report(Letters(arguments.out), references))


def held_out(words: dict[str, Phones]) -> list[str]:
    """5% of the words, by families: where a word is held out, so is its stem, and everything derived from that."""
    families: dict[str, list[str]] = defaultdict(list)
    heads: dict[str, str] = {}
    for word in sorted(words, key=lambda word: (len(word), word)):
        candidates = (stem for suffix in SUFFIXES if word.endswith(suffix) for stem in stems(word, suffix))
        heads[word] = next((heads[stem] for stem in candidates if stem in heads), word)
        families[heads[word]].append(word)
    chosen = random.Random(0).sample(sorted(families), len(families) // 20)
    return [word for head in chosen for word in families[head] if len(words[word]) <= 2 * len(word)]


def is_spelled(word: str, phones: Phones, names: dict[str, Phones]) -> bool:
    """An abbreviation such as dna, which the dictionary gives letter by letter."""
    spelled = [phone for letter in word.upper() for phone in names.get(letter, ())]
    return _bare(phones) == _bare(tuple(spelled))


def align(words: dict[str, Phones]) -> dict[str, list[Phones]]:
    """For every word its phones, parted among its letters: x of box is K S, the last letter of make is nothing."""
    groups: dict[tuple[int, int], list[str]] = defaultdict(list)
    for word, phones in words.items():
        if len(phones) <= 2 * len(word):
            groups[len(word), len(phones)].append(word)
    singles = {phone: 1 + index for index, phone in enumerate(PLAIN)}
    batches = []
    for (length, count), group in groups.items():
        letters = np.array([[ALPHABET.index(letter) for letter in word] for word in group])
        single = np.array([[singles[phone.rstrip("012")] for phone in words[word]] for word in group]).reshape(
            -1, count
        )
        pair = 1 + len(PLAIN) + (single[:, :-1] - 1) * len(PLAIN) + single[:, 1:] - 1
        batches.append((group, length, count, letters, [np.zeros((len(group), count + 1), int), single, pair]))
    table = np.ones((len(ALPHABET), 1 + len(PLAIN) + len(PLAIN) ** 2))
    table[:, 1 + len(PLAIN) :] = 0.01
    for iteration in range(12):
        table /= table.sum(axis=1, keepdims=True)
        expected = np.full_like(table, 1e-9)
        for _, length, count, letters, ids in batches:
            _expect(table, expected, length, count, letters, ids)
        if iteration > 6:
            rare = expected[:, 1 + len(PLAIN) :] < RAREST_PAIR
            expected[:, 1 + len(PLAIN) :][rare] = 1e-9
        table = expected
    table /= table.sum(axis=1, keepdims=True)
    result = {}
    for group, length, count, letters, ids in batches:
        for word, sizes in zip(group, _best(table, length, count, letters, ids), strict=True):
            ends = np.cumsum(sizes)
            result[word] = [words[word][end - size : end] for size, end in zip(sizes, ends, strict=True)]
    return {word: result[word] for word in words if word in result}


def _expect(table, expected, length, count, letters, ids):  # type: ignore[no-untyped-def]
    """Adds to `expected` how often each letter is each chunk, by a forward and a backward pass over all alignments."""
    batch = len(letters)
    forward = np.zeros((length + 1, batch, count + 1))
    backward = np.zeros((length + 1, batch, count + 1))
    forward[0, :, 0] = backward[length, :, count] = 1
    for place in range(length):
        for size in range(min(2, count) + 1):
            step = table[letters[:, place, None], ids[size]]
            forward[place + 1, :, size:] += forward[place, :, : count + 1 - size] * step
    for place in range(length - 1, -1, -1):
        for size in range(min(2, count) + 1):
            step = table[letters[:, place, None], ids[size]]
            backward[place, :, : count + 1 - size] += backward[place + 1, :, size:] * step
    total = forward[length, :, count, None]
    for place in range(length):
        for size in range(min(2, count) + 1):
            rows = np.broadcast_to(letters[:, place, None], ids[size].shape)
            share = forward[place, :, : count + 1 - size] * table[rows, ids[size]] * backward[place + 1, :, size:]
            np.add.at(expected, (rows, ids[size]), share / total)


def _best(table, length, count, letters, ids):  # type: ignore[no-untyped-def]
    """How many phones every letter has in the likeliest alignment, [words, letters]."""
    logs = np.log(table)
    score = np.full((len(letters), count + 1), -np.inf)
    score[:, 0] = 0
    choices = np.zeros((length, len(letters), count + 1), int)
    for place in range(length):
        options = np.full((3, len(letters), count + 1), -np.inf)
        for size in range(min(2, count) + 1):
            options[size, :, size:] = score[:, : count + 1 - size] + logs[letters[:, place, None], ids[size]]
        choices[place], score = options.argmax(axis=0), options.max(axis=0)
    sizes = np.zeros((len(letters), length), int)
    at = np.full(len(letters), count)
    for place in range(length - 1, -1, -1):
        sizes[:, place] = choices[place, np.arange(len(letters)), at]
        at -= sizes[:, place]
    return sizes


class Network(nn.Module):
    """letters [B, T] and the chunks before each [B, T] -> scores of the chunks [B, T, C]."""

    def __init__(self, chunks: int, letters: int = 48, width: int = 128, memory: int = 160, history: int = 48):
        super().__init__()
        self.letters = nn.Embedding(len(ALPHABET) + 1, letters, padding_idx=len(ALPHABET))
        self.near = nn.Conv1d(letters, width, 5, padding=2)
        self.ahead = nn.GRU(width, width, batch_first=True)
        self.back = nn.GRU(width, width, batch_first=True)
        self.history = nn.Embedding(chunks + 1, history)  # the last is the beginning of a word
        self.decide = nn.GRU(2 * width + history, memory, batch_first=True)
        self.score = nn.Linear(memory, chunks)
        self.dropout = nn.Dropout(0.1)

    def forward(self, letters: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        near = self.near(self.letters(letters).transpose(1, 2)).relu().transpose(1, 2)
        near = self.dropout(near)
        ahead, _ = self.ahead(near)
        back, _ = self.back(near.flip(1))
        word = self.dropout(torch.cat([ahead, back.flip(1)], dim=2))
        state, _ = self.decide(torch.cat([word, self.history(before)], dim=2))
        return self.score(self.dropout(state))


def fit(network: Network, aligned: dict[str, list[Phones]], chunks: list[Phones], epochs: int) -> Network:
    """Batches are of words of one length, so that nothing is padded. Returns the average of the last weights."""
    numbers = {chunk: index for index, chunk in enumerate(chunks)}
    groups: dict[int, list[tuple[list[int], list[int]]]] = defaultdict(list)
    for word, parts in aligned.items():
        groups[len(word)].append(([ALPHABET.index(letter) for letter in word], [numbers[part] for part in parts]))
    tensors = {length: torch.tensor(group) for length, group in groups.items()}
    steps = epochs * sum(-(-len(group) // BATCH) for group in tensors.values())
    recurrent = [weight for name, weight in network.named_parameters() if ".weight_" in name]
    others = [weight for name, weight in network.named_parameters() if ".weight_" not in name]
    momenta = [torch.zeros_like(weight) for weight in recurrent]
    optimiser = torch.optim.AdamW(others, RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps, pct_start=0.15, final_div_factor=100)
    averaging = torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=averaging)
    for epoch in range(epochs):
        batches = [batch for group in tensors.values() for batch in group[torch.randperm(len(group))].split(BATCH)]
        losses = []
        for index in torch.randperm(len(batches)).tolist():
            letters, targets = batches[index].unbind(1)
            before = torch.cat([torch.full_like(targets[:, :1], len(chunks)), targets[:, :-1]], dim=1)
            loss = nn.functional.cross_entropy(network(letters, before).flatten(0, 1), targets.flatten())
            network.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            turn(recurrent, momenta, TURN * schedule.get_last_lr()[0] / RATE)
            schedule.step()
            average.update_parameters(network)
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: {sum(losses) / len(losses):.4f}, {time.process_time() / 60:.1f} min", flush=True)
    return average.module


@torch.no_grad()
def turn(weights: list[nn.Parameter], momenta: list[torch.Tensor], rate: float) -> None:
    """A step of Muon (Jordan, 2024): the momentum of every gate's matrix, made orthogonal."""
    for weight, momentum in zip(weights, momenta, strict=True):
        momentum.lerp_(weight.grad, 0.05)
        gates = momentum.lerp(weight.grad, 0.05).unflatten(0, (3, -1))  # [3, memory, inputs]
        tall = gates.shape[1] > gates.shape[2]
        step = gates.mT if tall else gates
        step = step / (step.norm(dim=(1, 2), keepdim=True) + 1e-7)
        for _ in range(4):  # Newton and Schulz, with coefficients that are quick rather than exact
            square = step @ step.mT
            step = 3.4445 * step + (-4.7750 * square + 2.0315 * square @ square) @ step
        step = step.mT if tall else step
        weight.sub_(step.flatten(0, 1), alpha=rate)


def report(letters: Letters, references: dict[str, list[Phones]]) -> str:
    """Edit distance to the nearest pronunciation of the dictionary, over its phones; without and with stress."""
    wrong = wrong_stressed = phones = words = 0
    for word, candidates in references.items():
        guess = letters(word)
        distance, stressed, length = min((edits(_bare(guess), _bare(c)), edits(guess, c), len(c)) for c in candidates)
        wrong += distance
        wrong_stressed += stressed
        phones += length
        words += distance > 0
    shares = f"phone error {wrong / phones:.2%}, {wrong_stressed / phones:.2%} with stress counted"
    return f"{len(references)} held-out words: {shares}; {words / len(references):.1%} of words with an error"


def _bare(phones: Phones) -> Phones:
    return tuple(phone.rstrip("012") for phone in phones)


def edits(guess: Phones, reference: Phones) -> int:
    row = list(range(len(reference) + 1))
    for count, phone in enumerate(guess, 1):
        left, row[0] = row[0], count
        for place, other in enumerate(reference, 1):
            left, row[place] = row[place], min(left + (phone != other), row[place] + 1, row[place - 1] + 1)
    return row[-1]


if __name__ == "__main__":
    main()
