"""anew through its public `train`: its loop stands still inside the progress that it reports each
step to.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Sequence
from typing import Any

import anew
from anew.core.callbacks import Callback
from anew.core.interruption import Interrupted
from anew.core.spec import Spec
from benchmarks.contenders.plain import SOFT_WEIGHT, TEMPERATURE
from benchmarks.worker import Setup, Turns

EPOCHS = 10_000
HELD_OUT = 0.01  # evaluated before the first step and after each epoch
OBJECTIVE = {"name": "kd", "temperature": TEMPERATURE, "alpha": SOFT_WEIGHT}


def train(setup: Setup, turns: Turns) -> None:
    """Train with the contender's options; with `filled`, a small student has first met all that
    will be asked for.
    """
    options: dict[str, Any] = dict(setup.options)
    filled = options.pop("filled", False)
    options |= {
        "data": f"npz:{setup.data}",
        "views": "crop+flip",
        "epochs": EPOCHS,
        "batch_size": setup.batch_size,
        "recipe": {"data": {"validation": HELD_OUT}, "training": options.pop("training", {})},
        "out": setup.folder,
        "device": setup.device,
        "threads": setup.threads,
    }
    if not setup.distil:
        anew.train(setup.model, generations=0, progress=_Watcher(turns), **options)
        return
    options |= {
        "teacher": setup.teacher,
        "teacher_model": setup.model,
        "generations": 1,
        "force": True,
    }
    if filled:
        # The same views in the same order, for the order depends on the data's seed alone.
        first = {name: value for name, value in options.items() if name != "siblings"}
        with contextlib.suppress(Interrupted):
            anew.train("mlp", objective="ban", progress=_Filler(setup.steps), **first)
    anew.train(setup.model, objective=OBJECTIVE, progress=_Watcher(turns), **options)


class _Watcher(Callback):
    """Takes turns between steps."""

    def __init__(self, turns: Turns) -> None:
        self.turns, self.batch_size = turns, 0

    def log(self, text: str) -> None:
        print(text)  # into the contender's log

    def training_started(
        self, specs: Sequence[Spec], steps: int, done: int, batch_size: int
    ) -> None:
        self.batch_size = batch_size

    def step_done(self) -> None:
        assert self.batch_size, "told of a step before the start"
        self.turns.step(self.batch_size)


class _Filler(Callback):
    """Asks for a stop, as Ctrl-C does, after so many steps: what was stored by then is saved."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step_done(self) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)
