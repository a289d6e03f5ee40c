"""The order in which groups of siblings are trained: each when its teachers are there, as many at
once as fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.data import Data
from anew.family import Family
from anew.training.launch.workers import Finished, Workers

One = TypeVar("One")


def train_groups(
    groups: Sequence[Sequence[Spec]], data: Callable[[Spec], Data], family: Family, workers: Workers
) -> Iterator[Finished]:
    """Train groups, those first that most generations wait for, and yield each (or part of one)
    when it is finished.

    A network that fails takes its students with it and nothing else. With several workers, siblings
    that nobody waits for are trained apart from their others, and groups are cut where workers
    would stand idle. Raises `Interrupted`, after saving.
    """
    waiting = in_order(groups, workers.count)
    failed: dict[str, AnewError] = {}
    running = 0
    while waiting or running:
        orphans = [
            spec
            for group in waiting
            for spec in group
            if any(one.id in failed for one in spec.teachers)
        ]
        if orphans:
            errors = {spec.id: _teacher_failed(spec, failed) for spec in orphans}
            failed |= errors
            waiting = [
                rest
                for group in waiting
                if (rest := [spec for spec in group if spec.id not in errors])
            ]
            yield Finished(tuple(orphans), errors)
            continue
        parts, waiting = next_parts(
            waiting, workers.count - running, lambda spec: family.folder(spec.id).is_done
        )
        for part in parts:
            workers.start(part, data(part[0]))
        running += len(parts)
        assert running, "a teacher is neither trained nor failed"
        finished = workers.wait()
        running -= 1
        failed |= finished.failed
        yield finished


def in_order(groups: Sequence[Sequence[Spec]], workers: int) -> list[list[Spec]]:
    """Return groups in the order in which they wait for so many workers."""
    return most_awaited_first(groups if workers == 1 else awaited_apart(groups))


def next_parts(
    waiting: Sequence[list[Spec]], idle: int, is_there: Callable[[Spec], bool]
) -> tuple[list[list[Spec]], list[list[Spec]]]:
    """Return the groups, or parts of them, that so many idle workers are given now, and those that
    still wait.

    `is_there` says whether a teacher is trained.
    """
    ready: list[list[Spec]] = []
    later: list[list[Spec]] = []
    for group in waiting:
        (ready if all(is_there(one) for spec in group for one in spec.teachers) else later).append(
            group
        )
    parts = spread(ready, idle)
    return parts[:idle], most_awaited_first([*parts[idle:], *later])


def most_awaited_first(groups: Sequence[Sequence[Spec]]) -> list[list[Spec]]:
    """Return groups in the order of how many generations wait for them, most first.

    Where there are many workers, the longest lineage decides how long all takes.
    """
    awaited = _awaited(groups)
    return sorted(
        map(list, groups), key=lambda group: -max(awaited.get(spec.id, 0) for spec in group)
    )


def awaited_apart(groups: Sequence[Sequence[Spec]]) -> list[list[Spec]]:
    """Cut each group into the networks that others learn from and those that nobody waits for."""
    awaited = _awaited(groups)
    parts = [
        [spec for spec in group if (spec.id in awaited) is kept]
        for group in groups
        for kept in (True, False)
    ]
    return [part for part in parts if part]


def _awaited(groups: Sequence[Sequence[Spec]]) -> dict[str, int]:
    """Return how many generations follow each network that others learn from, by id."""
    awaited: dict[str, int] = {}
    for spec in sorted(
        (spec for group in groups for spec in group), key=lambda one: -one.generation
    ):
        for teacher in spec.teachers:
            awaited[teacher.id] = max(awaited.get(teacher.id, 0), awaited.get(spec.id, 0) + 1)
    return awaited


def spread(groups: Sequence[list[One]], count: int) -> list[list[One]]:
    """Cut the largest of groups in halves until there are at least `count`, or all are single
    networks.
    """
    parts = list(groups)
    while parts and len(parts) < count and max(map(len, parts)) > 1:
        place = max(range(len(parts)), key=lambda number: len(parts[number]))
        half = (len(parts[place]) + 1) // 2
        parts[place : place + 1] = [parts[place][:half], parts[place][half:]]
    return parts


def _teacher_failed(spec: Spec, failed: dict[str, AnewError]) -> AnewError:
    teacher = next(one for one in spec.teachers if one.id in failed)
    return AnewError(f"its teacher failed: {failed[teacher.id]}")
