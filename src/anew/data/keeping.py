"""Every class keeps an example in training, where a split that is drawn by class leaves it none."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from anew.core.errors import AnewError
from anew.core.spec import DataSpec


def keep_classes(
    labels: Tensor, training: Tensor, others: Sequence[Tensor], classes: int
) -> tuple[Tensor, list[Tensor]]:
    """Return the places of training examples and of other parts, so that training has all classes.

    Each class without a training example gets its first one back, from the first of the `others`
    that has any; the class with the most training examples gives its last one for it. So no part
    changes its size, and a split that has all classes is left as it is. There must be at least as
    many training examples as classes. All places are sorted.
    """
    taken, given = training.clone(), [part.clone() for part in others]
    for number in _missing(labels, training, classes):
        holder = next(part for part in given if bool((labels[part] == number).any()))
        returned = (labels[holder] == number).nonzero()[0]

        most = torch.bincount(labels[taken], minlength=classes).argmax()
        spared = (labels[taken] == most).nonzero()[-1]
        holder[returned], taken[spared] = taken[spared].clone(), holder[returned].clone()
    return taken.sort().values, [part.sort().values for part in given]


def check_enough(sizes: tuple[int, int, int], available: int, classes: int, spec: DataSpec) -> None:
    """Raise `AnewError`, with what helps, if there are fewer training examples than classes.

    `sizes` are those of training, validation and the test set that was cut off, 0 if the source has
    its own; `available` counts all examples that they came from.
    """
    training, validation, test = sizes
    if training >= classes:
        return

    needed = math.ceil(classes / (1 - spec.validation))
    left = available - test
    if spec.limit is not None and left >= needed:
        mend = f"raise --limit to at least {needed}"
    elif training + validation >= classes or (spec.limit is not None and left >= classes):
        mend = "lower --data.validation" + (" and raise --limit" if spec.limit is not None else "")
    elif available > classes:
        mend = "lower --data.test and --data.validation"
    else:
        mend = (
            "no validation share helps, since a test set is split off too: add examples, or a "
            "test set"
        )

    raise AnewError(
        f"data '{spec.source}': {training} training examples are left after the splits, and "
        f"{classes} classes need one each; {mend}"
    )


def _missing(labels: Tensor, places: Tensor, classes: int) -> list[int]:
    counts = torch.bincount(labels[places], minlength=classes)
    return (counts == 0).nonzero().flatten().tolist()
