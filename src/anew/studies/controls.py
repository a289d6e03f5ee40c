"""Columns that test in any study whether distillation explains a gain."""

from __future__ import annotations

from dataclasses import replace

from anew.core.errors import AnewError
from anew.core.spec import ObjectiveSpec
from anew.studies.study import Column, Study


def with_controls(study: Study) -> Study:
    """Return a study with the controls of distillation, which are columns like any other.

    A second label-only network; one with the whole compute of the student with most ancestors; an
    ensemble of as many independent label-only networks as that student and its ancestors are;
    labels smoothed as much as the teacher is unsure on the whole, and the teacher's argmax by its
    confidence in each example, which is what DKPP comes to; a student of the teacher whose answers
    are exchanged between examples of the same predicted class; an untrained network with a student
    of its own. Label-only networks have other first weights and dropout, and the same order, views
    and split.
    Raises `AnewError` if the study has a column of such a name.
    """
    longest = max(_depth(study, row, name) for row in study.rows for name in study.columns)
    again = [Column(seed=500 + number) for number in range(1, longest + 1)]
    names = [
        f"{study.reference} again",
        *(f"{study.reference} again ({number})" for number in range(2, longest + 1)),
    ]
    members = (study.reference, *names[:longest])
    untrained = f"{study.reference} untrained"
    # Table 5 compares with networks that learn from labels, and its students have another teacher.
    teacher = next((one.teacher for one in study.columns.values() if one.teacher), study.reference)

    shuffled = Column(teacher, ObjectiveSpec("ban", shuffled=True))
    controls = {
        **dict(zip(names, again, strict=True)),
        f"{study.reference}, {longest + 1}x epochs": Column(seed=500, epochs=longest + 1),
        f"{longest + 1} independent": Column(ensemble=members),
        f"labels smoothed by {teacher}": Column(teacher, ObjectiveSpec("teacher-smoothing")),
        f"{teacher}'s argmax smoothed": Column(teacher, ObjectiveSpec("argmax-smoothing")),
        # An answer to a place of a text has no partner elsewhere.
        **({} if study.is_text else {f"BAN, {teacher} shuffled": shuffled}),
        untrained: Column(seed=500, epochs=0),
        f"BAN, {untrained}": Column(untrained, ObjectiveSpec("ban")),
    }

    for name in controls:
        if name in study.columns:
            raise AnewError(
                f"study '{study.name}': has a column '{name}', a control's name; rename it, or "
                f"drop --controls"
            )
    return replace(
        study, columns={**study.columns, **controls}, controls=(*study.controls, *controls)
    )


def _depth(study: Study, row: str, name: str) -> int:
    """Return how many networks a cell's network descends from."""
    found: set[str] = set()
    missing = [*study.taught_by(row, name)]
    while missing:
        one = missing.pop()
        if one not in found:
            found.add(one)
            missing += study.taught_by(row, one)
    return len(found)
