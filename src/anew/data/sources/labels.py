"""Labels as people keep them: names, numbers from 1, classes that no example has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from anew.core.errors import AnewError, did_you_mean
from anew.data.kept import some_of
from anew.data.sources.layout_names import SplitName

_SEVERAL = (
    "have several classes for an example, or none (multi-label), and anew needs exactly one; "
    "train a network for each label, or make a class of each combination"
)
_MAKE_CLASSES = "anew trains classifiers: make classes of them (np.digitize(y, edges))"
Labels = dict[SplitName, NDArray[Any]]
"""The labels of each split: whole numbers, or names."""


def numbered(
    name: str, labels: Mapping[SplitName, NDArray[Any]], classes: Sequence[str] | None
) -> tuple[Labels, tuple[str, ...] | None, list[str]]:
    """Return labels that are numbers from 0, the classes' names if known, and what is to be said.

    Names become numbers in their sorted order. Numbers from 1 without gaps become numbers from 0,
    and keep their names. Named classes that no example has are dropped. Raises `AnewError` if a
    class of another split has no training example.
    """
    found, names, notes = dict(labels), tuple(classes) if classes else None, list[str]()
    for split, values in labels.items():
        # Yes and no are the numbers 1 and 0.
        found[split] = values.astype(np.int64) if values.dtype.kind == "b" else values
    if any(values.dtype.kind in "US" for values in found.values()):
        return (*_of_names(name, found), notes)
    if not all(values.dtype.kind in "iu" and len(values) for values in found.values()):
        return found, names, notes

    largest = max(int(values.max()) for values in found.values())
    least = min(int(values.min()) for values in found.values())
    used = set(np.unique(found["train"]).tolist())
    if names is None and least == 1 and used == set(range(1, largest + 1)):
        notes.append(f"labels are 1 to {largest}: class 1 becomes number 0")
        names = tuple(str(number) for number in range(1, largest + 1))
        for split, values in labels.items():
            found[split] = values.astype(np.int64) - 1
        return found, names, notes

    everywhere = {int(label) for values in found.values() for label in np.unique(values)}
    if names is None or least < 0 or largest >= len(names) or everywhere - used:
        return found, names, notes
    unused = [one for number, one in enumerate(names) if number not in used]
    if unused and len(used) > 1:
        notes.append(f"classes without examples are dropped: {some_of(unused)}")
        kept = np.array(sorted(used))
        for split, values in labels.items():
            found[split] = np.searchsorted(kept, values)
        names = tuple(names[number] for number in kept.tolist())
    return found, names, notes


def no_classes(labels: object) -> str:
    """Return in words, with what mends it, why labels are no classes, "" if nothing speaks for it.

    `labels` are an array, or a list of what a data set holds for its examples. Fractions are those
    of a regression, several numbers of 0 and 1 an example those of several labels.
    """
    if isinstance(labels, list):
        try:
            values = np.array(cast("list[object]", labels))
        except ValueError:
            # Lists of several lengths.
            return _SEVERAL
    else:
        values = np.asarray(labels)
    if values.dtype.kind in "OUS" and values.ndim > 1:
        return _SEVERAL
    if values.dtype.kind not in "buif" or not values.size:
        return ""

    if values.ndim == 2 and values.shape[1] > 1:
        return _of_rows(values.astype(np.float64))
    numbers = values.astype(np.float64)
    known = numbers[np.isfinite(numbers)]
    fractions = known[known != np.round(known)]
    if not len(fractions):
        return ""
    shown = ", ".join(f"{number:.4g}" for number in fractions.flatten()[:2])
    return f"are fractions ({shown}, ...), as in a regression; {_MAKE_CLASSES}"


def _of_rows(rows: NDArray[np.float64]) -> str:
    """Return what rows (N, K) of numbers are, in words."""
    if set(np.unique(rows)) <= {0.0, 1.0}:
        if bool((rows.sum(1) == 1).all()):
            return f"are one-hot rows of {rows.shape[1]}; convert them with argmax(1)"
        return f"{_SEVERAL} ({rows.shape[1]} columns of 0 and 1)"
    if rows.min() >= 0 and np.abs(rows.sum(1) - 1).max() < 1e-3:
        return (
            "are probabilities (rows with sum 1), such as a teacher's outputs; give classes: "
            "argmax(1)"
        )
    return f"are {rows.shape[1]} numbers for each example, as in a regression; {_MAKE_CLASSES}"


def _of_names(name: str, labels: Labels) -> tuple[Labels, tuple[str, ...]]:
    texts: Labels = {}
    for split, values in labels.items():
        is_bytes = values.dtype.kind == "S"
        texts[split] = np.char.decode(values, "utf-8") if is_bytes else values.astype(str)
    classes = sorted(set(texts["train"].tolist()))

    for split, values in texts.items():
        unknown = sorted(set(values.tolist()) - set(classes))
        if unknown:
            raise AnewError(
                f"data '{name}': the {split} set has class '{unknown[0]}', which no training "
                f"example has{did_you_mean(unknown[0], classes)}; rename it, or give it training "
                "examples"
            )
    found: Labels = {}
    for split, values in texts.items():
        found[split] = np.searchsorted(np.array(classes), values)
    return found, tuple(classes)
