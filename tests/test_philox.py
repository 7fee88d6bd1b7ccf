"""The noise is Philox4x32-10 at known coordinates, and nothing else decides a number."""

import numpy as np
import pytest
import scipy.stats
import torch

from fastwave import InputError
from fastwave.philox import noise, philox

# The published known-answer vectors of Random123: counter, key (low word first), result.
KNOWN_ANSWERS = {
    "zeros": ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    "ones": ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    "pi": ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
}
BIG_SEED = 0xFEDC_BA98_7654_3210
MANY = 2**18
SIGNIFICANT = 0.001


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def scalar_philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 as the paper writes it, one counter at a time in Python integers."""
    left0, right0, left1, right1 = counter
    for step in range(10):
        round_key = [(key[0] + step * 0x9E3779B9) % 2**32, (key[1] + step * 0xBB67AE85) % 2**32]
        high0, low0 = divmod(left0 * 0xD2511F53, 2**32)
        high1, low1 = divmod(left1 * 0xCD9E8D57, 2**32)
        left0, right0, left1, right1 = high1 ^ right0 ^ round_key[0], low1, high0 ^ right1 ^ round_key[1], low0
    return [left0, right0, left1, right1]


def expected_uniform(seed: int, stream: int, time: int, draw: int) -> float:
    """What SPEC says: key = seed, counter = (time low, time high, stream, draw), top 24 bits of the first word."""
    first_word = scalar_philox([time % 2**32, time // 2**32, stream, draw], [seed % 2**32, seed // 2**32])[0]
    return (first_word >> 8) / 2**24


@pytest.mark.parametrize("name", KNOWN_ANSWERS)
def test_philox_gives_the_published_known_answers(name):
    counter, key, answer = (words(text) for text in KNOWN_ANSWERS[name])
    given = [np.array([word], dtype=np.uint64) for word in counter]
    assert [int(word[0]) for word in philox(given, key[0] | key[1] << 32)] == answer
    assert scalar_philox(counter, key) == answer  # the witness of the tests below is itself right


@pytest.mark.parametrize("first", [0, 2**32 - 3, 2**32, 5 * 2**32 + 17, 2**63 - 7])
@pytest.mark.parametrize("stream", [0, 1, 2**32 - 1])
@pytest.mark.parametrize("seed", [0, 1, 2**32, BIG_SEED, 2**64 - 1])
def test_every_number_is_a_function_of_its_coordinates(seed, stream, first):
    drawn = noise(seed, stream, first, count=6, draws=3)
    expected = [[expected_uniform(seed, stream, first + step, draw) for draw in range(3)] for step in range(6)]
    assert drawn.shape == (6, 3)
    assert drawn.tolist() == expected


@pytest.mark.parametrize("start", [0, 2**32 - 20])
@pytest.mark.parametrize(("offset", "count"), [(0, 1), (0, 50), (13, 20), (49, 1), (25, 0)])
def test_a_stretch_equals_the_same_slice_of_a_longer_one(start, offset, count):
    whole = noise(BIG_SEED, 3, start, 50, draws=2)
    part = noise(BIG_SEED, 3, start + offset, count, draws=2)
    assert torch.equal(part, whole[offset : offset + count])


def test_one_draw_is_the_first_of_several():
    assert torch.equal(noise(7, 2, 0, 100), noise(7, 2, 0, 100, draws=4)[:, :1])


def test_numbers_are_float32_multiples_of_two_to_the_minus_24_below_one():
    drawn = noise(1, 0, 0, MANY)
    assert drawn.dtype == torch.float32
    assert torch.equal((drawn * 2**24).round() / 2**24, drawn)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert ((drawn * 2**24) % 2 == 1).any()  # the last of the 24 bits is in use


@pytest.mark.parametrize("seed", [0, 1, BIG_SEED])
def test_numbers_are_uniform(seed):
    counts = np.histogram(noise(seed, 0, 0, MANY, draws=2).numpy(), bins=1024, range=(0, 1))[0]
    p = scipy.stats.chisquare(counts).pvalue
    assert SIGNIFICANT / 3 < p < 1 - SIGNIFICANT / 3  # three seeds; too even is as wrong as too uneven


NEIGHBOURS = {
    "stream": ((9, 4, 0), (9, 5, 0)),
    "time": ((9, 4, 0), (9, 4, 1)),
    "time-beyond-32-bits": ((9, 4, 0), (9, 4, 2**32)),
    "seed": ((9, 4, 0), (10, 4, 0)),
    "seed-high-word": ((9, 4, 0), (9 + 2**32, 4, 0)),
}


@pytest.mark.parametrize("name", [*NEIGHBOURS, "draw"])
def test_neighbours_are_independent(name):
    if name == "draw":
        one, other = noise(9, 4, 0, MANY, draws=2).unbind(dim=1)
    else:
        one, other = (noise(*coordinates, MANY)[:, 0] for coordinates in NEIGHBOURS[name])
    one, other = one.double().numpy(), other.double().numpy()
    joint = np.histogram2d(one, other, bins=16, range=((0, 1), (0, 1)))[0]
    values = {
        "correlation": scipy.stats.pearsonr(one, other).pvalue,
        "joint distribution": scipy.stats.chisquare(joint.ravel()).pvalue,
    }
    alpha = SIGNIFICANT / (len(values) * (len(NEIGHBOURS) + 1))
    assert all(alpha < p < 1 - alpha for p in values.values()), values


@pytest.mark.parametrize(
    ("coordinates", "message"),
    [
        ((-1, 0, 0, 1), "seed must be .*, got -1"),
        ((2**64, 0, 0, 1), "seed must be"),
        ((0, -1, 0, 1), "stream must be .*, got -1"),
        ((0, 2**32, 0, 1), "stream must be"),
        ((0, 0, -1, 1), "times .* must lie in"),
        ((0, 0, 0, -1), "times .* must lie in"),
        ((0, 0, 2**63 - 1, 1), "times .* must lie in"),
    ],
)
def test_impossible_coordinates_are_refused(coordinates, message):
    with pytest.raises(InputError, match=message):
        noise(*coordinates)
