"""A study's results: every cell over its seeds, compared with a reference column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from jaxtyping import Bool, Float64
from torch import Tensor

from anew import evaluation
from anew.core.spec import Spec, is_text
from anew.evaluation import ensemble, language, statistics
from anew.evaluation.scoring import lineage_said
from anew.evaluation.statistics import Difference, Estimate, Judged
from anew.family import Family
from anew.models import network
from anew.studies.running import StudyData
from anew.studies.study import Study

Place = tuple[str, str]
"""A cell's place in the table: its row and its column."""
Wrong = Mapping[int, Tensor | str]
"""Which test examples a cell gets wrong (N,), by seed; or the reason why that is not known.

Of language models -log p of each token of the test text, float64.
"""


@dataclass(frozen=True)
class Cell:
    """One cell: its test error in percent over seeds, and its comparison with the reference.

    Of language models its test perplexity.
    """

    row: str
    column: str
    errors: Mapping[int, float]
    """By seed, of the seeds that are finished; perplexities of language models."""
    missing: Mapping[int, str]
    """The reason for a missing seed, by seed."""
    estimate: Estimate | None
    published: float | None
    parameters: int
    """The parameters that the cell's networks learn in all; frozen ones are not counted."""
    published_parameters: float | None
    """In millions."""
    comparison: Judged | None = None
    """With the reference column: our error less its error, in points.

    Its p-value is corrected for all cells that are compared with the reference.
    """
    controls: Mapping[str, Judged] = field(default_factory=dict[str, Judged])
    """The same with each control, by its name. Controls have none."""
    validation: Estimate | None = None
    """Of language models, the validation perplexity over the finished seeds."""
    published_validation: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the cell as it is exported."""
        return asdict(self)


@dataclass(frozen=True)
class Results:
    """A study's table."""

    study: Study
    cells: list[Cell]
    fingerprint: str

    @property
    def controls(self) -> list[str]:
        """The controls with which a cell is compared."""
        return [
            name
            for name in self.study.controls
            if any(name in cell.controls for cell in self.cells)
        ]

    def cell(self, row: str, column: str) -> Cell | None:
        """Return a cell, or None if the table has no such cell."""
        for cell in self.cells:
            if (cell.row, cell.column) == (row, column):
                return cell
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the table as it is exported, with what a reader needs to judge it."""
        return {
            "study": self.study.name,
            "title": self.study.title,
            "data": self.study.data.source,
            "fingerprint": self.fingerprint,
            "seeds": list(self.study.seeds),
            "reference": self.study.reference,
            "controls": self.controls,
            "training": asdict(self.study.training),
            "trainings": {row: asdict(one) for row, one in self.study.trainings.items()},
            "notes": list(self.study.notes),
            "cells": [cell.to_json() for cell in self.cells],
        }


def collect(
    study: Study, family: Family, data: StudyData, failed: Mapping[str, str] | None = None
) -> Results:
    """Read a study's cells from a family: from stored outputs of the last epoch.

    Nothing is chosen on test, and no network runs. Every cell is compared with the reference
    column, and every cell but the controls with each control. With two seeds or more, comparisons
    are paired by seed, of which two must be finished; with one they are over its test examples. The
    p-values of all comparisons with one column are corrected together (Holm). `failed` are the
    reasons of networks that failed, by id.
    """
    wrong = _all_wrong(study, family, data, failed or {})
    with_reference = _compared(wrong, study.reference, without=(study.reference,))
    with_controls = {
        control: _compared(wrong, control, without=(study.reference, *study.controls))
        for control in study.controls
    }

    first, count = study.seeds[0], cache(network.count_trained)
    cells: list[Cell] = []
    for (row, name), by_seed in wrong.items():
        # The reference is read even if it is not shown.
        if study.shown and name not in study.shown:
            continue
        errors: dict[int, float] = {}
        missing: dict[int, str] = {}
        for seed, value in by_seed.items():
            if isinstance(value, str):
                missing[seed] = value
            else:
                errors[seed] = _percent(value)

        members = study.cell(row, name, first, data(first))
        learned = [count(one.model, one.frozen, data.of(one).signature) for one in members]
        controls = {
            control: compared[row, name]
            for control, compared in with_controls.items()
            if (row, name) in compared
        }
        cells.append(
            Cell(
                row=row,
                column=name,
                errors=errors,
                missing=missing,
                estimate=statistics.estimate(list(errors.values())) if errors else None,
                published=study.published.get((row, name)),
                parameters=sum(learned),
                published_parameters=study.published_parameters.get((row, name)),
                comparison=with_reference.get((row, name)),
                controls=controls,
                validation=_validation(study, family, (row, name), list(errors), data),
                published_validation=study.published_validation.get((row, name)),
            )
        )
    return Results(study, cells, data(first).fingerprint)


def _all_wrong(
    study: Study, family: Family, data: StudyData, failed: Mapping[str, str]
) -> dict[Place, Wrong]:
    """Return which examples each cell gets wrong, of the cells that are shown and the reference."""
    names = list(dict.fromkeys((*(study.shown or study.columns), study.reference)))
    wrong: dict[Place, Wrong] = {}
    for row in study.rows:
        for name in names:
            column = study.column(row, name)
            if column is None:
                continue
            epoch = "best" if column.best_epoch else "last"
            cells = {seed: study.cell(row, name, seed, data(seed)) for seed in study.seeds}
            wrong[row, name] = {
                seed: _wrong(members, family, failed, epoch) for seed, members in cells.items()
            }
    return wrong


def _wrong(
    members: tuple[Spec, ...], family: Family, failed: Mapping[str, str], epoch: str
) -> Bool[Tensor, "examples"] | Float64[Tensor, "tokens"] | str:
    """Return what `Wrong` holds of a cell and a seed; `epoch` is "last" or "best"."""
    for member in members:
        if member.id in failed:
            return failed[member.id]
        if not family.folder(member.id).is_done:
            return "not trained yet"

    if is_text(members[0].data.source):
        return -_log_p(members, family, "test")
    folders = [family.folder(member.id) for member in members]
    outputs = [evaluation.read_outputs(folder, "test", epoch) for folder in folders]
    together = ensemble.log_mean([logits for logits, _ in outputs])
    return (together.argmax(-1) != outputs[0][1]).flatten()


def _log_p(members: Sequence[Spec], family: Family, split: str) -> Float64[Tensor, "tokens"]:
    """Return what language models together say of each token of a split."""
    said = lineage_said(family, members, split)
    return language.ensemble_log_p([one.log_p for one in said])


def _validation(
    study: Study, family: Family, place: Place, seeds: Sequence[int], data: StudyData
) -> Estimate | None:
    """Return the validation perplexity of a cell of language models over its finished seeds."""
    if not (study.is_text and seeds) or not data.contents.validation:
        return None
    members = [study.cell(*place, seed, data(seed)) for seed in seeds]
    values = [language.perplexity(_log_p(one, family, "validation")) for one in members]
    return statistics.estimate(values)


def _compared(
    wrong: Mapping[Place, Wrong], other: str, without: Sequence[str]
) -> dict[Place, Judged]:
    """Return the comparisons of cells with a column of their rows, but for columns `without`."""
    differences: dict[Place, Difference] = {}
    for (row, name), ours in wrong.items():
        if name in without or (row, other) not in wrong:
            continue
        difference = _difference(ours, wrong[row, other])
        if difference is not None:
            differences[row, name] = difference
    judged = statistics.judge(list(differences.values()))
    return dict(zip(differences, judged, strict=True))


def _difference(ours: Wrong, theirs: Wrong) -> Difference | None:
    """Return the difference over the seeds that both have; None if that is not enough."""
    pairs: list[tuple[Tensor, Tensor]] = []
    for seed, our_wrong in ours.items():
        their_wrong = theirs[seed]
        if not isinstance(our_wrong, str) and not isinstance(their_wrong, str):
            pairs.append((our_wrong, their_wrong))

    if len(ours) == 1:
        if not pairs:
            return None
        our_wrong, their_wrong = pairs[0]
        if our_wrong.is_floating_point():
            numbers = our_wrong.numpy(), their_wrong.numpy()
            return statistics.over_blocks(*numbers, language.BLOCK)
        return statistics.over_examples(our_wrong.numpy(), their_wrong.numpy())
    # One finished seed of several must not be compared over examples, unlike all other cells.
    if len(pairs) < 2:
        return None
    our_errors = [_percent(our_wrong) for our_wrong, _ in pairs]
    their_errors = [_percent(their_wrong) for _, their_wrong in pairs]
    return statistics.over_seeds(our_errors, their_errors)


def _percent(wrong: Tensor) -> float:
    """Return an error in percent, or a perplexity."""
    if wrong.is_floating_point():
        return language.perplexity(-wrong)
    return 100 * wrong.double().mean().item()
