"""How fast networks are trained and teachers answer, by their kinds; and the time of groups.

Nothing here is measured: speeds come from `measuring`, or from a rate that the user gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from anew.core.spec import ModelSpec, Spec, TrainingSpec
from anew.data import Contents
from anew.studies.planning.footprint import FORWARDS_OF_A_STEP, footprint_of
from anew.studies.planning.needs import GroupNeeds

HIGHEST_RATE = 1e12

NetworkKind = tuple[ModelSpec, object, TrainingSpec]
TeacherKind = tuple[tuple[ModelSpec, ...], TrainingSpec, int | None]


def network_kind(spec: Spec) -> NetworkKind:
    """Return what decides the speed of a network's steps: model, objective, settings of training.

    The number of epochs does not.
    """
    return spec.model, spec.objective, replace(spec.training, epochs=1)


def teacher_kind(spec: Spec) -> TeacherKind:
    """Return what decides the speed at which a student's teacher answers."""
    models = tuple(teacher.model for teacher in spec.teachers)
    return models, replace(spec.training, epochs=1), spec.objective.top_k


@dataclass(frozen=True)
class NetworkPace:
    """Seconds of one kind of network."""

    step: float
    """A training step on one batch."""
    evaluated: float
    """One example forward, in evaluation."""
    epoch: float = 0.0
    """The end of an epoch: its record and its save, without the evaluation."""
    whole: float = 0.0
    """To build, place and finish a network, without the evaluation."""


@dataclass(frozen=True)
class TeacherPace:
    """Seconds in which one kind of teacher answers for a batch."""

    live: float
    filling: float
    """With its answers written to a store."""
    reading: float
    """From a store."""
    whole: float = 0.0
    """To bring the teacher's networks into memory."""


@dataclass(frozen=True)
class Speeds:
    """How fast networks are trained and teachers answer, by their kinds."""

    said: str
    """Where the speeds come from, in words."""
    networks: Mapping[NetworkKind, NetworkPace]
    teachers: Mapping[TeacherKind, TeacherPace]
    batch: float = 0.0
    """Seconds to make a batch of views, once for all siblings."""
    reading: float = 0.0
    """Seconds to read and split the data, once a study."""


def speeds_of_rate(rate: float, groups: Sequence[GroupNeeds], contents: Contents) -> Speeds:
    """Return speeds from the examples a second at which the largest network (by FLOPs) is trained.

    All other work is scaled by its FLOPs, as if every network kept the device as busy as the
    largest does. Small ones do not, so their time is a lower bound.
    """
    specs = [spec for group in groups for spec in group.specs]
    largest = max(specs, key=lambda spec: footprint_of(spec.model, contents).flops)
    flops = footprint_of(largest.model, contents).flops
    flops_per_second = rate * FORWARDS_OF_A_STEP * flops

    def forward_seconds(model: ModelSpec) -> float:
        return footprint_of(model, contents).flops / flops_per_second

    networks: dict[NetworkKind, NetworkPace] = {}
    teachers: dict[TeacherKind, TeacherPace] = {}
    for group in groups:
        for spec in group.specs:
            once = forward_seconds(spec.model)
            step = FORWARDS_OF_A_STEP * group.batch_size * once
            networks[network_kind(spec)] = NetworkPace(step, once)

        first = group.specs[0]
        answer = group.batch_size * sum(forward_seconds(one.model) for one in first.teachers)
        teachers[teacher_kind(first)] = TeacherPace(answer, answer, 0.0)

    said = (
        f"{largest.model.name} at {rate:,.4g} examples a second in training, as given "
        f"({flops / 1e9:,.3g} GFLOPs forward, so {flops_per_second / 1e12:,.3g} TFLOP/s); all else "
        f"scaled by FLOPs, so at least this for smaller networks"
    )
    return Speeds(said, networks, teachers)


def network_seconds(group: GroupNeeds, spec: Spec, speeds: Speeds) -> float:
    """Return the seconds of one network of a group: steps, evaluations and saves.

    Batches and teachers, which siblings share, are not counted.
    """
    pace = speeds.networks[network_kind(spec)]
    checked = group.first_batches * group.batch_size if spec.teachers else 0
    return (
        group.steps_of(spec) * pace.step
        + (group.evaluated_of(spec) + checked) * pace.evaluated
        + spec.training.epochs * pace.epoch
        + pace.whole
    )


def teacher_seconds(group: GroupNeeds, speeds: Speeds) -> float:
    """Return the seconds in which a group's teacher is checked and answers."""
    if not group.way:
        return 0.0

    first = group.specs[0]
    pace, per_batch = speeds.teachers[teacher_kind(first)], group.batch_size * len(first.teachers)
    checked = group.checked / per_batch * pace.live + pace.whole
    asked = group.answers / per_batch
    if group.way == "live":
        return checked + asked * pace.live
    return checked + asked * pace.filling + (group.batches - asked) * pace.reading


def group_seconds(group: GroupNeeds, speeds: Speeds) -> float:
    """Return the seconds of a group of siblings side by side on one worker."""
    networks = sum(network_seconds(group, spec, speeds) for spec in group.specs)
    return networks + teacher_seconds(group, speeds) + group.batches * speeds.batch
