"""The letter-to-sound network: its error on words it has not seen, its size, its manners."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fastwave.speech.phones import SYMBOLS
from fastwave.speech.text import letters
from fastwave.speech.text.lexicon import pronounce

# 600 of the words that recipes/voice/letters.py holds out, each with all pronunciations of the dictionary
HELD_OUT = [line.split("\t") for line in (Path(__file__).parent / "held_out.tsv").read_text().splitlines()]
MOST = 0.095  # of their phones are wrong; 8.6% of these 600, 9.2% of all 4,799 words held out


def edits(guess, reference):
    row = np.arange(len(reference) + 1)
    for phone in guess:
        changed = np.minimum(row[:-1] + [phone != other for other in reference], row[1:] + 1)
        row = np.minimum.accumulate(np.concatenate([[row[0] + 1], changed]) - np.arange(len(row))) + np.arange(len(row))
    return int(row[-1])


def bare(phones):
    return [phone.rstrip("012") for phone in phones]


def test_edits_are_counted():
    assert [edits(a, b) for a, b in [("cat", "cat"), ("cat", "cut"), ("", "cat"), ("cat", ""), ("at", "cat")]] == [
        0, 1, 3, 3, 1,
    ]  # fmt: skip


def test_few_phones_of_unseen_words_are_wrong():
    wrong = phones = 0
    for word, references in HELD_OUT:
        guess = bare(letters.guess(word))
        distance, length = min((edits(guess, bare(one.split())), len(one.split())) for one in references.split(" / "))
        wrong += distance
        phones += length
    assert wrong / phones < MOST


def test_every_guess_has_one_primary_stress_and_known_phones():
    for word, _ in HELD_OUT[:200]:
        guess = letters.guess(word)
        vowels = [phone for phone in guess if phone[-1].isdigit()]
        assert set(guess) <= set(SYMBOLS)
        assert not vowels or "1" in {phone[-1] for phone in vowels}


@pytest.mark.parametrize("word", ["", "'", "é", "日本", "5", "-"])
def test_a_word_without_letters_has_no_phones(word):
    assert letters.guess(word) == ()


def test_very_long_words_are_cut_short():
    assert letters.guess("ab" * 10_000) == letters.guess("ab" * 20)


def test_the_weights_are_small():
    assert letters.FILE.stat().st_size < 600_000


def test_weights_are_kept_to_a_255th_of_the_largest_of_their_row(tmp_path):
    rng = np.random.default_rng(0)
    made, original = letters_of(tmp_path, rng)
    scale = np.abs(original["letters.weight"]).max(axis=1, keepdims=True)
    assert np.all(np.abs(made.letters - original["letters.weight"]) <= scale / 254 + 1e-6)


def letters_of(folder, rng):
    """A small network of random weights, saved and loaded, and the weights that were saved."""
    shapes = {"letters.weight": (28, 4), "near.weight": (6, 4, 5), "near.bias": (6,), "history.weight": (3, 2),
              "score.weight": (2, 8), "score.bias": (2,)}  # fmt: skip
    for name, inputs, memory in (("ahead", 6, 6), ("back", 6, 6), ("decide", 14, 8)):
        shapes |= {f"{name}.weight_ih_l0": (3 * memory, inputs), f"{name}.weight_hh_l0": (3 * memory, memory)}
        shapes |= {f"{name}.bias_ih_l0": (3 * memory,), f"{name}.bias_hh_l0": (3 * memory,)}
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    letters.save(folder / "letters.safetensors", tensors, [("AH0",), ("K", "S")])
    return letters.Letters(folder / "letters.safetensors"), tensors


def test_the_numpy_network_is_torchs(tmp_path):
    """The recurrent units in numpy give the states of torch.nn.GRU with the same weights."""
    made, _ = letters_of(tmp_path, np.random.default_rng(1))
    unit = made.units["ahead"]
    gru = torch.nn.GRU(6, 6, batch_first=True)
    weights = {"weight_ih_l0": unit.into.T, "weight_hh_l0": unit.past.T, "bias_ih_l0": unit.into_bias,
               "bias_hh_l0": unit.past_bias}  # fmt: skip
    gru.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in weights.items()})
    inputs = np.random.default_rng(2).standard_normal((7, 6)).astype(np.float32)
    with torch.no_grad():
        expected = gru(torch.from_numpy(inputs[None]))[0][0].numpy()
    np.testing.assert_allclose(unit(inputs), expected, atol=1e-5)


def test_the_words_of_the_list_are_spoken_by_the_lexicon_first():
    assert all(pronounce(word) for word, _ in HELD_OUT)
