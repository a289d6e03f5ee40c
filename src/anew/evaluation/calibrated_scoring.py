"""The scores of a lineage whose probabilities are calibrated: every row by its own validation
outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from anew.core.spec import Spec
from anew.core.text import in_digits
from anew.evaluation import metrics
from anew.evaluation.calibrated import UNCALIBRATED, Asked, Calibrated, calibrate
from anew.evaluation.conformal import SetScores, score_sets
from anew.evaluation.metrics import Scores
from anew.evaluation.outputs import read_outputs
from anew.evaluation.scoring import (
    Row,
    check_subsets,
    ensembles,
    lineage_outputs,
    score_table,
)
from anew.evaluation.temperature import TemperatureError
from anew.family import Family


@dataclass(frozen=True)
class CalibratedRow:
    """One line of a calibrated evaluation."""

    row: Row
    """The scores on the test examples, with what was fitted."""
    calibrated: Calibrated
    sets: SetScores | None = None
    """How the sets of classes do on the test examples, if they were asked for."""
    why_not: str = ""
    """Why nothing could be fitted, "" if it could."""

    def to_json(self) -> dict[str, Any]:
        """Return the row as `anew evaluate --json` prints it."""
        written = self.calibrated.to_json()
        if self.sets is not None:
            written["conformal"] |= {"covered": self.sets.coverage, "mean_size": self.sets.size}
        if self.why_not:
            written["uncalibrated"] = self.why_not
        return self.row.to_json() | written


def evaluate_calibrated(
    family: Family, lineage: Sequence[Spec], asked: Asked, *, all_subsets: bool = False
) -> list[CalibratedRow]:
    """Return the scores on test of every generation and ensemble, each calibrated by itself.

    Networks beside the lineage that it descends from come last. What is fitted, is fitted on the
    validation examples alone. A row of which nothing can be fitted stays as it is and says why. The
    epochs that validation picked are left out: they were chosen on the examples that calibrate.
    Raises `AnewError` as `evaluate_lineage` does, if there is no validation split, and if sets need
    more examples.
    """
    if all_subsets:
        check_subsets(family, lineage)
    held_out, held_out_labels = lineage_outputs(family, lineage, "validation")
    logits, labels = lineage_outputs(family, lineage, "test")

    rows: list[CalibratedRow] = []
    pairs = zip(_all(held_out, all_subsets), _all(logits, all_subsets), strict=True)
    for (_, known), (members, outputs) in pairs:
        ids = tuple(lineage[member].id for member in members)
        objective = lineage[members[0]].origin if len(members) == 1 else ""
        fitted = _fit((known, held_out_labels), asked)
        rows.append(_row(partial(Row, members, ids, objective), fitted, outputs, labels))

    for spec in lineage[-1].beside_lineage:
        if family.folder(spec.id).is_done:
            fitted = _fit(read_outputs(family.folder(spec.id), "validation"), asked)
            named = partial(Row, (spec.generation,), (spec.id,), spec.origin, seed=spec.seed)
            rows.append(_row(named, fitted, *read_outputs(family.folder(spec.id), "test")))
    return rows


def _row(
    named: Callable[[Scores], Row], fitted: tuple[Calibrated, str], outputs: Tensor, labels: Tensor
) -> CalibratedRow:
    """Return a row with its scores on test, with what was fitted."""
    calibrated, why_not = fitted
    adjusted = calibrated.apply(outputs)
    sets = None
    if calibrated.conformal is not None:
        sets = score_sets(calibrated.conformal, adjusted, labels)
    return CalibratedRow(named(metrics.scores(adjusted, labels)), calibrated, sets, why_not)


def calibrated_table(rows: Sequence[CalibratedRow]) -> tuple[list[str], list[list[str]]]:
    """Return the table of scores as texts, with a column for each thing that was fitted."""
    columns, lines = score_table([one.row for one in rows])
    fitted = [one.calibrated for one in rows]
    if any(one.examples for one in fitted) or any(one.why_not for one in rows):
        values = [one.temperature if one.examples else None for one in fitted]
        columns, lines = _beside(columns, lines, "T", [in_digits(value, 3) for value in values])

    sets = [one.sets for one in rows]
    if any(sets):
        covered = [in_digits(one.coverage if one else None, 2) for one in sets]
        sizes = [in_digits(one.size if one else None, 2) for one in sets]
        columns, lines = _beside(columns, lines, "coverage %", covered)
        columns, lines = _beside(columns, lines, "set size", sizes)
    return columns, lines


def notice_of_calibrated(rows: Sequence[CalibratedRow], asked: Asked) -> str:
    """Return in sentences what the columns of a calibrated table are, and which rows lack them."""
    said: list[str] = []
    fitted = next((one.calibrated for one in rows if not one.why_not), UNCALIBRATED)
    if fitted.examples:
        said.append(
            f"T: temperature, fitted on {fitted.examples:,} validation examples and applied to the "
            "scores."
        )
    if fitted.conformal is not None:
        said.append(
            "coverage: share of test examples whose set contains the true class (target "
            f"{100 * fitted.conformal.coverage:g} %, fitted on {fitted.conformal.examples:,} "
            "validation examples); set size: mean number of classes in a set."
        )
    if asked.temperature and asked.coverage is not None and fitted.examples:
        said.append("Each is fitted on its own half of the validation split.")

    reasons = {one.why_not: one.row.name for one in reversed(rows) if one.why_not}
    said += [f"{name} is not calibrated: {reason}." for reason, name in reasons.items()]
    return " ".join(said)


def _all(logits: Sequence[Tensor], all_subsets: bool) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Yield every generation and ensemble, with logits or log-probabilities."""
    yield from (((number,), own) for number, own in enumerate(logits))
    yield from ensembles(logits, all_subsets=all_subsets)


def _fit(held_out: tuple[Tensor, Tensor], asked: Asked) -> tuple[Calibrated, str]:
    """Return what was fitted, or nothing and why no temperature could be."""
    try:
        return calibrate(*held_out, asked), ""
    except TemperatureError as error:
        return UNCALIBRATED, str(error)


def _beside(
    columns: list[str], lines: list[list[str]], name: str, texts: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    return [*columns, name], [[*line, text] for line, text in zip(lines, texts, strict=True)]
