"""Soft labels that a recipe names: from a file's numbers to rows in the family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anew.core import files
from anew.core.errors import AnewError
from anew.core.spec import SOFT_LABELS, ModelSpec, ObjectiveSpec, Spec, TrainingSpec
from anew.data import Data
from anew.data.label_files import LabelTable, read_label_table
from anew.family import Family
from anew.models import matching
from anew.teachers.encoding import Encoding
from anew.teachers.rows import Rows

Kind = Literal["probabilities", "counts", "logits"]
# What rounding to half precision leaves of a sum of probabilities.
_SUM_IS_ONE = 2e-3
_PART = 1 << 13
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class GivenRows:
    """Soft labels that teach a recipe's students, ready to be brought into a family."""

    spec: Spec
    rows: Rows
    about: dict[str, Any]
    notices: tuple[str, ...]

    def bring(self, family: Family, data: Data, device: torch.device) -> None:
        """Write the rows into the family, where they stand in a network's place."""
        folder = family.begin(self.spec)
        if not folder.is_done:
            self.rows.save(folder.weights, {"id": self.spec.id, **self.about})
            folder.finish(
                {
                    "id": self.spec.id,
                    "generation": self.spec.generation,
                    "given": self.about["file"],
                    "soft_labels": self.about,
                    # They say nothing of test examples.
                    "test": {"error": None},
                }
            )


def find_rows(text: str, are: str, data: Data, *, force: bool) -> GivenRows:
    """Read the soft labels that a text names, and check that they are those of this data.

    `are` says what the rows hold, or `auto`. With `force` labels and class names that differ are
    only said. Nothing is written. Raises `AnewError` for rows that are no soft labels, or are of
    other examples or classes.
    """
    table = read_label_table(text)
    if data.signature.positions:
        raise AnewError(
            f"{table.called}: have one row for each example, and these examples have "
            f"{data.signature.positions} labels each; give a network with --teacher"
        )
    notices: list[str] = []
    chosen, which = _places(table, data)
    columns = _columns(table, data, notices, force=force)
    _check_labels(table, chosen, data, notices, force=force)

    kind: Kind = _kind(table) if are == "auto" else are  # pyright: ignore[reportAssignmentType]
    rows = _encode(table, kind, chosen, columns, len(data.classes))
    said = "found" if are == "auto" else "as told"
    top = f"the {table.rows.shape[1]} largest of " if table.numbers is not None else ""
    notices.insert(
        0,
        f"{table.called}: {kind} ({said}) of {top}{len(data.classes)} classes, a row for each of "
        f"{which}",
    )
    if data.views.kind != "none":
        notices.append(
            f"{table.called}: every view ({data.views.kind}) of an example has the same target; "
            "a network would give each view its own"
        )

    about = {"file": table.path.name, "are": kind, "examples": len(chosen)}
    weights = files.sha256_of_json(
        {"soft labels": files.sha256(table.path), "are": kind, "name": table.name}
    )
    label = ObjectiveSpec.of("label", smoothing=0.0)
    spec = Spec(ModelSpec(SOFT_LABELS), data.spec, TrainingSpec(), label, weights=weights)
    return GivenRows(spec, rows, about, tuple(notices))


def _places(table: LabelTable, data: Data) -> tuple[NDArray[np.int64], str]:
    """Return the row of each training example, and in words which examples the rows are of."""
    rows, training = len(table.rows), len(data.training)
    if data.places is not None and rows == data.places.count:
        of = f"the source's {rows:,} training examples, of which {training:,} are trained on"
        if rows == training:
            of = f"the {training:,} training examples"
        return data.places.training.numpy(), of
    if rows == training:
        return np.arange(training), f"the {training:,} training examples, after the splits"

    whole = f" (or {data.places.count:,}, before any split)" if data.places is not None else ""
    raise AnewError(
        f"{table.called}: have {rows:,} rows, and there are {training:,} training examples"
        f"{whole}; give a row for each, in the data's order"
    )


def _columns(
    table: LabelTable, data: Data, notices: list[str], *, force: bool
) -> NDArray[np.int64]:
    """Return for each of the file's columns the class of the data that it is of."""
    count, classes = len(data.classes), data.classes
    if table.numbers is None and table.rows.shape[1] != count:
        raise AnewError(
            f"{table.called}: have {table.rows.shape[1]} columns, and the data have {count} "
            "classes; give one for each class, in the order of the data's classes"
        )
    own = table.classes
    if not own or own == classes:
        return np.arange(count)
    if sorted(own) == sorted(classes) and len(set(own)) == len(own):
        notices.append(
            f"{table.called}: have the data's classes in another order; they are put in the "
            "data's order"
        )
        return np.array([classes.index(name) for name in own])
    if matching.are_numbers(own) and len(own) == count:
        return np.arange(count)

    says = f"{table.called}: {matching.differing(own, classes)}"
    if not force or len(own) != count:
        raise AnewError(
            f"{says}; give soft labels for these classes, or match them by position with --force"
        )
    notices.append(f"{says}; with --force they are matched by position")
    return np.arange(count)


def _check_labels(
    table: LabelTable,
    chosen: NDArray[np.int64],
    data: Data,
    notices: list[str],
    *,
    force: bool,
) -> None:
    """Raise `AnewError` if the file's own labels are not those of the data, unless `force`."""
    if table.labels is None:
        return
    wrong = int((table.labels[chosen] != data.training.labels.numpy()).sum())
    if not wrong:
        return
    says = (
        f"{table.called}: their labels differ from the data's for {wrong:,} of {len(chosen):,} "
        "training examples, so the rows seem to belong to other examples, or to be in another "
        "order"
    )
    if not force:
        raise AnewError(f"{says}; give them in the data's order, or continue with --force")
    notices.append(f"{says}; --force is on")


