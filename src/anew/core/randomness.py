"""Keyed streams: everything random is a pure function of (seed, purpose, epoch, index), never of
history.

A stream is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
2014) started at a key. Its state is a plain counter, so number i of a stream costs the same as
number 0: a resumed run, a second student and another machine draw the same numbers for the same
example without replaying anything.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

_INCREMENT = 0x9E3779B97F4A7C15
_FIRST_MULTIPLIER = 0xBF58476D1CE4E5B9
_SECOND_MULTIPLIER = 0x94D049BB133111EB


def key(*parts: int | str) -> int:
    """Return the 64-bit key of a stream from the seed, the purpose and other parts of its name.

    Any two different sequences of parts have unrelated keys: BLAKE2b of their JSON text.
    """
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def bits(stream: int, counters: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """Return the 64 random bits at each counter (>= 0) of a stream, on the counters' device.

    The bits of SplitMix64 seeded with `stream`; counter 0 is its first output. Torch has no
    unsigned arithmetic on every device, so the 64 bits come as the int64 of the same pattern.
    """
    state = (counters + 1) * _signed(_INCREMENT) + _signed(stream)
    state = (state ^ _shift_right(state, 30)) * _signed(_FIRST_MULTIPLIER)
    state = (state ^ _shift_right(state, 27)) * _signed(_SECOND_MULTIPLIER)
    return state ^ _shift_right(state, 31)


def below(
    stream: int, counters: Int64[Tensor, "*shape"], limit: int | Int64[Tensor, "*shape"]
) -> Int64[Tensor, "*shape"]:
    """Return a whole number in [0, limit) at each counter, for a limit up to 2^31.

    The upper 32 random bits are scaled (Lemire 2019 without its rejection step, which would make a
    number depend on its neighbours); the bias is below limit / 2^32.
    """
    return (_shift_right(bits(stream, counters), 32) * limit) >> 32


def uniform(stream: int, counters: Int64[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """Return a number in [0, 1) at each counter: one of 2^24, all exact in float32."""
    return _shift_right(bits(stream, counters), 40).float() * 2.0**-24


def order(stream: int, count: int) -> Int64[Tensor, "count"]:
    """Return a random permutation of 0..count-1: the ranks of that many random keys."""
    return torch.argsort(bits(stream, torch.arange(count)), stable=True)


@contextmanager
def torch_generator(stream: int, device: torch.device | None = None) -> Generator[None]:
    """Seed the global generators from a stream for a block, and restore them after it.

    Initialisers and dropout draw from torch's and take no other, in anew's modules and in a user's.
    A user's modules may draw from Python's and NumPy's as well. Only this scope, and `reseed`
    within it, sets them.
    """
    of_python, of_numpy = random.getstate(), np.random.get_state()
    kept = [(generator, generator.get_state()) for generator in _generators(device)]
    try:
        reseed(stream, device)
        yield
    finally:
        for generator, state in kept:
            generator.set_state(state)
        np.random.set_state(of_numpy)
        random.setstate(of_python)


def reseed(stream: int, device: torch.device | None = None) -> None:
    """Move the generators of a `torch_generator` scope to another stream, as before each step."""
    for generator in _generators(device):
        generator.manual_seed(stream)
    random.seed(stream)
    # NumPy's takes words of 32 bits.
    np.random.seed([stream >> 32, stream & 0xFFFF_FFFF])


def _generators(device: torch.device | None) -> list[torch.Generator]:
    """Return the global generators that code on a device uses: the CPU's and the device's own."""
    generators = [torch.default_generator]
    if device is not None and device.type == "cuda":
        torch.cuda.init()
        generators.append(torch.cuda.default_generators[device.index or 0])
    elif device is not None and device.type == "mps":
        # Torch has no public name for this generator.
        generators.append(torch.mps._get_default_mps_generator())  # pyright: ignore[reportPrivateUsage]
    return generators


def _signed(value: int) -> int:
    """Return the signed 64-bit number with the same bits."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    return value - (1 << 64) if value >> 63 else value


def _shift_right(values: Tensor, places: int) -> Tensor:
    """Shift as unsigned: torch's own shift copies the sign bit."""
    return (values >> places) & ((1 << (64 - places)) - 1)
