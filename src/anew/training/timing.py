"""A timing harness: contenders measured in turn, round by round, with the device's work done."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

Contender = Callable[[], tuple[float, ...]]
"""Does some work and returns seconds, as many numbers in every round."""


def wait(device: torch.device) -> None:
    """Wait until a device has done all work that is queued on it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that work takes, all of it done on the device."""
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


def in_rounds(contenders: Sequence[Contender], rounds: int) -> list[list[tuple[float, ...]]]:
    """Return what each contender measured, round by round.

    Contenders take turns within a round, so that whatever else the machine does hits all alike.
    """
    measured: list[list[tuple[float, ...]]] = [[] for _ in contenders]
    for _ in range(rounds):
        for contender, rows in zip(contenders, measured, strict=True):
            rows.append(contender())
    return measured


def medians(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Return the median over the rounds of each number that a contender measured."""
    return tuple(statistics.median(column) for column in zip(*rows, strict=True))
