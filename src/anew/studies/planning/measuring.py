"""A study's plan on this machine: its data, what its family holds, and measured speeds.

Speeds are measured on the study's own data if it is at hand, else on noise of the same form. That
is done in rounds, each kind of network and teacher in turn, so that other work of the machine hits
all alike.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from anew import data as data_sources
from anew import evaluation
from anew.core import files
from anew.core.errors import AnewError
from anew.core.execution import Execution
from anew.core.randomness import torch_generator
from anew.core.spec import Spec
from anew.core.text import counted
from anew.data import Batches, Data, Examples
from anew.data.batches import Batch
from anew.data.windows import Windows
from anew.evaluation import EVALUATION_BATCH, language
from anew.family import NetworkFolder
from anew.models import network
from anew.models.network import Outputs
from anew.studies.planning import plan as planning
from anew.studies.planning.known_data import KnownData, known_data
from anew.studies.planning.needs import GroupNeeds
from anew.studies.planning.plan import Plan, Work
from anew.studies.planning.speeds import (
    HIGHEST_RATE,
    NetworkKind,
    NetworkPace,
    Speeds,
    TeacherKind,
    TeacherPace,
    network_kind,
    speeds_of_rate,
    teacher_kind,
)
from anew.studies.running import needs, siblings
from anew.studies.study import Study
from anew.teachers import Store, teacher_parts
from anew.training.device import settings
from anew.training.timing import in_rounds, medians, timed
from anew.training.trainer import Trainer

ROUNDS = 5
SLICE_SECONDS = 0.3
"""What a kind takes of a round, unless one step is longer."""
MOST_BATCHES = 32
SLOW_SECONDS = 2.0
MOST_WORKERS = 100_000
# A window's evaluation takes as long as that of many pictures.
_FEW_WINDOWS = 20


def plan(
    study: Study, out: Path, execution: Execution, rate: float | None = None, workers: int = 1
) -> Plan:
    """Return what a study takes that the family at `out` does not hold; nothing is written there.

    Times come from a short measurement, or follow from `rate`, the examples a second at which the
    study's largest network is trained. If the data is not at hand, its known sizes serve. Raises
    `AnewError` for a senseless rate or number of workers, and if neither data nor sizes are known.
    """
    if not 1 <= workers <= MOST_WORKERS:
        raise AnewError(
            f"workers must be a whole number >= 1 and <= {MOST_WORKERS}, got {workers}; set "
            f"--workers"
        )
    if rate is not None and not 0 < rate <= HIGHEST_RATE:
        raise AnewError(
            f"rate must be a number of examples a second > 0 and <= {HIGHEST_RATE:g}, got "
            f"{rate:g}; set --rate"
        )

    known = known_data(study, out)
    groups = siblings(study.specs(known.described))
    missing = needs(groups, out, known.contents, execution)
    if rate is not None and missing:
        speeds = speeds_of_rate(rate, missing, known.contents)
    else:
        speeds = measure(missing, known, execution)

    work = Work(groups, missing, known.contents)
    notes = (*study.notes, *known.notes)
    return planning.plan(study.name, work, speeds, workers, files.free_bytes(out), notes)


def measure(missing: Sequence[GroupNeeds], known: KnownData, execution: Execution) -> Speeds:
    """Return how fast each kind of network is trained and each kind of teacher answers.

    Nothing is kept. Raises `AnewError` as training does for what does not fit.
    """
    if not missing:
        return Speeds("nothing to train", {}, {})
    started = time.perf_counter()
    with (
        settings(execution) as device,
        torch_generator(0, device),
        tempfile.TemporaryDirectory() as place,
    ):
        data = data_sources.prepare(known.examples(), known.spec)
        # Each seed of the study splits the data anew.
        splits = len({group.specs[0].data for group in missing})
        reading = known.reading + splits * (time.perf_counter() - started)
        by_size = {group.batch_size: Batches(data, group.batch_size, device) for group in missing}
        showings = {size: _Showing(batches) for size, batches in by_size.items()}

        networks: dict[NetworkKind, _Trainee] = {}
        teachers: dict[TeacherKind, _Asked] = {}
        for group in missing:
            shown = showings[group.batch_size]
            for spec in group.specs:
                kind = network_kind(spec)
                if kind not in networks:
                    networks[kind] = _Trainee(spec, data, shown, Path(place) / str(len(networks)))
            kind_of_teacher = teacher_kind(group.specs[0])
            if group.way and kind_of_teacher not in teachers:
                teachers[kind_of_teacher] = _Asked(
                    group, data, shown, Path(place) / f"teacher {len(teachers)}"
                )

        contenders = (*showings.values(), *networks.values(), *teachers.values())
        measured = in_rounds([contender.measure for contender in contenders], ROUNDS)
        for contender, rows in zip(contenders, measured, strict=True):
            contender.medians = medians(rows)

        return Speeds(
            said=(
                f"measured on this machine in {time.perf_counter() - started:,.0f} s: {ROUNDS} "
                f"rounds of a few steps, "
                f"{device.type}, {counted(torch.get_num_threads(), 'thread')}"
            ),
            networks={kind: trainee.pace() for kind, trainee in networks.items()},
            teachers={kind: teacher.asking() for kind, teacher in teachers.items()},
            batch=max(shown.medians[0] for shown in showings.values()),
            reading=reading,
        )


class _Showing:
    """Makes batches of views, again and again; the first few are kept for the others."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.first = self._make()
        self.medians: tuple[float, ...] = ()

    def _make(self) -> list[Batch]:
        count = min(MOST_BATCHES, self.batches.steps)
        return [batch for batch, _ in zip(self.batches.epoch(0), range(count), strict=False)]

    def measure(self) -> tuple[float]:
        """Return the seconds of a batch."""
        return (timed(self._make, self.batches.device) / len(self.first),)


