"""The rounds: every contender in a process of its own, one at work at a time, A B C then B C A then
C A B.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks.contenders import RATIOS, Contender

ROOT = Path(__file__).parent.parent
SETTLE_SECONDS = 0.5  # for loader workers to fill their queues before somebody else is timed


@dataclass
class Measured:
    """What a contender did: pictures a second in each round, all its networks together, and its
    peak memory.
    """

    contender: Contender
    rates: list[float] = field(default_factory=list)
    peak_rss: int = 0
    error: str = ""

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.rates)


@dataclass(frozen=True)
class Ratio:
    """One contender by another, round by round: their medians' quotient would hide what a round did
    to both.
    """

    what: str
    by: str
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.rounds)


class Worker:
    """A process that trains when it is asked to."""

    def __init__(self, setup: dict[str, Any], log: Path) -> None:
        threads = str(setup["threads"])
        environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._send(setup)
        self.first = self._answer()

    def turn(self, warmup: int, steps: int) -> dict[str, Any]:
        """Let it train so many steps, and return its answer."""
        self._send({"warmup": warmup, "steps": steps})
        return self._answer()

    def stop(self) -> None:
        """End it."""
        _pipe(self._process.stdin).close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _send(self, what: dict[str, Any]) -> None:
        pipe = _pipe(self._process.stdin)
        pipe.write(json.dumps(what) + "\n")
        pipe.flush()

    def _answer(self) -> dict[str, Any]:
        line = _pipe(self._process.stdout).readline()
        return json.loads(line) if line else {"error": f"ended with status {self._process.wait()}"}


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@dataclass(frozen=True)
class Rounds:
    """How often each contender is asked, and for how many steps: to warm up, and counted."""

    count: int
    warmup: int
    steps: int


def run(
    contenders: Sequence[Contender],
    setup: dict[str, Any],
    folder: Path,
    rounds: Rounds,
    say: Callable[[str], None],
) -> list[Measured]:
    """Start every contender, ask each in turn, and end them all; one that fails says why and drops
    out.
    """
    measured = [Measured(one) for one in contenders]
    workers: dict[str, Worker] = {}
    try:
        for one in measured:
            name = one.contender.name
            say(f"starting {name}")
            mine = {
                "loop": one.contender.loop,
                "distil": one.contender.distil,
                "options": dict(one.contender.options),
            }
            place = folder / name
            place.mkdir(parents=True)
            workers[name] = Worker(
                {**setup, **mine, "folder": str(place / "family")}, place / "log"
            )
            _note(one, workers[name].first, counted=False)
        for number in range(rounds.count):
            shift = number % len(measured)
            for one in measured[shift:] + measured[:shift]:
                if not one.error:
                    say(f"round {number + 1} of {rounds.count}: {one.contender.name}")
                    time.sleep(SETTLE_SECONDS)
                    answer = workers[one.contender.name].turn(rounds.warmup, rounds.steps)
                    _note(one, answer, counted=True)
    finally:
        for worker in workers.values():
            worker.stop()
    return measured


def _note(one: Measured, answer: dict[str, Any], *, counted: bool) -> None:
    one.error = answer.get("error", "")
    if not one.error:
        one.peak_rss = max(one.peak_rss, answer["peak_rss"])
        if counted:
            one.rates.append(one.contender.networks * answer["images"] / answer["seconds"])


def ratios(measured: Sequence[Measured]) -> list[Ratio]:
    """Return the ratios between those that ran all rounds; of a contender's variants, the fastest
    counts.
    """
    found: list[Ratio] = []
    for what, by in RATIOS:
        pair = [_fastest(name, measured) for name in (what, by)]
        if pair[0] and pair[1]:
            quotients = tuple(a / b for a, b in zip(pair[0].rates, pair[1].rates, strict=True))
            found.append(Ratio(pair[0].contender.name, pair[1].contender.name, quotients))
    return found


def _fastest(name: str, measured: Sequence[Measured]) -> Measured | None:
    forms = [
        one
        for one in measured
        if name in (one.contender.name, one.contender.variant_of) and not one.error
    ]
    return max(forms, key=lambda one: one.median, default=None)
