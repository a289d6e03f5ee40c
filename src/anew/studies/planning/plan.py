"""A study's plan: networks, examples, bytes and seconds, added up from what its groups take.

Everything here is arithmetic from specs, sizes and speeds.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from anew.core.spec import ModelSpec, Spec
from anew.data import Contents
from anew.studies.planning.footprint import footprint_of
from anew.studies.planning.needs import Disk, GroupNeeds, network_bytes
from anew.studies.planning.speeds import Speeds, group_seconds, network_seconds, teacher_seconds
from anew.training.launch.scheduler import in_order, next_parts


def schedule(
    groups: Sequence[Sequence[Spec]], seconds: Callable[[Sequence[Spec]], float], workers: int
) -> float:
    """Return the seconds until so many equal workers have trained all groups.

    Groups start in the order of `scheduler.train_groups`: when their teachers are finished, the
    most awaited first, cut into parts if workers would stand idle. `seconds` returns how long a
    worker takes for a part of a group. No worker stands idle while a group could be trained, so the
    result is at most (2 - 1 / workers) times the best for the same parts (Graham 1969).
    """
    waiting = in_order(groups, workers)
    absent = {spec.id for group in groups for spec in group}
    running: list[tuple[float, int, list[Spec]]] = []
    now, begun = 0.0, itertools.count()

    while waiting or running:
        parts, waiting = next_parts(
            waiting, workers - len(running), lambda spec: spec.id not in absent
        )
        for part in parts:
            heapq.heappush(running, (now + seconds(part), next(begun), part))

        now, _, finished = heapq.heappop(running)
        absent.difference_update(spec.id for spec in finished)
    return now


@dataclass(frozen=True)
class Line:
    """What the networks of one model take."""

    model: str
    parameters: int
    flops: int
    networks: int
    held: int
    trained: int
    evaluated: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a study takes, in all and by model."""

    study: str
    lines: list[Line]
    groups: int
    """Groups of siblings that have networks to train."""
    steps: int
    answers: int
    """Forward passes of teachers that are asked."""
    saved_by_siblings: int
    """Forward passes of teachers that siblings save by sharing them."""
    saved_by_stores: int
    checked: int
    teacher_seconds: float
    batch_seconds: float
    """Seconds in which batches of views are made and the data is read."""
    disk: Disk
    free_bytes: float
    workers: int
    critical_seconds: float
    """When the last of the workers is done."""
    chain_seconds: float
    """The longest lineage, each network on a worker of its own: no number of workers is faster."""
    speeds: str
    notes: tuple[str, ...] = field(default_factory=tuple[str, ...])

    @property
    def networks(self) -> int:
        """Networks to train."""
        return sum(line.networks for line in self.lines)

    @property
    def held(self) -> int:
        """Networks that the family holds."""
        return sum(line.held for line in self.lines)

    @property
    def trained(self) -> int:
        """Examples that pass forward and backward."""
        return sum(line.trained for line in self.lines)

    @property
    def evaluated(self) -> int:
        """Examples that pass forward to be evaluated."""
        return sum(line.evaluated for line in self.lines)

    @property
    def seconds(self) -> float:
        """The time on one worker."""
        return sum(line.seconds for line in self.lines) + self.teacher_seconds + self.batch_seconds

    @property
    def fits(self) -> bool:
        """Whether the disk has room for it."""
        return self.disk.whole <= self.free_bytes

    def to_json(self) -> dict[str, Any]:
        """Return the plan as `anew study plan --format json` prints it."""
        totals = {
            name: getattr(self, name)
            for name in ("networks", "held", "trained", "evaluated", "seconds", "fits")
        }
        return {**asdict(self), **totals}


@dataclass(frozen=True)
class Work:
    """A study's networks: all groups of siblings, and what the missing ones take."""

    groups: Sequence[Sequence[Spec]]
    needs: Sequence[GroupNeeds]
    """What `needs` returned for these groups."""
    contents: Contents

    @property
    def specs(self) -> list[Spec]:
        """All networks of the study, trained or not."""
        return [spec for group in self.groups for spec in group]


def plan(
    study: str,
    work: Work,
    speeds: Speeds,
    workers: int,
    free_bytes: float,
    notes: tuple[str, ...] = (),
) -> Plan:
    """Add up what the groups of a study take."""
    models = dict.fromkeys(spec.model for spec in work.specs)
    group_of = {spec.id: group for group in work.needs for spec in group.specs}
    missing = [group.specs for group in work.needs]

    def seconds(part: Sequence[Spec]) -> float:
        # Parts of a group that are trained at once each ask their teacher.
        return group_seconds(replace(group_of[part[0].id], specs=tuple(part)), speeds)

    reading = speeds.reading if missing else 0.0
    return Plan(
        study=study,
        lines=[_line(model, work, speeds) for model in models],
        groups=len(work.needs),
        steps=sum(group.steps_of(spec) for group in work.needs for spec in group.specs),
        answers=sum(group.answers for group in work.needs),
        saved_by_siblings=sum(group.answers_unshared - group.answers_live for group in work.needs),
        saved_by_stores=sum(group.answers_live - group.answers for group in work.needs),
        checked=sum(group.checked for group in work.needs),
        teacher_seconds=sum(teacher_seconds(group, speeds) for group in work.needs),
        batch_seconds=sum(group.batches for group in work.needs) * speeds.batch + reading,
        disk=Disk.of(work.needs, workers),
        free_bytes=free_bytes,
        workers=workers,
        critical_seconds=schedule(missing, seconds, workers) + reading,
        chain_seconds=schedule(missing, seconds, max(1, len(group_of))) + reading,
        speeds=speeds.said,
        notes=notes,
    )


def _line(model: ModelSpec, work: Work, speeds: Speeds) -> Line:
    """Return what the networks of one model take."""
    counted = footprint_of(model, work.contents)

    missing = [(group, spec) for group in work.needs for spec in group.specs if spec.model == model]
    all_networks = sum(spec.model == model for spec in work.specs)

    return Line(
        model=" ".join([model.name, *(f"{name}={value}" for name, value in model.options)]),
        parameters=counted.parameters,
        flops=counted.flops,
        networks=len(missing),
        held=all_networks - len(missing),
        trained=sum(group.steps_of(spec) * group.batch_size for group, spec in missing),
        evaluated=sum(group.evaluated_of(spec) for group, spec in missing),
        bytes=sum(network_bytes(spec, work.contents, group.sizes) for group, spec in missing),
        seconds=sum(network_seconds(group, spec, speeds) for group, spec in missing),
    )