class _Trainee:
    """One kind of network: trained for a few steps in every round, finished and discarded."""

    def __init__(self, spec: Spec, data: Data, shown: _Showing, place: Path) -> None:
        self.device, self._batches = shown.batches.device, shown.first
        few = _few(data.test, EVALUATION_BATCH)
        # Many epochs, because more steps are taken than its own may have; a rate at which nothing
        # can grow.
        training = replace(
            spec.training, epochs=10_000, learning_rate=1e-6, warmup=0.0, schedule="constant"
        )
        light = replace(data, validation=_few(data.validation, 0), test=few)
        folder = NetworkFolder(place)
        place.mkdir()
        # Only where parts of a teacher are copied does a run ask for one; any weights will do.
        teacher = (
            network.build_empty(spec.teachers[0].model, data.signature) if spec.frozen else None
        )

        self._whole: list[float] = []
        self._run = self._timed_once(
            lambda: Trainer(
                replace(spec, training=training), folder, light, shown.batches, teacher=teacher
            )
        )
        self._targets: Outputs | None = None
        if spec.teachers:
            shape = (shown.batches.batch_size, *data.signature.output_shape)
            self._targets = Outputs(torch.randn(shape, device=self.device))

        # The first steps allocate and compile.
        slow = self._steps(1) > SLOW_SECONDS
        one = self._steps(1) if slow else self._steps(2) and self._steps(1)
        self._count = max(1, min(10 * MOST_BATCHES, round(SLICE_SECONDS / one)))
        self._examples = (
            few
            if one * EVALUATION_BATCH < SLOW_SECONDS * shown.batches.batch_size
            else _few(few, 100)
        )
        self.medians: tuple[float, ...] = ()

    def _timed_once(self, work: Callable[[], Trainer]) -> Trainer:
        made: list[Trainer] = []
        self._whole.append(timed(lambda: made.append(work()), self.device))
        return made[0]

    def _steps(self, count: int) -> float:
        def learn() -> None:
            for number in range(count):
                self._run.train_step(self._batches[number % len(self._batches)], self._targets)

        return timed(learn, self.device) / count

    def measure(self) -> tuple[float, float, float]:
        """Return the seconds of a step, of evaluating an example, and of the end of an epoch."""
        step = self._steps(self._count)
        evaluated = timed(self._evaluate, self.device) / len(self._examples)

        def end_epoch() -> None:
            self._run.end_epoch()
            self._run.save()

        return step, evaluated, timed(end_epoch, self.device)

    def _evaluate(self) -> None:
        if isinstance(self._examples, Windows):
            language.read_through(self._run.network, self._examples, self.device)
        else:
            evaluation.predict(self._run.network, self._examples, self.device)

    def pace(self) -> NetworkPace:
        """Return the medians, with what it takes to begin and to finish."""
        step, evaluated, epoch = self.medians
        finish = timed(self._run.finish, self.device)
        finish = max(0.0, finish - evaluated * len(self._run.data.test))
        return NetworkPace(step, evaluated, epoch, sum(self._whole) + finish)


class _Asked:
    """One kind of teacher: asked live, for a new store, and from that store."""

    def __init__(self, one: GroupNeeds, data: Data, shown: _Showing, place: Path) -> None:
        spec, self.batches = one.specs[0], shown.batches
        self._way, self._first, self._place = one.way, shown.first, place
        training, started = spec.training, time.perf_counter()
        placed = [
            network.place(
                network.build_empty(teacher.model, data.signature),
                self.batches.device,
                training.memory_format,
            )
            for teacher in spec.teachers
        ]
        self._whole = time.perf_counter() - started
        self._parts = teacher_parts(placed, spec, self.batches)

        # As many batches as fill a slice of a round; a slow teacher is asked only once for that.
        self._count = 1
        first = self._teach(None)
        seconds = first if first > SLOW_SECONDS else self._teach(None)
        self._count = max(1, min(len(self._first), round(SLICE_SECONDS / seconds)))
        self.medians: tuple[float, ...] = ()

    def _teach(self, store: Store | None) -> float:
        teacher = self._parts.teacher(store)
        batches = self._first[: self._count]

        def teach() -> None:
            for _ in teacher.teach(batches):
                pass

        return timed(teach, self.batches.device) / self._count

    def measure(self) -> tuple[float, float, float]:
        """Return the seconds of a batch: live or filling a store, filling it, and reading it."""
        if self._way == "live":
            return self._teach(None), 0.0, 0.0
        if self.batches.is_text:
            # A table of a text is filled by one pass over all of it: as fast as asking live.
            live = self._teach(None)
            return live, live, 0.0
        with closing(Store.open(self._place, self._parts.key)) as store:
            filling, reading = self._teach(store), self._teach(store)
        shutil.rmtree(self._place)
        return filling, filling, reading

    def asking(self) -> TeacherPace:
        """Return the medians."""
        live, filling, reading = self.medians
        return TeacherPace(live, filling, reading, self._whole)


def _few(examples: Examples, count: int) -> Examples:
    if isinstance(examples, Windows):
        count = min(count, _FEW_WINDOWS, len(examples))
        return Windows.of(examples.text[: count * examples.steps + 1], examples.steps)
    return examples.take(torch.arange(min(count, len(examples))))
