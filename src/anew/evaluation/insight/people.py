"""What people say of the same examples: soft labels that are counts of people's answers.

With h the shares of people who chose each class, and q what a network says of the same example:

    (1)  -sum_i h_i log q_i                   the cross-entropy, in nats
    (2)  sum_i h_i (log h_i - log q_i)        KL(h || q): the cross-entropy less people's entropy

Both reward a network for being as unsure as people are, whatever it thinks beside its answer. So
beside them stand: (2) with what is beside q's largest spread evenly over the other classes (what is
lost by that is worth of its dark knowledge), and the order of the classes beside people's first
choice, in which sureness does not count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from anew.core.errors import AnewError
from anew.data.label_files import LabelTable, read_label_table
from anew.evaluation import evidence
from anew.evaluation.insight.kept import row_correlation
from anew.evaluation.statistics import Columns, Interval

WHAT = "human labels"
_CLEARLY = 3.0


@dataclass(frozen=True)
class Nearness:
    """How near a network is to people, on one set of examples."""

    cross_entropy: Interval
    """Equation (1)."""
    kl: Interval
    """Equation (2)."""
    kl_even: Interval
    """Equation (2) with what is beside the network's answer spread evenly."""
    first: Interval
    """Share of the examples, in percent, of which it names people's first choice."""
    second: Interval
    """Share, in percent, of which its likeliest class beside people's first choice is their second.

    Of the examples in which somebody chose another class than the first.
    """
    rank: Interval
    """Mean Spearman's rank correlation with people's shares beside their first choice.

    Of the same examples; classes that nobody chose are ties.
    """


def read_people(
    text: str, labels: Int64[Tensor, "examples"], classes: Sequence[str]
) -> Float[Tensor, "examples classes"]:
    """Return people's shares (N, C) of all test examples, from a file `FILE` or `FILE:NAME`.

    Counts and probabilities are taken alike: each row is divided by its sum. Raises `AnewError` for
    a file that cannot be read, another number of rows or classes, numbers that are negative or not
    finite, rows of zeros, and rows or columns that are clearly in another order than the examples'.
    """
    table = read_label_table(text, WHAT)
    if table.numbers is not None:
        raise AnewError(
            f"{table.called}: hold only some classes in each row; give a number for every class"
        )
    rows = torch.from_numpy(np.asarray(table.rows, np.float64))
    if len(rows) != len(labels):
        raise AnewError(
            f"{table.called}: hold {len(rows):,} rows, and the family was tested on "
            f"{len(labels):,} examples; give one for each, in their order"
        )
    if rows.shape[-1] != len(classes):
        raise AnewError(
            f"{table.called}: have {rows.shape[-1]} classes, and the family has {len(classes)}; "
            f"give one column for each, in their order"
        )

    _check_numbers(table, rows)
    if table.classes and table.classes != tuple(classes):
        if sorted(table.classes) != sorted(classes):
            raise AnewError(
                f"{table.called}: name other classes than the family's; rename them, or drop the "
                f"array of names"
            )
        rows = rows[:, [table.classes.index(name) for name in classes]]
    _check_order(table, rows, labels, classes)
    return rows / rows.sum(-1, keepdim=True)


def _check_numbers(table: LabelTable, rows: Tensor) -> None:
    """Raise `AnewError` for the first row that holds no shares."""
    problems = (
        (~rows.isfinite().all(-1), "holds a number that is not finite"),
        ((rows < 0).any(-1), "holds a negative number"),
        (rows.sum(-1) <= 0, "has the sum 0, as if nobody had answered"),
    )
    for bad, says in problems:
        if bad.any():
            first = int(bad.int().argmax())
            raise AnewError(
                f"{table.called}: row {first} {says} ({int(bad.sum()):,} such rows); correct them"
            )

    sums = rows.sum(-1)
    counted = (rows == rows.round()).all()
    if not counted and (sums - 1).abs().max() > 0.01:
        first = int((sums - 1).abs().argmax())
        raise AnewError(
            f"{table.called}: row {first} adds up to {sums[first]:g}; give counts in whole "
            f"numbers, or probabilities that add up to 1"
        )


