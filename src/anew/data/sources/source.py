"""What a source holds before any split, and what all sources must hold."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import torch

from anew.core.errors import AnewError
from anew.data.examples import Examples, in_parts
from anew.data.sources.arrays import names_of


class MissingDataError(AnewError):
    """The files of a data set are not at hand."""


@dataclass(frozen=True)
class Contents:
    """The sizes of a source: all that a plan needs to know of it."""

    training: int
    """The number of training examples, before any split."""
    test: int
    """The number of examples in its own test set; 0 if it has none."""
    input_shape: tuple[int, ...]
    classes: int
    views: str


@dataclass(frozen=True)
class Source:
    """What a source holds, before any split."""

    train: Examples
    test: Examples | None
    """The source's own test set; None if one is to be cut off from the training examples."""
    classes: tuple[str, ...]
    views: str
    """The kind of views that suits the examples."""
    fingerprint: str
    """A hash of the content alone: equal inputs, labels and names have equal ones in any files."""

    @property
    def contents(self) -> Contents:
        """The sizes of the source."""
        return Contents(
            training=len(self.train),
            test=0 if self.test is None else len(self.test),
            input_shape=self.train.input_shape,
            classes=len(self.classes),
            views=self.views,
        )


def checked_source(
    name: str, train: Examples, test: Examples | None, classes: tuple[str, ...] | None, views: str
) -> Source:
    """Return examples as a source, with their fingerprint.

    `classes` are "0", "1", ... if not given. Raises `AnewError` if there are fewer than two of
    them, if one has no training example, or if the test set does not fit the training examples. A
    vocabulary, whose examples have a label at each position, may have unused entries.
    """
    _check_labels(name, train, classes)
    names = classes or names_of([train.labels])
    if len(names) < 2:
        raise AnewError(
            f"data '{name}': has {len(names)} class, and a classifier needs at least 2; add another"
        )
    if train.labels.ndim == 1:
        _check_every_class(name, train, names)
    if test is not None:
        _check_test(name, train, test, names)
    return Source(train, test, names, views, _fingerprint(train, test, names))


def _check_labels(name: str, train: Examples, classes: tuple[str, ...] | None) -> None:
    if int(train.labels.max()) >= len(train) and classes is None:
        # Before anything is counted: a stray label of 2^40 must not ask for that much memory.
        raise AnewError(
            f"data '{name}': label {int(train.labels.max())} in {len(train)} training examples "
            "leaves classes without any; number the classes from 0 without gaps"
        )


def _check_every_class(name: str, train: Examples, names: tuple[str, ...]) -> None:
    counts = torch.bincount(train.labels, minlength=len(names))
    missing = (counts == 0).nonzero().flatten().tolist()
    if missing:
        raise AnewError(
            f"data '{name}': class {missing[0]} ('{names[missing[0]]}') has no training example; "
            "number the classes without gaps, or add some"
        )


def _check_test(name: str, train: Examples, test: Examples, names: tuple[str, ...]) -> None:
    largest = int(test.labels.max())
    if largest >= len(names):
        raise AnewError(
            f"data '{name}': the test set has label {largest}, the training examples only 0 to "
            f"{len(names) - 1}; remove those, or train on that class"
        )
    if test.input_shape != train.input_shape:
        raise AnewError(
            f"data '{name}': training inputs are {train.input_shape}, test inputs "
            f"{test.input_shape}; they must be alike"
        )


def _fingerprint(train: Examples, test: Examples | None, classes: tuple[str, ...]) -> str:
    """Return 16 hexadecimal digits of SHA-256 over shapes, types, values, labels, class names."""
    digest = hashlib.sha256(json.dumps(classes).encode())
    for examples in (train, test) if test is not None else (train,):
        shape = (len(examples), *examples.input_shape)
        digest.update(f"{shape} {examples.show(slice(0, 1)).dtype}".encode())
        for part in in_parts(examples):
            by_place = part.permute(0, 2, 3, 1) if examples.kind == "picture" else part
            digest.update(by_place.contiguous().numpy().data)
        digest.update(examples.labels.contiguous().numpy().data)
    return digest.hexdigest()[:16]
