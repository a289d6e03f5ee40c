"""Keyed streams: against the published generator, and pure."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anew.core import randomness

# The first outputs of SplitMix64 seeded with 1234567, as published with the reference
# implementation's tests.
PUBLISHED = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]


def unsigned(bits):
    return [value % 2**64 for value in bits.tolist()]


def splitmix64(seed, count):
    """The sequential generator, in NumPy's unsigned arithmetic."""
    with np.errstate(over="ignore"):
        state, out = np.uint64(seed), []
        for _ in range(count):
            state += np.uint64(0x9E3779B97F4A7C15)
            z = state
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            out.append(int(z ^ (z >> np.uint64(31))))
    return out


def test_published_values():
    assert unsigned(randomness.bits(1234567, torch.arange(5))) == PUBLISHED


@given(st.integers(0, 2**64 - 1))
def test_equals_the_sequential_generator(seed):
    assert unsigned(randomness.bits(seed, torch.arange(20))) == splitmix64(seed, 20)


@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 2**40), min_size=1, max_size=20))
def test_a_number_depends_on_its_counter_alone(stream, counters):
    together = randomness.bits(stream, torch.tensor(counters))
    alone = [randomness.bits(stream, torch.tensor([counter])).item() for counter in counters]
    assert together.tolist() == alone


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**31))
def test_below_stays_below(stream, limit):
    numbers = randomness.below(stream, torch.arange(100), limit)
    assert numbers.min() >= 0 and numbers.max() < limit


def test_below_is_uniform():
    counts = torch.bincount(randomness.below(7, torch.arange(162_000), 162), minlength=162)
    # Chi-square with 161 degrees of freedom: mean 161, standard deviation 18.
    chi = ((counts - 1000.0) ** 2 / 1000).sum().item()
    assert 161 - 5 * 18 < chi < 161 + 5 * 18


def test_keys_tell_parts_apart():
    keys = {
        randomness.key(0, "view", 1),
        randomness.key(0, "view", 11),
        randomness.key(0, "view1", 1),
        randomness.key(1, "view", 0),
        randomness.key(0, "order", 1),
        randomness.key("0", "view", 1),
    }
    assert len(keys) == 6


@given(st.integers(0, 1000), st.integers(0, 300))
def test_order_is_a_permutation(stream, count):
    assert sorted(randomness.order(stream, count).tolist()) == list(range(count))


def test_the_global_generator_is_seeded_inside_and_restored_after():
    before = torch.get_rng_state()
    with randomness.torch_generator(5):
        first = torch.rand(3)
        randomness.reseed(6)
        second = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    with randomness.torch_generator(6):
        assert torch.equal(torch.rand(3), second)
    assert not torch.equal(first, second)


def test_the_global_generator_is_restored_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="x"), randomness.torch_generator(5):
        torch.rand(3)
        raise ValueError("x")
    assert torch.equal(torch.get_rng_state(), before)
