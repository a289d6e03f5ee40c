"""One contender in a process of its own: it trains, and between its turns it stands still until it
is asked.

The protocol is JSON lines: the setup on standard input; after the first step the first answer on
standard output; then for each {"warmup": w, "steps": n} the answer to the n steps that follow w
others. The end of the input is the end.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from dataclasses import dataclass
from typing import Any, TextIO

import torch


@dataclass(frozen=True)
class Setup:
    """What every contender is given: the same network, pictures, teacher, batch size, threads and
    device.

    `data` is an .npz of uint8 pictures (N, H, W, C) and labels, with the training set's `mean` and
    `std` in 0..1; `teacher` a safetensors state dict of the same model; `folder` is the contender's
    own; `steps` all that will be asked of it.
    """

    loop: str
    model: str
    data: str
    teacher: str
    folder: str
    distil: bool
    options: dict[str, Any]
    batch_size: int
    threads: int
    device: str
    steps: int


class Turns:
    """Whose turn it is: a loop calls `step` after each of its steps and goes on when it returns."""

    def __init__(self, asked: TextIO, answers: TextIO) -> None:
        self._asked, self._answers = asked, answers
        self._warmup, self._steps, self._done, self._images = 0, 1, 0, 0
        self._start = time.perf_counter()

    def step(self, images: int) -> None:
        """Count a step of so many pictures; at the end of a turn, answer and wait for the
        next one.
        """
        self._done += 1
        self._images += images
        if self._done == self._warmup:
            self._begin()
        elif self._done == self._warmup + self._steps:
            seconds = _now() - self._start
            # Kilobytes on Linux, bytes on macOS.
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
                1 if sys.platform == "darwin" else 1024
            )
            self._answers.write(
                json.dumps({"images": self._images, "seconds": seconds, "peak_rss": peak}) + "\n"
            )
            self._wait()

    def _wait(self) -> None:
        line = self._asked.readline()
        if not line:
            raise SystemExit
        ask = json.loads(line)
        self._warmup, self._steps, self._done = ask["warmup"], ask["steps"], 0
        self._begin()

    def _begin(self) -> None:
        self._images, self._start = 0, _now()


def _now() -> float:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Read the setup and train until nobody asks any more."""
    # Whatever a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    setup = Setup(**json.loads(sys.stdin.readline()))
    torch.set_num_threads(setup.threads)
    try:
        loop = importlib.import_module(f"benchmarks.contenders.{setup.loop}")
        loop.train(setup, Turns(sys.stdin, answers))
    except Exception as error:
        answers.write(
            json.dumps({"error": " ".join(f"{type(error).__name__}: {error}".split())}) + "\n"
        )
        raise


if __name__ == "__main__":
    main()