def _kind(table: LabelTable) -> Kind:
    """Return what rows hold; raise `AnewError` if that is not clear."""
    found: set[Kind] = set()
    for start in range(0, len(table.rows), _PART):
        found.add(_kind_of(table, table.rows[start : start + _PART].astype(np.float64), start))
    if "logits" in found:
        return "logits"
    return "counts" if "counts" in found else "probabilities"


def _kind_of(table: LabelTable, values: Numbers, start: int) -> Kind:
    """Return what rows hold, of which the first has the place `start` in the file."""
    if np.isnan(values).any():
        return "logits"

    sums = values.sum(-1)
    is_whole = bool((values == np.round(values)).all())
    is_share = (
        sums <= 1 + _SUM_IS_ONE if table.numbers is not None else abs(sums - 1) <= _SUM_IS_ONE
    )
    is_positive = np.asarray((values >= 0).all(-1))
    if not is_positive.all():
        # A few numbers below 0 among probabilities are no logits.
        if (is_share & is_positive).mean() > 0.5:
            first = int(np.argmin(is_positive))
            raise AnewError(
                f"{table.called}: row {start + first} holds a number below 0, and most rows are "
                "probabilities; mend it, or say what they are with --soft-labels-are"
            )
        return "logits"
    if is_share.all():
        return "probabilities"
    if is_whole:
        return "counts"
    wrong = float(sums[np.argmin(is_share)])
    raise AnewError(
        f"{table.called}: no number is below 0, but a row has the sum {wrong:g}, and they are "
        "not whole numbers; set --soft-labels-are (counts are divided by their sum)"
    )


def _encode(
    table: LabelTable,
    kind: Kind,
    chosen: NDArray[np.int64],
    columns: NDArray[np.int64],
    classes: int,
) -> Rows:
    """Return the rows of the training examples as words; raise `AnewError` for what is no row."""
    top_k = None
    if table.numbers is not None:
        _check_numbers(table, chosen, classes)
        top_k = table.rows.shape[1] if table.rows.shape[1] < classes else None
    encoding = Encoding(classes, top_k)

    words: list[Tensor] = []
    for start in range(0, len(chosen), _PART):
        places = chosen[start : start + _PART]
        values = table.rows[places].astype(np.float64)
        _check_values(table, kind, values, places)
        if kind == "counts":
            values = values / values.sum(-1, keepdims=True)
        with np.errstate(divide="ignore"):
            logits = values if kind == "logits" else np.log(values)

        whole = np.full((len(places), classes), -np.inf)
        if table.numbers is None:
            whole[:, columns] = logits
        else:
            numbers = columns[table.numbers[places].astype(np.int64)]
            rest = np.maximum(0, 1 - np.exp(logits).sum(-1, keepdims=True))
            with np.errstate(divide="ignore"):
                whole[:] = np.log(rest / max(1, classes - logits.shape[1]))
            np.put_along_axis(whole, numbers, logits, axis=-1)
        words.append(encoding.encode(torch.from_numpy(whole).float()))
    return Rows(torch.cat(words), encoding)


def _check_values(
    table: LabelTable, kind: Kind, values: Numbers, places: NDArray[np.int64]
) -> None:
    """Raise `AnewError` with the first row that is none of its kind."""
    largest = values.max(-1)
    wrong = np.isnan(values).any(-1) | np.isinf(largest)
    _refuse(table, wrong, places, "holds NaN or infinity")
    if kind == "logits":
        if table.numbers is not None:
            _refuse(
                table,
                np.exp(values).sum(-1) > 1 + _SUM_IS_ONE,
                places,
                "holds the k largest logits, from which the probability of the other classes is "
                "unknown; give probabilities, or log-probabilities",
            )
        return

    _refuse(table, np.asarray((values < 0).any(-1)), places, f"holds a number below 0 among {kind}")
    sums = values.sum(-1)
    if kind == "counts":
        _refuse(table, sums <= 0, places, "has the sum 0")
    elif table.numbers is not None:
        _refuse(table, sums > 1 + _SUM_IS_ONE, places, "holds probabilities with a sum above 1")
    else:
        _refuse(
            table,
            abs(sums - 1) > 5 * _SUM_IS_ONE,
            places,
            "holds probabilities whose sum is not 1 (for counts, which are divided by their sum, "
            "set --soft-labels-are counts)",
        )


def _check_numbers(table: LabelTable, chosen: NDArray[np.int64], classes: int) -> None:
    """Raise `AnewError` unless the k largest have classes that exist, each once in a row."""
    assert table.numbers is not None
    if table.numbers.shape != table.rows.shape:
        raise AnewError(
            f"{table.called}: have the shape {table.rows.shape}, and their classes "
            f"{table.numbers.shape}; give a class for each value"
        )
    numbers = table.numbers[chosen]
    wrong = (numbers < 0).any(-1) | (numbers >= classes).any(-1) | (numbers % 1 != 0).any(-1)
    _refuse(table, wrong, chosen, f"names a class that is none of 0 to {classes - 1}")
    in_order = np.sort(numbers, axis=-1)
    twice = (np.diff(in_order, axis=-1) == 0).any(-1)
    _refuse(table, twice, chosen, "names a class twice")


def _refuse(
    table: LabelTable, wrong: NDArray[np.bool_], places: NDArray[np.int64], what: str
) -> None:
    if wrong.any():
        several = f" ({int(wrong.sum()):,} rows like it)" if wrong.sum() > 1 else ""
        raise AnewError(
            f"{table.called}: row {int(places[np.argmax(wrong)])}{several} {what}; correct the file"
        )