def _check_order(table: LabelTable, rows: Tensor, labels: Tensor, classes: Sequence[str]) -> None:
    """Raise `AnewError` if rows or columns are clearly not in the order of the examples'."""
    if table.labels is not None:
        given = torch.from_numpy(np.asarray(table.labels).astype(np.int64))
        if not torch.equal(given, labels):
            first = int((given != labels).int().argmax())
            raise AnewError(
                f"{table.called}: are of other examples or in another order: the label of row "
                f"{first} is {int(given[first])}, and that of the test example {int(labels[first])}"
            )

    chosen = rows.argmax(-1)
    order = evidence.better_order(chosen, labels, len(classes))
    if order is not None:
        named, meant = order.moved[0]
        raise AnewError(
            f"{table.called}: their columns are in another order than the family's classes: where "
            f"people say '{classes[named]}', '{classes[meant]}' is right; put them in order"
        )
    right = (chosen == labels).double().mean().item()
    if len(labels) > 20 and evidence.association(chosen, labels) < _CLEARLY:
        raise AnewError(
            f"{table.called}: are of other examples or in another order: people's first choice is "
            f"the right class of {100 * right:.1f} %, no more than by chance"
        )


def columns(
    log_q: Float[Tensor, "examples classes"], people: Float[Tensor, "examples classes"]
) -> dict[str, NDArray[np.float64]]:
    """Return what each example adds to the means that `quantities` takes."""
    entropy = -torch.special.xlogy(people, people).sum(-1)
    cross = _cross_entropy(people, log_q)
    even = _cross_entropy(people, spread_evenly(log_q))

    first = people.argmax(-1)
    is_first = F.one_hot(first, people.shape[-1]).bool()
    count = people.shape[-1] - 1
    beside_people = people[~is_first].view(-1, count)
    beside = log_q[~is_first].view(-1, count)
    somebody = beside_people.amax(-1) > beside_people.amin(-1)
    most = beside_people.amax(-1, keepdim=True)
    is_second = beside_people.gather(-1, beside.argmax(-1, keepdim=True)) == most

    ranks = [scipy.stats.rankdata(one.numpy(), axis=-1) for one in (beside, beside_people)]
    found = {
        "cross_entropy": cross,
        "kl": cross - entropy,
        "kl_even": even - entropy,
        "first": (log_q.argmax(-1) == first).double(),
        "somebody": somebody.double(),
        "second": (somebody & is_second.squeeze(-1)).double(),
        "rank": somebody * torch.from_numpy(row_correlation(ranks[0], ranks[1])),
    }
    return {name: values.numpy() for name, values in found.items()}


def quantities(mean: Columns) -> Mapping[str, NDArray[np.float64]]:
    """Return the numbers of `Nearness` from means of `columns`; NaN where nobody disagrees."""
    somebody = np.where(mean["somebody"] > 0, mean["somebody"], math.nan)
    return {
        "cross_entropy": mean["cross_entropy"],
        "kl": mean["kl"],
        "kl_even": mean["kl_even"],
        "first": 100 * mean["first"],
        "second": 100 * mean["second"] / somebody,
        "rank": mean["rank"] / somebody,
    }


def spread_evenly(
    log_q: Float[Tensor, "examples classes"],
) -> Float[Tensor, "examples classes"]:
    """Return log-probabilities with all that is beside the largest spread evenly."""
    largest, answer = log_q.max(-1, keepdim=True)
    is_answer = F.one_hot(answer.squeeze(-1), log_q.shape[-1]).bool()
    rest = log_q.masked_fill(is_answer, -math.inf).logsumexp(-1, keepdim=True)
    even = rest - math.log(log_q.shape[-1] - 1)
    return torch.where(is_answer, largest, even)


def smoothed_labels(
    labels: Int64[Tensor, "examples"], people: Float[Tensor, "examples classes"]
) -> Float[Tensor, "examples classes"]:
    """Return the right labels, smoothed as comes nearest to people, as log-probabilities.

    The share on the label is people's mean share of the right class, which minimises the mean
    cross-entropy. It is chosen on the very examples, and sees the right class of each.
    """
    on_label = people.gather(-1, labels[:, None]).mean()
    elsewhere = (1 - on_label) / (people.shape[-1] - 1)
    hot = F.one_hot(labels, people.shape[-1]).bool()
    return torch.where(hot, on_label, elsewhere).log()


def _cross_entropy(people: Tensor, log_q: Tensor) -> Tensor:
    return -torch.where(people > 0, people * log_q, 0.0).sum(-1)
