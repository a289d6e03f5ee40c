"""From encoded pictures with labels to a source, whatever kind of files they lie in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from anew.core.errors import AnewError
from anew.core.text import counted
from anew.data.encoded import Encoded
from anew.data.examples import Examples
from anew.data.kept import Pictures, some_of
from anew.data.sources.source import Reading, Source, checked_source
from anew.data.streamed import Streamed, settled
from anew.data.views import Views

NO_TEST = (
    "there is a validation set and no test set: a test set is split off from the training examples"
)


@dataclass(frozen=True)
class Labelled:
    """Encoded pictures with labels: the training set, then the test set, the validation set."""

    encoded: Encoded
    train: Sequence[int]
    """The labels of the first pictures."""
    test: Sequence[int] | None
    """The labels of the other pictures; None if there is no test set."""
    classes: tuple[str, ...] | None
    notes: list[str] = field(default_factory=list[str])
    validation: Sequence[int] | None = None
    """The labels of the last pictures; None if there is no validation set."""


def source_of(found: Labelled, reading: Reading) -> Source:
    """Return encoded pictures as a source, read when they are asked for.

    Pictures are all grey, or all in colour. Raises `AnewError` if sizes differ and none is asked
    for, or if pictures are damaged and are not to be left out.
    """
    pictures = Pictures(found.encoded, reading.form, reading.storage)
    notes = list(found.notes)
    if found.validation is not None and found.test is None:
        notes.append(NO_TEST)
    out: set[int] = set()
    if reading.spec.skip_damaged:
        damaged = pictures.damaged()
        out = set(damaged)
        if damaged:
            notes.append(
                f"{counted(len(damaged), 'damaged picture')} skipped: "
                f"{some_of(list(damaged.values()))}"
            )

    splits: list[Examples | None] = []
    first = 0
    for labels in (found.train, found.test, found.validation):
        if labels is None:
            splits.append(None)
            continue
        numbers = torch.tensor([n for n in range(first, first + len(labels)) if n not in out])
        kept = torch.tensor(labels, dtype=torch.int64)[numbers - first]
        if not len(numbers):
            raise AnewError(f"data '{reading.name}': no picture is left; give others")
        splits.append(Streamed(pictures, numbers, kept, Views(size=reading.spec.cut_size)))
        first += len(labels)

    # Without a cache pictures would be decoded for their fingerprint and once more to be held.
    if not pictures.counts_as_files and pictures.kept.cache is None:
        there = [one for one in splits if one is not None]
        held = iter(settled(there, f"data '{reading.name}'"))
        splits = [next(held) if one is not None else None for one in splits]
    train, test, validation = splits
    assert train is not None, "found.train is never None"
    source = checked_source(reading.name, train, test, found.classes, "crop+flip", validation)
    told = tuple(pictures.in_words()) if not out else tuple(pictures.in_words()[:1])
    return replace(source, units="bytes", notes=tuple(notes), files=told)
