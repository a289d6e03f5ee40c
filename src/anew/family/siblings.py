"""Teachers with their students side by side: which networks of a family show what objectives do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.core.text import listed
from anew.family.differences import distinctions
from anew.family.family import Family
from anew.family.lineages import kind_of

_UNSAID = ("seed ", "data.seed ", "generation ")


@dataclass(frozen=True)
class Siblings:
    """A teacher, and by their names the students that learned from it alone."""

    teacher: Spec
    students: dict[str, Spec]
    labelled: dict[str, Spec]
    """Networks of the same kind and data as the teacher that learned from labels, beside it."""


def find_siblings(family: Family, end: str = "", *, every_seed: bool = True) -> list[Siblings]:
    """Return teachers of one kind, each with its students by name, and by the teachers' seeds.

    Teachers are of one kind if they differ in seeds alone. Without `end` the kind is that with the
    most different students, of equals the one nearest to the labels. `end` is the start of the id
    of a teacher, or of a student of it; then only that teacher is returned, unless `every_seed`.
    Students of one kind from one teacher are numbered by their seeds: `ban`, `ban (2)`.

    Raises `AnewError` if no teacher of the family has two finished students, or the one that is
    meant has not.
    """
    known: dict[str, str] = {}
    finished = [spec for spec in family.finished(gaps=True) if not spec.is_soft_labels]
    students: dict[str, list[Spec]] = {}
    for spec in finished:
        if len(spec.teachers) == 1:
            students.setdefault(spec.teachers[0].id, []).append(spec)
    teachers = [spec for spec in finished if len(students.get(spec.id, ())) > 1]
    if not teachers:
        raise AnewError(
            f"{family.path}: holds no siblings (at least two finished students of one teacher); "
            "train some with `anew train --siblings`, or as columns of a study"
        )

    kinds: dict[str, list[Spec]] = {}
    for teacher in teachers:
        kinds.setdefault(kind_of(teacher, known), []).append(teacher)
    if end:
        teacher = _meant(family, end, teachers)
        chosen = kinds[kind_of(teacher, known)] if every_seed else [teacher]
    else:

        def most(alike: Sequence[Spec]) -> tuple[int, int]:
            different = {kind_of(one, known) for teacher in alike for one in students[teacher.id]}
            return len(different), -alike[0].generation

        chosen = max(kinds.values(), key=most)

    chosen = sorted(chosen, key=lambda spec: (spec.seed, spec.data.seed, spec.id))
    names = _names([one for teacher in chosen for one in students[teacher.id]], known)
    own = {teacher.id for teacher in chosen}
    beside = {teacher.id: _labelled(teacher, finished, own) for teacher in chosen}
    label_names = _names(
        [*chosen[:1], *(one for networks in beside.values() for one in networks)], known
    )
    label_names[kind_of(chosen[0], known)] = "label again"
    return [
        Siblings(
            teacher,
            _numbered(students[teacher.id], names, known),
            _numbered(beside[teacher.id], label_names, known),
        )
        for teacher in chosen
    ]


def _meant(family: Family, end: str, teachers: Sequence[Spec]) -> Spec:
    """Return the teacher that an id's start names, itself or by a student."""
    spec = family.spec(family.find(end).id, gaps=True)
    meant = {spec.id, *(teacher.id for teacher in spec.teachers[:1])}
    found = [teacher for teacher in teachers if teacher.id in meant]
    if not found:
        others = listed([teacher.id for teacher in teachers[:4]])
        raise AnewError(
            f"{family.path}: {spec.id} has fewer than two finished students, and is no sibling; "
            f"choose with --network one of {others}"
        )
    # A student may be a teacher too: what was named itself counts first.
    return next((teacher for teacher in found if teacher.id == spec.id), found[0])


def _labelled(teacher: Spec, finished: Sequence[Spec], own: set[str]) -> list[Spec]:
    """Return other trained networks of a teacher's model and data that learned from labels."""
    return [
        spec
        for spec in finished
        if spec.generation == 0
        and spec.id not in own
        and not (spec.teachers or spec.weights or spec.is_untrained)
        and spec.model == teacher.model
        and spec.data == teacher.data
        and spec.training == teacher.training
    ]


def _names(specs: Sequence[Spec], known: dict[str, str]) -> dict[str, str]:
    """Return a name for each kind: its origin, and what tells it from others of that origin."""
    first: dict[str, Spec] = {}
    for spec in specs:
        first.setdefault(kind_of(spec, known), spec)
    kinds, alike = list(first.values()), [spec.origin for spec in first.values()]

    names: dict[str, str] = {}
    for kind, spec, parts in zip(first, kinds, distinctions(kinds), strict=True):
        said = [part for part in parts if not part.startswith(_UNSAID)]
        is_several = alike.count(spec.origin) > 1 and said
        names[kind] = f"{spec.origin}, {', '.join(said)}" if is_several else spec.origin
    return names


def _numbered(
    specs: Sequence[Spec], names: dict[str, str], known: dict[str, str]
) -> dict[str, Spec]:
    """Return networks by their names; those of one kind are numbered by their seeds."""
    found: dict[str, Spec] = {}
    for spec in sorted(specs, key=lambda spec: (spec.seed, spec.id)):
        name = names[kind_of(spec, known)]
        number = sum(other == name or other.startswith(f"{name} (") for other in found)
        found[f"{name} ({number + 1})" if number else name] = spec
    return dict(sorted(found.items()))
