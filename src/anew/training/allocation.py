"""The C library's memory: what a step frees is kept for the next step, which asks for it again.

glibc maps every allocation of more than 32 MiB by itself, and gives it back when it is freed; from
64 MiB on it gives back what is free at the end of the heap. Where the activations of a step are so
large, as those of a large batch or the logits of a large vocabulary are, the kernel clears the
same pages again in every step. The price of keeping them is memory: what is kept lies in pieces.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache

from anew.core import memory

# The numbers of glibc's `mallopt`: how much free memory at the heap's end is given back, and from
# which size on an allocation is mapped by itself.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1
"""The largest number that `mallopt` takes, in bytes."""
_USUAL = 32 << 20
"""The largest threshold for mapping that glibc sets by itself, in bytes; it trims from twice as
much on.
"""
_SET_BY_USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_")
_SECONDS = 0.5
_MUCH = 32 << 20


@contextmanager
def freed_memory_kept() -> Generator[None]:
    """Keep what this process frees for a block, and give it back at its end if it is much.

    Nothing is done with another C library than glibc, or where the environment sets its allocator.
    """
    before = memory.held_bytes()
    _set(_MOST, _MOST)
    try:
        yield
    finally:
        # Small networks, trained one after another, need the same memory again.
        give_back(if_more_than=before + _MUCH)


def give_back(if_more_than: float = 0.0) -> None:
    """Keep no more than glibc does by itself, and give back what this process has freed if it holds
    more than so many bytes.
    """
    if _set(_USUAL, 2 * _USUAL) and memory.held_bytes() > if_more_than:
        ctypes.CDLL(None).malloc_trim(0)


class FreedMemory:
    """What a training keeps of the memory that it frees, as long as there is room."""

    def __init__(self) -> None:
        self._next = 0.0

    def check(self) -> None:
        """Give back what is free, and keep nothing from now on, if this process holds more memory
        than is left to take. To be called after each step; it looks twice a second.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _SECONDS
        if memory.held_bytes() > memory.free_bytes():
            give_back()
            self._next = math.inf


def _set(map_from: int, trim_from: int) -> bool:
    """Set from which sizes on memory is mapped by itself and given back; return whether it is."""
    set_option = _mallopt()
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    by_user = any(name in os.environ for name in _SET_BY_USER) or "glibc.malloc." in tunables
    if set_option is None or by_user:
        return False
    set_option(_MMAP_THRESHOLD, map_from)
    set_option(_TRIM_THRESHOLD, trim_from)
    return True


@cache
def _mallopt() -> Callable[[int, int], int] | None:
    """Return glibc's function that sets its allocator; None with another C library."""
    if platform.libc_ver()[0] != "glibc":
        return None
    found: Callable[[int, int], int] | None = getattr(ctypes.CDLL(None), "mallopt", None)
    return found
