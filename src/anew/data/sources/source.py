"""What a source holds before any split, and what all sources must hold."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from anew.core.errors import AnewError
from anew.core.spec import DataSpec
from anew.data.cache import Facts
from anew.data.examples import PART, Examples, Resident, in_parts
from anew.data.fresh import Fresh
from anew.data.kept import damaged_error
from anew.data.pictures import Form, PictureError, fit
from anew.data.sources.arrays import names_of
from anew.data.storage import Storage
from anew.data.streamed import Streamed, settled
from anew.data.units import find_units, units_in_words
from anew.data.windows import Windows


class MissingDataError(AnewError):
    """The files of a data set are not at hand."""


def form_of(spec: DataSpec) -> Form:
    """Return the form in which a data spec's pictures are kept."""
    return Form(spec.kept_size, shown=spec.shown_size)


@dataclass(frozen=True)
class Reading:
    """What a source is asked for: the data's description, and how pictures are held."""

    spec: DataSpec
    place: Path
    """Where the files lie."""
    storage: Storage = field(default_factory=Storage)

    @property
    def name(self) -> str:
        """The source as the user wrote it."""
        return self.spec.source

    @property
    def form(self) -> Form:
        """The form in which pictures are kept."""
        return form_of(self.spec)


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
    validation: int = 0
    """The number of examples in its own validation set; 0 if it has none."""
    positions: tuple[int, ...] = ()
    """The shape of an example's labels; that of a text's windows, which are its examples."""
    words: tuple[str, ...] = ()
    """The vocabulary of a text: how much reading words by their characters costs."""


