"""A torch data set whose items are read whenever they are shown, each from its own seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from anew.core import randomness
from anew.core.errors import AnewError
from anew.data.fresh import still_seeds
from anew.data.pictures import Form
from anew.data.sources.arrays import as_inputs
from anew.data.sources.torch_items import as_input, class_of, pair_of, together, unread
from anew.data.storage import Storage
from anew.data.workers import in_order

AT_ONCE = 64
"""Items in one piece of work of a process."""
FEW = 256
"""So few items are read here: to start processes would take longer."""
READ_TWICE = 8
"""So many items are read a second time from the same seed, to see whether they are the same."""


@dataclass(frozen=True)
class FreshItems:
    """The items of a data set, with what a pass over all of them found."""

    dataset: Dataset[Any]
    form: Form
    labels: tuple[int | str, ...]
    """The labels as the data set has them."""
    digests: tuple[bytes, ...]
    """The SHA-256 of each input as it is drawn from `still_seeds`."""
    in_colour: bool
    """Whether grey PIL pictures get three channels, because others have colour."""
    workers: int

    @classmethod
    def of(cls, dataset: Dataset[Any], form: Form, storage: Storage) -> FreshItems:
        """Read all items once, for their labels and their hashes.

        Raises `AnewError` if the data set fails, has other items, or gives another item for the
        same seed.
        """
        try:
            count = len(dataset)  # type: ignore[arg-type]
        except Exception as error:  # whatever somebody else's code raises
            raise unread(error) from error
        if not count:
            raise unread(ValueError("it holds no items"))

        workers = storage.processes if count > FEW else 0
        parts = [range(at, min(at + AT_ONCE, count)) for at in range(0, count, AT_ONCE)]
        tell = storage.progress("items read", count)
        seen: list[_Seen] = []
        for part in in_order(
            partial(_see, dataset, form, max(1, count // READ_TWICE)), parts, workers
        ):
            seen += part
            tell(len(seen))
        return cls(
            dataset,
            form,
            tuple(one.label for one in seen),
            tuple(one.digest for one in seen),
            any(one.channels == 3 for one in seen),
            storage.ahead if count > FEW else 0,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, places: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """Return the inputs of items, each drawn from its own seed, in anew's layout.

        Raises `AnewError` if one cannot be read, or has another label than before.
        """
        inputs: list[Any] = []
        with randomness.torch_generator(0):
            for place, number in zip(places, seeds, strict=True):
                randomness.reseed(number)
                value, label = _item(self.dataset, place, self.form)
                if label != self.labels[place]:
                    raise AnewError(
                        f"data set, item {place}: its label was {self.labels[place]} and is now "
                        f"{label}; labels must not change"
                    )
                inputs.append(value)
        return as_inputs(together(inputs, self.in_colour), "data set")


@dataclass(frozen=True)
class _Seen:
    """What is kept of an item that was read once."""

    label: int | str
    digest: bytes
    channels: int
    """The channels of a PIL picture; 0 of another input."""


def _see(dataset: Dataset[Any], form: Form, twice: int, places: Sequence[int]) -> list[_Seen]:
    """Return what is kept of some items; every so many-th is read twice."""
    seen: list[_Seen] = []
    with randomness.torch_generator(0):
        for place, number in zip(places, still_seeds(places), strict=True):
            randomness.reseed(number)
            seen.append(_seen(*_item(dataset, place, form)))
            if place % twice:
                continue

            randomness.reseed(number)
            if _seen(*_item(dataset, place, form)) != seen[-1]:
                raise AnewError(
                    f"data set: item {place} changes when it is read again with the same seed; "
                    "its transforms must use the global generators of random, numpy.random or "
                    "torch"
                )
    return seen


def _item(dataset: Dataset[Any], place: int, form: Form) -> tuple[Any, int | str]:
    try:
        value, label = pair_of(dataset[place])
        return as_input(f"data set, item {place}", value, form), class_of(label)
    except AnewError:
        raise
    except Exception as error:  # whatever somebody else's code raises, and items that are no pairs
        raise unread(error) from error


def _seen(value: Any, label: int | str) -> _Seen:
    is_picture = isinstance(value, np.ndarray)
    plain = value if is_picture else value.detach().cpu()
    if isinstance(plain, Tensor):
        # NumPy has no bfloat16.
        plain = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    array = np.ascontiguousarray(plain)
    digest = hashlib.sha256(f"{array.shape} {array.dtype}".encode())
    digest.update(array.tobytes())
    return _Seen(label, digest.digest(), array.shape[2] if is_picture else 0)
