"""The cost of a student here by each way to ask its teacher, on the user's model and data."""

from __future__ import annotations

import itertools
import math
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from anew.core.errors import AnewError
from anew.core.execution import Execution
from anew.core.randomness import torch_generator
from anew.core.recipe import Recipe
from anew.core.spec import ObjectiveSpec, Spec
from anew.core.text import counted, in_time
from anew.data import Batches, Data
from anew.data.batches import Batch
from anew.family import NetworkFolder
from anew.models import frozen, network
from anew.models.network import Network, Outputs
from anew.teachers import Need, Store, Teacher, choose, teacher_parts
from anew.teachers.choice import distinct_views
from anew.training.device import settings
from anew.training.lineage import filled, filled_siblings
from anew.training.timing import in_rounds, timed
from anew.training.trainer import Trainer

WARM_UP_STEPS = 3
LABEL_ONLY = "a label-only network"
LIVE = "a student, live teacher"
FILLED = "a student, filling the cache"
READ = "a student, reading the cache"
_LIVE, _CACHED = "a student of a live teacher", "a student of a cached teacher"


@dataclass(frozen=True)
class Cost:
    """The measured cost of one way to train, per network if several are trained at once."""

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
    """All measured costs, and what follows from them for the recipe."""

    setting: str
    costs: list[Cost]
    conclusions: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return it as `anew bench --json` prints it."""
        return asdict(self)


class _Contender:
    """One way to train, measured by so many steps in turn."""

    def __init__(
        self, name: str, trainers: list[Trainer], teacher: Teacher | None, batches: Batches
    ) -> None:
        self.name, self._trainers, self._device = name, trainers, batches.device
        everything = itertools.chain.from_iterable(
            batches.epoch(epoch) for epoch in itertools.count()
        )
        self._taught: Iterator[tuple[Batch, Outputs | None]]
        if teacher is None:
            self._taught = ((batch, None) for batch in everything)
        else:
            self._taught = teacher.teach(everything)

    def seconds(self, steps: int) -> float:
        """Take steps, and return the seconds of one step and network."""

        def train() -> None:
            for batch, targets in itertools.islice(self._taught, steps):
                for trainer in self._trainers:
                    trainer.train_step(batch, targets)

        return timed(train, self._device) / steps / len(self._trainers)


def measure(
    recipe: Recipe, data: Data, execution: Execution, rounds: int = 5, steps: int = 16
) -> Costs:
    """Measure label-only training, and students of a live teacher, of a table, and as siblings.

    A table is measured as it fills and as it is read. The teacher is untrained: its cost is the
    same. Nothing is kept. Raises `AnewError` as training does for what does not fit.
    """
    _check(recipe, rounds, steps)
    recipe = filled(recipe)
    training = recipe.training
    with (
        settings(execution) as device,
        torch_generator(0, device),
        tempfile.TemporaryDirectory() as place,
    ):
        batches = Batches(data, training.batch_size, device)
        bench = _Bench(recipe, data, batches, Path(place))
        contenders = bench.contenders(execution)

        for contender in contenders:
            contender.seconds(WARM_UP_STEPS)
        measured = in_rounds(
            [lambda one=contender: (one.seconds(steps),) for contender in contenders], rounds
        )
        seconds = {
            contender.name: [value for (value,) in rows]
            for contender, rows in zip(contenders, measured, strict=True)
        }
        costs = _costs(seconds, batches.batch_size)

        key = bench.parts.key
        free = shutil.disk_usage(place).free
        need = Need(key.views, training.epochs, key.bytes, free, by=key.by)
        choice = choose(need, replace(execution, ask="auto"))

    threads = torch.get_num_threads() if execution.threads is None else execution.threads
    setting = (
        f"{data.spec.source}, batches of {batches.batch_size}, {training.precision}, "
        f"{device.type}, {counted(threads, 'thread')}, {counted(rounds, 'round')} of "
        f"{counted(steps, 'step')}"
    )
    examples = batches.steps * batches.batch_size
    distinct = distinct_views(key.views, training.epochs, key.by)
    conclusions = _conclusions(costs, training.epochs, distinct, examples)
    return Costs(setting, costs, [*conclusions, f"auto: {choice.reason}"])


def _check(recipe: Recipe, rounds: int, steps: int) -> None:
    """Raise `AnewError` if there is nothing to measure."""
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
    if recipe.training.epochs == 0:
        raise AnewError(
            "training.epochs must be a whole number >= 1 where costs are measured, got 0; set "
            "--epochs"
        )


class _Bench:
    """The networks of a recipe, ready to be trained in a folder that is thrown away."""

    def __init__(self, recipe: Recipe, data: Data, batches: Batches, place: Path) -> None:
        training = recipe.training
        label = ObjectiveSpec.of("label", smoothing=recipe.label_smoothing)
        self._label_only = Spec(recipe.model, data.spec, training, label, recipe.seed)
        teacher = replace(self._label_only, model=recipe.teacher_model or recipe.model)
        self._student = replace(
            self._label_only,
            objective=recipe.objective,
            teachers=(teacher,),
            frozen=recipe.frozen,
        )
        frozen.check_frozen(self._student, data.signature)
        self._siblings = filled_siblings(recipe, self._student)

        self._data, self._batches, self._place = data, batches, place
        self._network: Network = network.place(
            network.build(teacher, data.signature), batches.device, training.memory_format
        )
        self.parts = teacher_parts([self._network], self._student, batches)

    def contenders(self, execution: Execution) -> list[_Contender]:
        """Return the ways to train; those with a table only if it fits the disk."""
        parts = self.parts
        contenders = [
            self._contender(LABEL_ONLY, [self._label_only], None),
            self._contender(LIVE, [self._student], parts.teacher()),
        ]

        room = min(execution.disk_budget * 1e9, shutil.disk_usage(self._place).free / 2)
        # A table of a text is filled by one pass over all of it, before the first step.
        if parts.key.bytes <= room and not self._batches.is_text:
            # The second reads what the first has just written for the same batches.
            store = Store.open(self._place, parts.key)
            contenders += [
                self._contender(FILLED, [self._student], parts.teacher(store)),
                self._contender(READ, [self._student], parts.teacher(store)),
            ]

        if len(self._siblings) > 1:
            name = f"each of {len(self._siblings)} siblings, live"
            contenders.append(self._contender(name, self._siblings, parts.teacher()))
        return contenders

    def _contender(self, name: str, specs: list[Spec], teacher: Teacher | None) -> _Contender:
        trainers = [
            Trainer(
                spec,
                NetworkFolder(self._place / spec.id),
                self._data,
                self._batches,
                teacher=self._network,
            )
            for spec in specs
        ]
        return _Contender(name, trainers, teacher, self._batches)


def _costs(seconds: dict[str, list[float]], batch_size: int) -> list[Cost]:
    base = seconds[LABEL_ONLY]
    costs: list[Cost] = []
    for name, rounds in seconds.items():
        ratios = [value / alone for value, alone in zip(rounds, base, strict=True)]
        ratio = statistics.median(ratios)
        # By way of the ratio: rounds hit all alike, while the machine's speed may drift between
        # them.
        rate = batch_size / (statistics.median(base) * ratio)
        costs.append(Cost(name, rate, ratio, min(ratios), max(ratios)))
    return costs


def _conclusions(costs: list[Cost], epochs: int, distinct: float, examples: int) -> list[str]:
    """Return what a whole student takes by each way, if an example has so many distinct views.

    A table is filled for the views that are new and read for the others.
    """
    by_name = {cost.name: cost for cost in costs}
    seconds = {
        "a label-only network": epochs * examples * by_name[LABEL_ONLY].seconds,
        _LIVE: epochs * examples * by_name[LIVE].seconds,
    }
    if READ in by_name:
        filling, read = by_name[FILLED], by_name[READ]
        total = distinct * filling.seconds + (epochs - distinct) * read.seconds
        seconds[_CACHED] = examples * total
        seconds["its next student"] = epochs * examples * read.seconds

    words = ", ".join(f"{name} {in_time(value)}" for name, value in seconds.items())
    is_cached = seconds.get(_CACHED, math.inf) < seconds[_LIVE]
    return [
        f"{counted(epochs, 'epoch')} here, without evaluation: {words}",
        f"fastest here: --ask {'table' if is_cached else 'live'}",
    ]
