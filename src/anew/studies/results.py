"""A study's results: every cell over its seeds, compared with a reference column, beside what was published."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import torch

from anew import ensemble, evaluation, network, statistics
from anew.family import Family
from anew.network import Interface
from anew.spec import Spec
from anew.statistics import Difference, Estimate
from anew.studies.running import StudyData
from anew.studies.study import Study


@dataclass(frozen=True)
class Cell:
    """One cell: test error in percent over seeds, what failed or is missing, and the comparison with the reference."""

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
    difference: Difference | None = None
    """Ours less the reference column's, in points."""
    corrected_p: float = math.nan
    """Holm's, over all comparisons of the study."""
    verdict: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the cell as it is exported."""
        return asdict(self)


@dataclass(frozen=True)
class Results:
    """A study's table."""

    study: Study
    cells: list[Cell]
    fingerprint: str

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
            "training": asdict(self.study.training),
            "notes": list(self.study.notes),
            "cells": [cell.to_json() for cell in self.cells],
        }


def collect(study: Study, family: Family, data: StudyData, failed: Mapping[str, str] | None = None) -> Results:
    """Read a study's cells from a family: stored outputs of the last epoch, so nothing is chosen and nothing runs.

    Over two seeds and more, comparisons are paired by seed; with one seed they are over its test examples. The p-values
    of all comparisons are corrected together (Holm).
    """
    failed = failed or {}
    wrong = {
        (row, name, seed): _wrong(study.cell(row, name, seed, data(seed)), family, failed)
        for row in study.rows
        for name in {*(study.shown or study.columns), study.reference}
        for seed in study.seeds
        if study.column(row, name) is not None
    }
    count = cache(network.count_trained)
    cells: list[Cell] = []
    for row in study.rows:
        for name in study.shown or study.columns:
            if study.column(row, name) is None:
                continue
            found = {seed: wrong[row, name, seed] for seed in study.seeds}
            errors = {seed: _percent(value) for seed, value in found.items() if isinstance(value, torch.Tensor)}
            missing = {seed: value for seed, value in found.items() if isinstance(value, str)}
            estimate = statistics.estimate(list(errors.values())) if errors else None
            difference = None
            if name != study.reference and study.column(row, study.reference) is not None:
                theirs = {seed: wrong[row, study.reference, seed] for seed in study.seeds}
                difference = _compare(found, theirs)
            members = study.cell(row, name, study.seeds[0], data(study.seeds[0]))
            cells.append(
                Cell(
                    row, name, errors, missing, estimate, study.published.get((row, name)),
                    sum(count(one.model, one.frozen, Interface.of(data.of(one))) for one in members),
                    study.published_parameters.get((row, name)), difference,
                )
            )  # fmt: skip
    return Results(study, _judged(cells), data(study.seeds[0]).fingerprint)


def _wrong(members: tuple[Spec, ...], family: Family, failed: Mapping[str, str]) -> torch.Tensor | str:
    """Return which test examples a cell gets wrong, or why it is not known."""
    for member in members:
        if member.id in failed:
            return failed[member.id]
        if not family.folder(member.id).is_done:
            return "not trained yet"
    outputs = [evaluation.read_outputs(family.folder(member.id), "test") for member in members]
    logits = ensemble.log_mean([one for one, _ in outputs])
    return logits.argmax(-1) != outputs[0][1]


def _compare(ours: Mapping[int, torch.Tensor | str], theirs: Mapping[int, torch.Tensor | str]) -> Difference | None:
    pairs = [
        (one, other)
        for one, other in ((ours[seed], theirs[seed]) for seed in ours)
        if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
    ]
    if not pairs:
        return None
    if len(pairs) == 1:
        return statistics.over_examples(pairs[0][0].numpy(), pairs[0][1].numpy())
    return statistics.over_seeds([_percent(one) for one, _ in pairs], [_percent(other) for _, other in pairs])


def _percent(wrong: torch.Tensor) -> float:
    return 100 * wrong.double().mean().item()


def _judged(cells: list[Cell]) -> list[Cell]:
    """Correct the p-values of all comparisons together, and say what each shows."""
    corrected = iter(statistics.holm([cell.difference.p for cell in cells if cell.difference is not None]))
    judged: list[Cell] = []
    for cell in cells:
        if cell.difference is not None:
            p = next(corrected)
            cell = replace(cell, corrected_p=p, verdict=statistics.verdict(cell.difference, p))
        judged.append(cell)
    return judged
