"""What a student costs on this machine by each way to ask its teacher, measured on the user's model
and data.
"""

from __future__ import annotations

import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anew.core.errors import AnewError
from anew.core.execution import Execution
from anew.core.randomness import torch_generator
from anew.core.spec import ObjectiveSpec, Recipe, Spec
from anew.data import Batches, Data
from anew.data.batches import Batch
from anew.family import NetworkFolder
from anew.models import frozen, network
from anew.teachers import Need, Store, Teacher, choose, teacher_parts
from anew.teachers.choice import distinct_views
from anew.training.device import settings
from anew.training.lineage import filled_objective, filled_siblings
from anew.training.trainer import Trainer

WARM_UP_STEPS = 3


@dataclass(frozen=True)
class Cost:
    """What was measured of one way to train: per network where several are trained at once."""

    name: str
    rate: float
    """Examples a second: a label-only network's median over the ratio."""
    ratio: float
    """Time over that of a label-only network, the median of the rounds' ratios."""
    least: float
    most: float

    @property
    def seconds(self) -> float:
        """Seconds an example."""
        return 1 / self.rate


@dataclass(frozen=True)
class Costs:
    """All that was measured, and what follows from it for the recipe."""

    setting: str
    costs: list[Cost]
    conclusions: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return it as `anew bench --json` prints it."""
        return asdict(self)


class _Contender:
    """One way to train, that is asked for so many steps in turn."""

    def __init__(
        self, name: str, runs: list[Trainer], teacher: Teacher | None, batches: Batches
    ) -> None:
        self.name, self.runs = name, runs
        everything = itertools.chain.from_iterable(
            batches.epoch(epoch) for epoch in itertools.count()
        )
        self._taught: Iterator[tuple[Batch, Tensor | None]] = (
            ((batch, None) for batch in everything)
            if teacher is None
            else teacher.teach(everything)
        )

    def steps(self, count: int, device: torch.device) -> float:
        """Take steps; returns seconds per step and network, with all work of the device done."""
        wait(device)
        started = time.perf_counter()
        for batch, targets in itertools.islice(self._taught, count):
            for run in self.runs:
                run.train_step(batch, targets)
        wait(device)
        return (time.perf_counter() - started) / count / len(self.runs)


def measure(
    recipe: Recipe, data: Data, execution: Execution, rounds: int = 5, steps: int = 16
) -> Costs:
    """Measure label-only training, students of a live teacher, of a table as it fills and as it is
    read, and siblings.

    In rounds, each way some steps in turn, so that what else the machine does hits all alike. The
    teacher is untrained: its cost is the same. Nothing is kept. Raises `AnewError` as training does
    for what does not fit.
    """
    for name, value in (("rounds", rounds), ("steps", steps)):
        if not 1 <= value <= 100_000:
            raise AnewError(
                f"{name} must be a whole number >= 1 and <= 100000, got {value}; set --{name}"
            )
    if recipe.objective.name == "label":
        raise AnewError(
            "objective 'label' has no teacher, so there is nothing to compare; choose another "
            "--objective"
        )
    training = recipe.training
    if training.epochs == 0:
        raise AnewError(
            "training.epochs must be a whole number >= 1 where costs are measured, got 0; set "
            "--epochs"
        )
    with (
        settings(execution) as device,
        torch_generator(0, device),
        tempfile.TemporaryDirectory() as place,
    ):
        batches = Batches(data, training.batch_size, device)
        label = ObjectiveSpec("label", smoothing=recipe.label_smoothing)
        alone = Spec(recipe.model, data.spec, training, label, recipe.seed)
        teaching = replace(alone, model=recipe.teacher_model or recipe.model)
        student = replace(
            alone,
            objective=filled_objective(recipe.objective),
            teachers=(teaching,),
            frozen=recipe.frozen,
        )
        frozen.check_frozen(student, data.signature)
        together = filled_siblings(recipe, student)
        placed = network.place(
            network.build(teaching, data.signature), device, training.memory_format
        )
        parts = teacher_parts([placed], student, batches)
        key, stores = parts.key, Path(place)

        def runs(*specs: Spec) -> list[Trainer]:
            return [
                Trainer(spec, NetworkFolder(stores / spec.id), data, batches, teacher=placed)
                for spec in specs
            ]

        contenders = [
            _Contender("a label-only network", runs(alone), None, batches),
            _Contender("a student, teacher asked live", runs(student), parts.teacher(), batches),
        ]
        if key.bytes <= min(execution.disk_budget * 1e9, shutil.disk_usage(place).free / 2):
            # The second reads what the first has just written for the same batches.
            store = Store.open(stores, key)
            contenders += [
                _Contender(
                    "a student, table being filled", runs(student), parts.teacher(store), batches
                ),
                _Contender("a student, table read", runs(student), parts.teacher(store), batches),
            ]
        if len(together) > 1:
            contenders.append(
                _Contender(
                    f"each of {len(together)} siblings, live",
                    runs(*together),
                    parts.teacher(),
                    batches,
                )
            )
        seconds = _in_rounds(contenders, rounds, steps, device)
        costs = _costs(contenders, seconds, batches.batch_size)
        choice = choose(
            Need(key.views, training.epochs, key.bytes, shutil.disk_usage(place).free),
            replace(execution, ask="auto"),
        )
    setting = (
        f"{data.spec.source}, batches of {batches.batch_size}, {training.precision}, "
        f"{device.type}, "
        f"{torch.get_num_threads() if execution.threads is None else execution.threads} threads, "
        f"{rounds} "
        f"rounds of {steps} steps"
    )
    examples = batches.steps * batches.batch_size
    return Costs(
        setting,
        costs,
        [*_conclusions(costs, training.epochs, key.views, examples), f"auto: {choice.reason}"],
    )


def _in_rounds(
    contenders: list[_Contender], rounds: int, steps: int, device: torch.device
) -> dict[str, list[float]]:
    """Return the seconds a step and network of each contender, round by round, after a warm-up."""
    for contender in contenders:
        contender.steps(WARM_UP_STEPS, device)
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            seconds[contender.name].append(contender.steps(steps, device))
    return seconds


def _costs(
    contenders: list[_Contender], seconds: dict[str, list[float]], batch_size: int
) -> list[Cost]:
    base = seconds[contenders[0].name]
    costs: list[Cost] = []
    for contender in contenders:
        ratios = [one / alone for one, alone in zip(seconds[contender.name], base, strict=True)]
        ratio = statistics.median(ratios)
        # By way of the ratio: rounds hit all alike, while the machine's speed may drift between
        # them.
        rate = batch_size / (statistics.median(base) * ratio)
        costs.append(Cost(contender.name, rate, ratio, min(ratios), max(ratios)))
    return costs


def _conclusions(costs: list[Cost], epochs: int, views: int, examples: int) -> list[str]:
    """Say what a whole student takes by each way: a table is filled where a view is new and read
    where it is not.
    """
    by_name = {cost.name: cost for cost in costs}
    alone, live = (
        by_name[name] for name in ("a label-only network", "a student, teacher asked live")
    )
    minutes = {
        "label-only": epochs * examples * alone.seconds / 60,
        "live": epochs * examples * live.seconds / 60,
    }
    if "a student, table read" in by_name:
        filling, read = by_name["a student, table being filled"], by_name["a student, table read"]
        met = distinct_views(views, epochs)
        minutes["table"] = examples * (met * filling.seconds + (epochs - met) * read.seconds) / 60
        minutes["table, by the next student"] = epochs * examples * read.seconds / 60
    words = ", ".join(f"{name} {value:,.1f} min" for name, value in minutes.items())
    ways = {name: value for name, value in minutes.items() if name in ("live", "table")}
    best = min(ways, key=lambda name: ways[name])
    return [
        f"a network of {epochs} epochs here, without evaluation: {words}",
        f"measured, the fastest way is: {best}",
    ]


def wait(device: torch.device) -> None:
    """Wait until a device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
