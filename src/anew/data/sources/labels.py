"""Labels as people keep them: names, numbers from 1, classes that no example has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anew.core.errors import AnewError, did_you_mean
from anew.data.kept import some_of
from anew.data.sources.layout_names import SplitName

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
        notes.append(f"classes that no example has are dropped: {some_of(unused)}")
        kept = np.array(sorted(used))
        for split, values in labels.items():
            found[split] = np.searchsorted(kept, values)
        names = tuple(names[number] for number in kept.tolist())
    return found, names, notes


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
