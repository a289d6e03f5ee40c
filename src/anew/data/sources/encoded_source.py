"""From encoded pictures with labels to a source, whatever kind of files they lie in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from anew.core.errors import AnewError
from anew.data.encoded import Encoded
from anew.data.examples import Examples
from anew.data.kept import Pictures, some_of
from anew.data.sources.source import Reading, Source, checked_source
from anew.data.streamed import Streamed, settled


@dataclass(frozen=True)
class Labelled:
    """Encoded pictures of the training set and, behind them, of the test set, with their labels."""

    encoded: Encoded
    train: Sequence[int]
    """The labels of the first pictures."""
    test: Sequence[int] | None
    """The labels of the other pictures; None if there is no test set."""
    classes: tuple[str, ...] | None
    notes: list[str] = field(default_factory=list[str])


def source_of(found: Labelled, reading: Reading) -> Source:
    """Return encoded pictures as a source, read when they are asked for.

    Pictures are all grey, or all in colour. Raises `AnewError` if sizes differ and none is asked
    for, or if pictures are damaged and are not to be left out.
    """
    pictures = Pictures(found.encoded, reading.form, reading.storage)
    notes = list(found.notes)
    out: set[int] = set()
    if reading.spec.skip_damaged:
        damaged = pictures.damaged()
        out = set(damaged)
        if damaged:
            notes.append(
                f"{len(damaged):,} damaged pictures are left out: {some_of(list(damaged.values()))}"
            )

    splits: list[Examples] = []
    first = 0
    for labels in (found.train, found.test):
        if labels is None:
            continue
        numbers = torch.tensor([n for n in range(first, first + len(labels)) if n not in out])
        kept = torch.tensor(labels, dtype=torch.int64)[numbers - first]
        if not len(numbers):
            raise AnewError(f"data '{reading.name}': no picture is left; give others")
        splits.append(Streamed(pictures, numbers, kept))
        first += len(labels)

    # Without a cache pictures would be decoded for their fingerprint and once more to be held.
    if reading.form.size is None and pictures.kept.cache is None:
        splits = settled(splits, f"data '{reading.name}'")
    test = splits[1] if len(splits) > 1 else None
    source = checked_source(reading.name, splits[0], test, found.classes, "crop+flip", tuple(notes))
    return replace(source, units="bytes")
