"""The order in which groups of siblings train: a group when its teachers are trained, and as many
at once as the executor takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.data import Data
from anew.family import Family
from anew.training.launch.workers import Executor, Finished

Item = TypeVar("Item")


def train_groups(
    groups: Sequence[Sequence[Spec]],
    data: Callable[[Spec], Data],
    family: Family,
    executor: Executor,
) -> Iterator[Finished]:
    """Train groups and yield each, or a part of one, when it is finished.

    The groups that most generations wait for go first. A network that fails takes its students with
    it and nothing else. With several workers, siblings that nobody waits for train apart from the
    others, and groups are cut if workers would stand idle. Raises `Interrupted`, after saving.
    """
    waiting = in_order(groups, executor.count)
    failed: dict[str, AnewError] = {}
    running = 0
    while waiting or running:
        orphans = _orphans(waiting, failed)
        if orphans:
            errors = {spec.id: _teacher_failed(spec, failed) for spec in orphans}
            failed |= errors
            waiting = _without(waiting, errors)
            yield Finished(tuple(orphans), errors)
            continue

        idle = executor.count - running
        parts, waiting = next_parts(waiting, idle, lambda spec: family.folder(spec.id).is_done)
        for part in parts:
            executor.submit(part, data(part[0]))
        running += len(parts)
        assert running, "a teacher is neither trained nor failed"

        finished = executor.wait()
        running -= 1
        failed |= finished.failed
        yield finished


def in_order(groups: Sequence[Sequence[Spec]], workers: int) -> list[list[Spec]]:
    """Return groups in the order in which they wait for a number of workers."""
    return most_awaited_first(groups if workers == 1 else awaited_apart(groups))


def next_parts(
    waiting: Sequence[list[Spec]], idle: int, is_done: Callable[[Spec], bool]
) -> tuple[list[list[Spec]], list[list[Spec]]]:
    """Return the groups, or parts of groups, that idle workers get now, and those that still wait.

    `is_done` tells whether a teacher is trained.
    """
    ready: list[list[Spec]] = []
    later: list[list[Spec]] = []
    for group in waiting:
        teachers = [teacher for spec in group for teacher in spec.teachers]
        if all(map(is_done, teachers)):
            ready.append(group)
        else:
            later.append(group)

    parts = spread(ready, idle)
    return parts[:idle], most_awaited_first([*parts[idle:], *later])


def most_awaited_first(groups: Sequence[Sequence[Spec]]) -> list[list[Spec]]:
    """Return groups in the order of how many generations wait for them, most first.

    With many workers, the longest lineage decides how long everything takes.
    """
    awaited = _awaited(groups)
    return sorted(
        map(list, groups), key=lambda group: -max(awaited.get(spec.id, 0) for spec in group)
    )


def awaited_apart(groups: Sequence[Sequence[Spec]]) -> list[list[Spec]]:
    """Cut each group into the networks that others learn from and the rest."""
    awaited = _awaited(groups)
    parts: list[list[Spec]] = []
    for group in groups:
        parts.append([spec for spec in group if spec.id in awaited])
        parts.append([spec for spec in group if spec.id not in awaited])
    return [part for part in parts if part]


def spread(groups: Sequence[list[Item]], count: int) -> list[list[Item]]:
    """Halve the largest groups until there are at least `count`, or only single networks."""
    parts = list(groups)
    while parts and len(parts) < count and max(map(len, parts)) > 1:
        place = max(range(len(parts)), key=lambda number: len(parts[number]))
        half = (len(parts[place]) + 1) // 2
        parts[place : place + 1] = [parts[place][:half], parts[place][half:]]
    return parts


def _awaited(groups: Sequence[Sequence[Spec]]) -> dict[str, int]:
    """Return how many generations follow each network that others learn from, by id."""
    specs = [spec for group in groups for spec in group]
    awaited: dict[str, int] = {}
    for spec in sorted(specs, key=lambda spec: -spec.generation):
        for teacher in spec.teachers:
            awaited[teacher.id] = max(awaited.get(teacher.id, 0), awaited.get(spec.id, 0) + 1)
    return awaited


def _orphans(waiting: Sequence[list[Spec]], failed: dict[str, AnewError]) -> list[Spec]:
    """Return the networks that wait for a teacher that failed."""
    orphans: list[Spec] = []
    for group in waiting:
        for spec in group:
            if any(teacher.id in failed for teacher in spec.teachers):
                orphans.append(spec)
    return orphans


def _without(waiting: Sequence[list[Spec]], ids: dict[str, AnewError]) -> list[list[Spec]]:
    """Return the groups without the networks of some ids; groups that become empty are dropped."""
    rest = [[spec for spec in group if spec.id not in ids] for group in waiting]
    return [group for group in rest if group]


def _teacher_failed(spec: Spec, failed: dict[str, AnewError]) -> AnewError:
    teacher = next(teacher for teacher in spec.teachers if teacher.id in failed)
    return AnewError(f"its teacher failed: {failed[teacher.id]}")
