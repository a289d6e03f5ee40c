"""What few examples show of a network: whether it is at chance, and whether its classes fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

MOST_CLASSES = 2000
GAIN_SURE = 1e-4
LEAST_GAIN = 0.05


def factor_for_chance(right: int, count: int, chance: float) -> float:
    """Return how much likelier `right` of `count` answers are at chance than from knowledge.

    A Bayes factor: the accuracy is `chance`, against one that is anywhere above with equal
    probability. All answers right never speak for chance, however few they are or likely by chance;
    with a chance of 1 nothing can be told, and it is 1.
    """
    if chance >= 1 or not count:
        return 1.0
    at_chance = scipy.stats.binom.logpmf(right, count, chance)
    above = scipy.stats.beta.logsf(chance, right + 1, count - right + 1)
    if above == -math.inf:
        return math.inf
    above -= math.log((count + 1) * (1 - chance))
    return math.exp(min(at_chance - above, 700.0))


def association(predicted: Int64[Tensor, "answers"], labels: Int64[Tensor, "answers"]) -> float:
    """Return by how many standard deviations more answers are right than without any knowledge.

    Without knowledge the answers, as often as each is given, fall on examples at random (Hoeffding
    1951). A network that always names one class, or names classes as often as they are and no more,
    has 0; one that knows something of rare classes has more, even where naming the commonest class
    is right more often.
    """
    count = len(labels)
    classes = 1 + max(int(labels.max()), int(predicted.max()))
    said = torch.bincount(predicted, minlength=classes).double()
    true = torch.bincount(labels, minlength=classes).double()

    matches = (said * true).sum().item()
    rows, columns = (said * true.square()).sum().item(), (true * said.square()).sum().item()
    squares = matches - rows / count - columns / count + matches**2 / count**2
    if count < 2 or squares <= 1e-9:
        return 0.0
    right = (predicted == labels).sum().item()
    return (right - matches / count) / math.sqrt(squares / (count - 1))


def balanced_accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Return the mean over the classes that are there of the share of each that is right."""
    present = labels.unique()
    right = (predicted == labels).double()
    return torch.stack([right[labels == number].mean() for number in present]).mean().item()


@dataclass(frozen=True)
class Order:
    """An order of a network's classes in which it would be right more often."""

    moved: tuple[tuple[int, int], ...]
    """Pairs of the class that the network names and the class that it seems to mean."""
    accuracy: float
    """The share that is right in that order, on examples that did not choose it."""
    now: float
    """The share of the same examples that is right in the order that is there."""


def is_better(then: Bool[Tensor, "answers"], now: Bool[Tensor, "answers"]) -> bool:
    """Whether answers are right clearly more often than other ones to the same examples.

    Of the examples that only one of both gets right, so many more must be those that are gained (a
    one-sided sign test, as McNemar's), and the share that is gained must be worth it.
    """
    gained, lost = int((then & ~now).sum()), int((now & ~then).sum())
    if (gained - lost) / len(now) < LEAST_GAIN:
        return False
    return bool(scipy.stats.binom.sf(gained - 1, gained + lost, 0.5) <= GAIN_SURE)


def better_order(
    predicted: Int64[Tensor, "answers"], labels: Int64[Tensor, "answers"], classes: int
) -> Order | None:
    """Return an order of the classes that fits the answers better, if there is evidence for one.

    The order is chosen on every second answer and proved on the others, by a one-sided sign test.
    """
    if classes > MOST_CLASSES or len(labels) < 4:
        return None
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (predicted[::2].numpy(), labels[::2].numpy()), 1)
    # A class that is not decided stays what it is.
    confusion += 0.5 * np.eye(classes)
    _, meant = scipy.optimize.linear_sum_assignment(confusion, maximize=True)

    others, true = predicted[1::2], labels[1::2]
    now = others == true
    then = torch.from_numpy(meant)[others] == true
    if not is_better(then, now):
        return None
    moved = tuple((one, int(other)) for one, other in enumerate(meant) if one != other)
    return Order(moved, then.double().mean().item(), now.double().mean().item())