@dataclass(frozen=True)
class Source:
    """What a source holds, before any split."""

    train: Examples
    test: Examples | None
    """The source's own test set; None if one is to be cut off from the training examples."""
    classes: tuple[str, ...]
    views: str
    """The kind of views that suits the examples."""
    known: str = ""
    """The fingerprint, if it is known without the examples."""
    name: str = "data"
    """The source as the user wrote it."""
    units: str = "auto"
    """In which units pictures are, if the source knows; found from their values otherwise."""
    notes: tuple[str, ...] = ()
    """What was passed over, or taken for something else, a line each."""
    files: tuple[str, ...] = ()
    """What is known of the files, a line each."""
    validation: Examples | None = None
    """The source's own validation set; None if one is to be cut off from the training examples."""

    @property
    def splits(self) -> tuple[Examples, ...]:
        """All sets that the source has: training, test, validation."""
        return tuple(one for one in (self.train, self.test, self.validation) if one is not None)

    @property
    def is_text(self) -> bool:
        """Whether this is a text, whose examples are windows of it."""
        return isinstance(self.train, Windows)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the content alone: equal inputs, labels and names have equal ones in any files.

        Pictures that are resized count as the bytes of their files, all others as their pixels.
        """
        if self.known:
            return self.known
        facts, name = recorded(self, "fingerprint")
        known = facts.get(name) if facts is not None else None
        if known is None:
            known = _fingerprint(self)
            if facts is not None:
                facts.set(name, known)
        return known

    def settled(self) -> Source:
        """Return the source with its pictures held as their storage says: in memory if they fit."""
        if not any(isinstance(one, Streamed) for one in self.splits):
            return self
        train, *others = settled(self.splits, f"data '{self.name}'")
        test = others.pop(0) if self.test is not None else None
        held = replace(self, train=train, test=test, validation=others[0] if others else None)

        facts, name = recorded(self, "fingerprint")
        known = facts.get(name) if facts is not None else None
        if known is None and counts_as_files(self.train):
            known = self.fingerprint
        if known is None and facts is not None:
            # What lies in memory is read more quickly than what lies in the cache.
            facts.set(name, held.fingerprint)
        return replace(held, known=known or held.fingerprint)

    @property
    def contents(self) -> Contents:
        """The sizes of the source."""
        positions = tuple(self.train.labels.shape[1:])
        return Contents(
            training=len(self.train),
            test=0 if self.test is None else len(self.test),
            input_shape=self.train.input_shape,
            classes=len(self.classes),
            views=self.views,
            validation=0 if self.validation is None else len(self.validation),
            positions=positions,
            words=self.classes if positions else (),
        )


def checked_source(
    name: str,
    train: Examples,
    test: Examples | None,
    classes: tuple[str, ...] | None,
    views: str,
    validation: Examples | None = None,
) -> Source:
    """Return examples as a source.

    `classes` are "0", "1", ... if not given. Raises `AnewError` if there are fewer than two of
    them, if two have one name, if one has no training example, or if the other sets do not fit the
    training examples. A vocabulary, whose examples have a label at each position, may have unused
    entries.
    """
    _check_labels(name, train, classes)
    names = classes or names_of([train.labels])
    if len(names) < 2:
        raise AnewError(
            f"data '{name}': has {len(names)} class, and a classifier needs at least 2; add another"
        )
    if len(set(names)) < len(names):
        repeated = next(one for one in names if names.count(one) > 1)
        raise AnewError(
            f"data '{name}': two classes have the name '{repeated}'; give each a name of its own"
        )

    if train.labels.ndim == 1:
        _check_every_class(name, train, names)
    for what, examples in (("test", test), ("validation", validation)):
        if examples is not None:
            _check_fits(f"{name}': the {what} set", train, examples, names)
    return Source(train, test, names, views, name=name, validation=validation)


def resized(source: Source, form: Form) -> Source:
    """Return a source whose pictures in memory are resized and cut to the form's size.

    Its fingerprint stays that of the pictures as they came. Pictures that are read from files have
    the size already. Raises `AnewError` if the examples are no pictures.
    """
    size = form.size
    if size is None or isinstance(source.train, Streamed | Fresh):
        return source
    if source.train.kind != "picture":
        raise AnewError(
            f"data.size: examples of shape {source.train.input_shape} are no pictures; drop "
            "--data.size"
        )
    if source.train.input_shape[1:] == size:
        return source
    train, *others = [_fitted(examples, form) for examples in source.splits]
    test = others.pop(0) if source.test is not None else None
    validation = others[0] if others else None
    return replace(source, train=train, test=test, validation=validation, known=source.fingerprint)


def _fitted(examples: Examples, form: Form) -> Resident:
    assert form.size is not None, "there is a size to resize to"
    first = examples.show(slice(0, 1))
    inputs = torch.empty(len(examples), *form.size, first.shape[1], dtype=first.dtype)
    for number, part in enumerate(in_parts(examples)):
        for row, picture in enumerate(part.permute(0, 2, 3, 1).numpy()):
            inputs[number * PART + row] = torch.from_numpy(fit(picture, form.size, form.shown))
    return Resident(inputs.permute(0, 3, 1, 2), examples.labels, examples.views)


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


def _check_fits(what: str, train: Examples, examples: Examples, names: tuple[str, ...]) -> None:
    largest = int(examples.labels.max())
    if largest >= len(names):
        raise AnewError(
            f"data '{what} has label {largest}, the training examples only 0 to "
            f"{len(names) - 1}; drop these examples, or add training examples of that class"
        )
    if examples.input_shape != train.input_shape:
        raise AnewError(
            f"data '{what} has inputs {examples.input_shape}, training inputs are "
            f"{train.input_shape}; they must be the same"
        )
    if train.kind == "picture":
        _check_units(what, train, examples)


def _check_units(what: str, train: Examples, examples: Examples) -> None:
    """Raise `AnewError` if pictures are in 0..1 in one set and in other units in another."""
    if not isinstance(train, Resident) or not isinstance(examples, Resident):
        return
    units = find_units(train, "auto"), find_units(examples, "auto")
    if train.inputs.dtype == examples.inputs.dtype and (
        units[0] == units[1] or "unit" not in units
    ):
        return
    theirs = f"{units_in_words(units[1])} in {_type(examples)}"
    trained = f"{units_in_words(units[0])} in {_type(train)}"
    raise AnewError(
        f"data '{what} has pictures in other units, {theirs}, than the training set, {trained}; "
        "give both alike"
    )


def _type(examples: Resident) -> str:
    return str(examples.inputs.dtype).removeprefix("torch.")


def recorded(source: Source, what: str) -> tuple[Facts | None, str]:
    """Return where a fact of a source of files is kept, and under which name.

    A pass over all files takes long. What it found is kept with what else is known of them.
    """
    if not isinstance(source.train, Streamed):
        return None, ""
    about = hashlib.sha256(json.dumps(source.classes).encode())
    for examples in source.splits:
        if isinstance(examples, Streamed):
            about.update(examples.labels.contiguous().numpy().data)
            about.update(examples.numbers.contiguous().numpy().data)
    return source.train.pictures.facts, f"{what} {about.hexdigest()[:16]}"


def counts_as_files(examples: Examples) -> bool:
    """Return whether the fingerprint takes the bytes of files, which are resized, for pictures."""
    return isinstance(examples, Streamed) and examples.pictures.counts_as_files


def _fingerprint(source: Source) -> str:
    """Return 16 hexadecimal digits of SHA-256 over shapes, types, values, labels, class names."""
    digest = hashlib.sha256(json.dumps(source.classes).encode())
    for examples in source.splits:
        if examples is source.validation:
            digest.update(b"validation")

        if isinstance(examples, Streamed) and counts_as_files(examples):
            _add_files(digest, examples)
        elif isinstance(examples, Fresh):
            _add_fresh(digest, examples)
        else:
            try:
                _add_inputs(digest, examples)
            except PictureError as error:
                raise _of_all_damaged(examples, error) from error
        digest.update(examples.labels.cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]


def _of_all_damaged(examples: Examples, error: PictureError) -> PictureError:
    """Return the error that names all damaged pictures, of which one was met."""
    if not isinstance(examples, Streamed):
        return error
    damaged = examples.pictures.damaged()
    return damaged_error(damaged, len(examples.pictures)) if damaged else error


def _add_inputs(digest: Any, examples: Examples) -> None:
    shape = (len(examples), *examples.input_shape)
    digest.update(f"{shape} {examples.show(slice(0, 1)).dtype}".encode())
    for part in in_parts(examples):
        by_place = part.permute(0, 2, 3, 1) if examples.kind == "picture" else part
        digest.update(by_place.contiguous().numpy().data)


def _add_fresh(digest: Any, examples: Fresh) -> None:
    digest.update(f"{len(examples)} fresh items".encode())
    for number in examples.numbers.tolist():
        digest.update(examples.items.digests[number])


def _add_files(digest: Any, examples: Streamed) -> None:
    """Add the bytes of pictures' files: at any size the same data have the same fingerprint."""
    digest.update(f"{len(examples)} files".encode())
    digests = examples.pictures.digests()
    for number in examples.numbers.tolist():
        digest.update(digests[number])
