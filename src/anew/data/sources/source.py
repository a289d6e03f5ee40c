"""What a source holds before any split, and what all sources must hold."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import torch

from anew.core.errors import AnewError
from anew.data.examples import Resident
from anew.data.sources.arrays import names_of


class MissingDataError(AnewError):
    """The files of a data set are not at hand."""


@dataclass(frozen=True)
class Contents:
    """How many examples of what form a source holds: all that is needed to say what training on it
    takes.
    """

    training: int
    test: int
    """Examples of its own test set; 0 where one is cut off from the training examples."""
    input_shape: tuple[int, ...]
    classes: int
    views: str


@dataclass(frozen=True)
class Source:
    """What a source holds, before any split: training examples, a test set or None, class names,
    and suitable views.

    `fingerprint` is a hash of the content alone: equal pictures, labels and names have equal ones
    in whatever files.
    """

    train: Resident
    test: Resident | None
    classes: tuple[str, ...]
    views: str
    fingerprint: str

    @property
    def contents(self) -> Contents:
        """How many examples of what form the source holds."""
        test = len(self.test) if self.test is not None else 0
        return Contents(
            len(self.train), test, tuple(self.train.inputs.shape[1:]), len(self.classes), self.views
        )


def checked_source(
    name: str, train: Resident, test: Resident | None, classes: tuple[str, ...] | None, views: str
) -> Source:
    """Check what all sources must hold, and take the fingerprint."""
    if int(train.labels.max()) >= len(train) and classes is None:
        # Before anything is counted: a stray label of 2^40 must not ask for that much memory.
        raise AnewError(
            f"data '{name}': label {int(train.labels.max())} in {len(train)} training examples "
            f"leaves classes without "
            "any; number the classes from 0 without gaps"
        )
    names = classes or names_of([train.labels])
    if len(names) < 2:
        raise AnewError(
            f"data '{name}': has {len(names)} class, and a classifier needs at least 2; add another"
        )
    counts = torch.bincount(train.labels, minlength=len(names))
    missing = (counts == 0).nonzero().flatten().tolist()
    if missing:
        raise AnewError(
            f"data '{name}': class {missing[0]} ('{names[missing[0]]}') has no training example; "
            f"number the classes "
            "without gaps, or add some"
        )
    if test is not None:
        if int(test.labels.max()) >= len(names):
            raise AnewError(
                f"data '{name}': the test set has label {int(test.labels.max())}, the training "
                f"examples only "
                f"0 to {len(names) - 1}; remove those, or train on that class"
            )
        if test.inputs.shape[1:] != train.inputs.shape[1:]:
            raise AnewError(
                f"data '{name}': training inputs are {tuple(train.inputs.shape[1:])}, test inputs "
                f"{tuple(test.inputs.shape[1:])}; they must be alike"
            )
    return Source(train, test, names, views, _fingerprint(train, test, names))


def _fingerprint(train: Resident, test: Resident | None, classes: tuple[str, ...]) -> str:
    """Return 16 hexadecimal digits of SHA-256 over shapes, types, values, labels and class
    names.
    """
    digest = hashlib.sha256(json.dumps(classes).encode())
    for examples in (train, test) if test is not None else (train,):
        inputs = examples.inputs
        digest.update(f"{tuple(inputs.shape)} {inputs.dtype}".encode())
        by_place = inputs.permute(0, 2, 3, 1) if inputs.ndim == 4 else inputs
        digest.update(by_place.contiguous().numpy().data)
        digest.update(examples.labels.contiguous().numpy().data)
    return digest.hexdigest()[:16]
