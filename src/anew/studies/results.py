"""A study's results: every cell over its seeds, compared with a reference column, beside what was
published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import torch

from anew import evaluation
from anew.core.spec import Spec
from anew.evaluation import ensemble, statistics
from anew.evaluation.statistics import Difference, Estimate, Judged
from anew.family import Family
from anew.models import network
from anew.studies.running import StudyData
from anew.studies.study import Study

Wrong = Mapping[int, torch.Tensor | str]
"""Which test examples a cell gets wrong (N,), by seed; or why that is not known."""


@dataclass(frozen=True)
class Cell:
    """One cell: test error in percent over seeds, what failed or is missing, and the comparison
    with the reference.
    """

    row: str
    column: str
    errors: Mapping[int, float]
    """By seed, of the seeds that are done."""
    missing: Mapping[int, str]
    """Why a seed is not there, by seed."""
    estimate: Estimate | None
    published: float | None
    parameters: int
    """What the cell's networks learn in all; what is frozen is not counted."""
    published_parameters: float | None
    """In millions."""
    comparison: Judged | None = None
    """With the reference column: ours less its error, in points; corrected for all cells that are
    compared with it.
    """
    controls: Mapping[str, Judged] = field(default_factory=dict[str, Judged])
    """The same with each control, by its name. Controls have none."""

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
        """The controls that anything is compared with."""
        return [
            name
            for name in self.study.controls
            if any(name in cell.controls for cell in self.cells)
        ]

    def cell(self, row: str, column: str) -> Cell | None:
        """Return a cell, None where the table has none."""
        return next((one for one in self.cells if (one.row, one.column) == (row, column)), None)

    def to_json(self) -> dict[str, Any]:
        """Return the table with all that a reader needs to judge it."""
        return {
            "study": self.study.name,
            "title": self.study.title,
            "data": self.study.data.source,
            "fingerprint": self.fingerprint,
            "seeds": list(self.study.seeds),
            "reference": self.study.reference,
            "controls": self.controls,
            "training": asdict(self.study.training),
            "notes": list(self.study.notes),
            "cells": [cell.to_json() for cell in self.cells],
        }


def collect(
    study: Study, family: Family, data: StudyData, failed: Mapping[str, str] | None = None
) -> Results:
    """Read a study's cells from a family: stored outputs of the last epoch, so nothing is chosen
    and nothing runs.

    Every cell is compared with the reference column, and what is no control with each control. In a
    study of two seeds and more, comparisons are paired by seed, of which two must be done; in a
    study of one they are over its test examples. The p-values of all comparisons with one column
    are corrected together (Holm).
    """
    failed = failed or {}
    wrong = {
        (row, name): {
            seed: _wrong(study.cell(row, name, seed, data(seed)), family, failed)
            for seed in study.seeds
        }
        for row in study.rows
        for name in dict.fromkeys((*(study.shown or study.columns), study.reference))
        if study.column(row, name) is not None
    }
    with_reference = _compared(wrong, study.reference, without=(study.reference,))
    with_controls = {
        control: _compared(wrong, control, without=(study.reference, *study.controls))
        for control in study.controls
    }
    count = cache(network.count_trained)
    cells: list[Cell] = []
    for (row, name), found in wrong.items():
        if study.shown and name not in study.shown:
            continue
        errors = {
            seed: _percent(value)
            for seed, value in found.items()
            if isinstance(value, torch.Tensor)
        }
        missing = {seed: value for seed, value in found.items() if isinstance(value, str)}
        members = study.cell(row, name, study.seeds[0], data(study.seeds[0]))
        cells.append(
            Cell(
                row,
                name,
                errors,
                missing,
                statistics.estimate(list(errors.values())) if errors else None,
                study.published.get((row, name)),
                sum(count(one.model, one.frozen, data.of(one).signature) for one in members),
                study.published_parameters.get((row, name)),
                with_reference.get((row, name)),
                {
                    control: of[row, name]
                    for control, of in with_controls.items()
                    if (row, name) in of
                },
            )
        )
    return Results(study, cells, data(study.seeds[0]).fingerprint)


def _wrong(
    members: tuple[Spec, ...], family: Family, failed: Mapping[str, str]
) -> torch.Tensor | str:
    """Return which test examples a cell gets wrong, or why it is not known."""
    for member in members:
        if member.id in failed:
            return failed[member.id]
        if not family.folder(member.id).is_done:
            return "not trained yet"
    outputs = [evaluation.read_outputs(family.folder(member.id), "test") for member in members]
    logits = ensemble.log_mean([one for one, _ in outputs])
    return logits.argmax(-1) != outputs[0][1]


def _compared(
    wrong: Mapping[tuple[str, str], Wrong], other: str, without: Sequence[str]
) -> dict[tuple[str, str], Judged]:
    """Return what the comparisons of all cells with a column of their rows show, but for some
    columns'.
    """
    differences = {
        (row, name): _difference(ours, wrong[row, other])
        for (row, name), ours in wrong.items()
        if name not in without and (row, other) in wrong
    }
    there = {cell: one for cell, one in differences.items() if one is not None}
    return dict(zip(there, statistics.judge(list(there.values())), strict=True))


def _difference(ours: Wrong, theirs: Wrong) -> Difference | None:
    pairs = [
        (one, other)
        for one, other in ((ours[seed], theirs[seed]) for seed in ours)
        if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
    ]
    if len(ours) > 1:
        # One seed of several would be compared in another way than all others, and be mixed up with
        # them.
        ours_percent, theirs_percent = ([_percent(pair[side]) for pair in pairs] for side in (0, 1))
        return statistics.over_seeds(ours_percent, theirs_percent) if len(pairs) > 1 else None
    return statistics.over_examples(pairs[0][0].numpy(), pairs[0][1].numpy()) if pairs else None


def _percent(wrong: torch.Tensor) -> float:
    return 100 * wrong.double().mean().item()
