"""Groups of alike classes that somebody else drew, such as CIFAR-100's superclasses.

Whether what a network thinks beside its answer stays inside the group of its answer: as a share of
all of it, against chance (the same spread evenly over all other classes), and against the errors
(which share of them stays inside).
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from anew.core import files
from anew.core.errors import AnewError, did_you_mean, in_one_line
from anew.core.text import listed
from anew.evaluation.statistics import Columns, Interval

_HEADER = ({"class", "classes", "label", "name"}, {"group", "groups", "superclass", "coarse_label"})
_NAMED = 3


@dataclass(frozen=True)
class Inside:
    """Where a network's doubts and errors fall, on one set of examples; shares in percent."""

    doubt: Interval
    """Mean probability beside the answer."""
    share: Interval
    """How much of it lies on classes of the answer's group."""
    chance: Interval
    """How much of it would, spread evenly over all classes but the answer."""
    errors: Interval
    """How many of the errors name a class of the right one's group; NaN without errors."""


def read_groups(path: Path, classes: Sequence[str]) -> tuple[str, ...]:
    """Return the group of each class, in the order of `classes`, from a file of a user's.

    JSON: an object of groups with lists of classes, an object of classes with their group, or a
    list of a group for each class in order. Text and CSV: a line `class,group` each, or
    `group: class, class, ...`.

    Raises `AnewError` for a file that cannot be read or is none of these, for classes that are
    missing, unknown or in two groups, and for groups that ask nothing: one alone, or one a class.
    """
    files.check_regular(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise AnewError(
            f"groups {path}: cannot be read ({error.strerror or error}); check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise AnewError(f"groups {path}: is no text in UTF-8; save it as such") from error

    pairs = _from_json(path, text, classes) if path.suffix == ".json" else _from_text(path, text)
    groups: dict[str, str] = {}
    for name, group in pairs:
        if name not in classes:
            raise AnewError(
                f"groups {path}: '{name}' is no class of the family{did_you_mean(name, classes)}; "
                f"name its {len(classes)} classes"
            )
        if groups.setdefault(name, group) != group:
            raise AnewError(
                f"groups {path}: '{name}' is in '{groups[name]}' and in '{group}'; a class has one "
                f"group"
            )

    missing = [name for name in classes if name not in groups]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise AnewError(
            f"groups {path}: have no group for {listed(missing[:_NAMED])}{more}; each of the "
            f"{len(classes)} classes needs one"
        )
    count = len(set(groups.values()))
    if not 1 < count < len(classes):
        raise AnewError(
            f"groups {path}: hold {count} groups of {len(classes)} classes, which makes every "
            "share trivial; give at least two groups, and fewer than classes"
        )
    return tuple(groups[name] for name in classes)


def _from_json(path: Path, text: str, classes: Sequence[str]) -> list[tuple[str, str]]:
    try:
        written: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AnewError(f"groups {path}: is not JSON ({in_one_line(error)}); correct it") from error

    if isinstance(written, list):
        listed_groups = cast("list[Any]", written)
        if len(listed_groups) != len(classes):
            raise AnewError(
                f"groups {path}: hold a list of {len(listed_groups)} groups, and the family has "
                f"{len(classes)} classes; give one for each, in their order"
            )
        pairs: list[tuple[Any, Any]] = list(zip(classes, listed_groups, strict=True))
    elif isinstance(written, dict):
        items = cast("dict[str, Any]", written).items()
        pairs = []
        for key, value in items:
            members = cast("list[Any]", value) if isinstance(value, list) else None
            pairs += [(key, value)] if members is None else [(one, key) for one in members]
    else:
        raise AnewError(f"groups {path}: must be an object or a list, got {text[:20]!r}")

    if not all(isinstance(one, str | int) for pair in pairs for one in pair):
        raise AnewError(f"groups {path}: names of classes and groups must be texts; correct it")
    return [(str(name), str(group)) for name, group in pairs]


def _from_text(path: Path, text: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        # A class may have a comma in quotes, so a colon counts only before any of both.
        group, colon, members = line.partition(":")
        is_group = bool(colon) and not set(group) & set(',"')
        (row,) = csv.reader([members if is_group else line], skipinitialspace=True)
        cells = [cell.strip() for cell in row]

        if is_group:
            pairs += [(name, group.strip()) for name in cells if name]
        elif len(cells) == 2:
            is_header = not pairs and all(
                cell.lower() in known for cell, known in zip(cells, _HEADER, strict=True)
            )
            pairs += [] if is_header else [(cells[0], cells[1])]
        else:
            raise AnewError(
                f"groups {path}: line {number} is neither 'class,group' nor 'group: class, "
                "class, ...'; correct it"
            )
    return pairs


def numbers_of(groups: Sequence[str]) -> Int64[Tensor, "classes"]:
    """Return the groups of classes as numbers."""
    known = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    return torch.tensor([known[name] for name in groups])


def columns(
    log_p: Float[Tensor, "examples classes"],
    labels: Int64[Tensor, "examples"],
    groups: Int64[Tensor, "classes"],
) -> dict[str, NDArray[np.float64]]:
    """Return what each example adds to the means that `quantities` takes."""
    called = log_p.argmax(-1)
    is_called = F.one_hot(called, log_p.shape[-1]).bool()
    rest = log_p.exp().masked_fill(is_called, 0.0)
    doubt = rest.sum(-1)

    same = groups[called][:, None] == groups[None, :]
    others = same.sum(-1) - 1
    wrong = (called != labels).double()
    found = {
        "doubt": doubt,
        "inside": torch.where(same, rest, 0.0).sum(-1),
        "chance": doubt * others / (log_p.shape[-1] - 1),
        "wrong": wrong,
        "wrong_inside": wrong * (groups[called] == groups[labels]),
    }
    return {name: values.double().numpy() for name, values in found.items()}


def quantities(mean: Columns) -> Mapping[str, NDArray[np.float64]]:
    """Return the numbers of `Inside` from means of `columns`."""
    return {
        "doubt": 100 * mean["doubt"],
        "share": 100 * mean["inside"] / mean["doubt"],
        "chance": 100 * mean["chance"] / mean["doubt"],
        "errors": 100 * mean["wrong_inside"] / np.where(mean["wrong"] > 0, mean["wrong"], math.nan),
    }
