"""Random streams: named by their key alone, the same on every machine and in every version, and uniform.

Statistics: each test rejects a true generator with probability below 1e-6 at a fresh key; the keys here are fixed.
"""

import hashlib
import json
import math

import numpy as np
import pytest
from scipy import stats

from shared.seeds import Draws, permutation, word_keys, words

ALPHA = 1e-6
NUM_DRAWS = 100_000


def first_words(*key, count=4):
    return words(count, *key).tolist()


def test_equal_keys_give_equal_streams():
    assert first_words(7, "plan", "paper", 3, count=1000) == first_words(7, "plan", "paper", 3, count=1000)
    assert np.array_equal(permutation(1000, 7, "rows"), permutation(1000, 7, "rows"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b"), ("ab",)),
        (("a", "b"), ("b", "a")),
        (("a", "bc"), ("ab", "c")),
        (("a", ""), ("a",)),
        (("a\x1fstr:b",), ("a", "b")),
        ((1,), ("1",)),
        ((1, 2), (12,)),
        ((1, 23), (12, 3)),
        ((0,), (1,)),
        ((1,), (-1,)),
        ((0,), (2**64,)),
        (("a",), ("A",)),
        ((), ("",)),
    ],
)
def test_different_keys_give_different_streams(one, other):
    assert not set(first_words(*one)) & set(first_words(*other))
    assert not np.array_equal(permutation(64, *one), permutation(64, *other))


def test_ten_thousand_neighbouring_keys_start_with_different_words():
    assert len({first_words(seed, "plan", row, count=1)[0] for seed in range(100) for row in range(100)}) == 10_000


def test_the_global_generator_is_neither_read_nor_set():
    before = np.random.get_state()[1].tobytes()  # noqa: NPY002 - the state that nobody may touch
    Draws(0).word()
    word_keys([9])
    permutation(9, 0)
    assert np.random.get_state()[1].tobytes() == before  # noqa: NPY002


# The literals below were read off once. Plans and shards of years ago are rebuilt from them: they must never change.


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (("a", 1), [0xC2CEAF95E256879F, 0x0FB91894FDDFB0C9, 0xC1881C4BC1712418]),
        ((0, "plan", "paper", "noise", "train", 0), [0x9ED311D9CD70B1A0, 0x85D52ADCF81B8B2D]),
    ],
)
def test_first_words_of_philox_are_pinned(key, words):
    assert first_words(*key, count=len(words)) == words


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 1001])
def test_words_are_those_of_numpys_philox(count):
    for name in ("", "rows", "tickets"):
        digest = hashlib.blake2b(json.dumps([name, count]).encode(), digest_size=16).digest()
        numpys = np.random.Philox(key=int.from_bytes(digest, "little"))
        assert first_words(name, count, count=count) == numpys.random_raw(count).tolist()


def test_scalar_draws_go_on_for_ever():
    draws = Draws("long")
    assert [draws.word() for _ in range(1000)] == first_words("long", count=1000)


def test_word_keys_are_those_of_splitmix64():
    # The first outputs of the published generator for seeds 0 and 1 (Steele, Lea and Flood, 2014).
    keys = word_keys([0, 1])
    assert (keys.dtype, keys.shape) == (np.uint32, (2, 2))
    assert [int(low) | int(high) << 32 for low, high in keys] == [0xE220A8397B1DCDAF, 0x910A2DEC89025CC1]


def test_a_permutation_is_pinned():
    assert permutation(8, "a", 1).tolist() == [1, 3, 7, 4, 5, 2, 0, 6]


def test_scalar_draws_are_the_words_of_the_stream():
    draws = Draws("a", 1)
    assert draws.word() == 0xC2CEAF95E256879F
    assert draws.unit() == (0x0FB91894FDDFB0C9 >> 11) / 2**53
    assert draws.integer(10) == 0xC1881C4BC1712418 * 10 >> 64


def test_uniform_draws_are_uniform_within_their_bounds():
    draws = Draws("uniform")
    values = np.array([draws.uniform(-2.0, 3.0) for _ in range(NUM_DRAWS)])
    assert -2 <= values.min() < values.max() < 3
    assert stats.kstest(values, stats.uniform(-2, 5).cdf).pvalue > ALPHA


def test_unit_draws_lie_in_the_half_open_unit_interval(monkeypatch):
    draws = Draws("unit")
    monkeypatch.setattr(draws, "word", lambda: 2**64 - 1)
    assert draws.unit() == 1 - 2**-53
    monkeypatch.setattr(draws, "word", lambda: 0)
    assert draws.unit() == 0


@pytest.mark.parametrize("probability", [0.03, 0.1, 0.5, 0.8])
def test_a_coin_falls_with_its_probability(probability):
    draws = Draws("coin", str(probability))
    heads = sum(draws.coin(probability) for _ in range(NUM_DRAWS))
    assert stats.binomtest(heads, NUM_DRAWS, probability).pvalue > ALPHA


def test_a_coin_of_probability_0_never_falls_and_of_1_always():
    draws = Draws("sure")
    assert not any(draws.coin(0.0) for _ in range(1000))
    assert all(draws.coin(1.0) for _ in range(1000))


@pytest.mark.parametrize("count", [1, 2, 3, 8, 66])
def test_integers_are_equally_likely(count):
    draws = Draws("integer", count)
    values = [draws.integer(count) for _ in range(NUM_DRAWS)]
    assert set(values) == set(range(count))
    assert count == 1 or stats.chisquare(np.bincount(values)).pvalue > ALPHA


def test_choices_are_equally_likely():
    draws = Draws("choice")
    values = [draws.choice(("area", "bilinear", "bicubic")) for _ in range(NUM_DRAWS)]
    assert stats.chisquare([values.count(mode) for mode in ("area", "bilinear", "bicubic")]).pvalue > ALPHA


def test_names_are_picked_with_their_probabilities():
    probabilities = {"iso": 0.45, "aniso": 0.25, "generalized": 0.15, "rare": 0.03, "never": 0.0, "last": 0.12}
    draws = Draws("pick")
    values = [draws.pick(probabilities) for _ in range(NUM_DRAWS)]
    assert "never" not in values
    names = [name for name in probabilities if name != "never"]
    expected = [probabilities[name] * NUM_DRAWS for name in names]
    assert stats.chisquare([values.count(name) for name in names], expected).pvalue > ALPHA


@pytest.mark.parametrize("count", [0, 1, 2, 100, 4097])
def test_a_permutation_holds_every_index_once(count):
    order = permutation(count, "rows", count)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(count))


def test_all_permutations_of_four_are_equally_likely():
    seen = [tuple(permutation(4, "four", i).tolist()) for i in range(12_000)]
    counts = [seen.count(order) for order in set(seen)]
    assert len(counts) == math.factorial(4)
    assert stats.chisquare(counts).pvalue > ALPHA
