"""What pulls on a student's logits: the teacher's right answer, its dark knowledge, and what the
labels would do.

Symbols as in `anew.objectives`, * for the right class y. Of one example, after Furlanello et al.
2018 (their equations 3 and 4 are the first two):

    (1)  d ban / dz_i = q_i - p_i                            the distillation gradient g (2)  d
    label / dz_i = q_i - [i = *]                      the label gradient l (3)  g = (q* - p*) at *
    and (q_i - p_i) at i != *        its correct-class and its dark-knowledge term (4)  (q* - p*) /
    (q* - 1)                                the weight that makes l's correct-class term g's

A label gradient with a weight for each example, as CWTM's, has the direction of l, whatever the
weight. So the squares of g, summed over examples ("energy"), are taken apart by what weights can
make of it:

    (5)  sum_s |g_s|^2 = sum_s <g_s, l_s>^2 / |l_s|^2 + sum_s |g_s at right angles to l_s|^2

All in float64; gradients are of one example's loss, without the 1/B of a batch's mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from anew import objectives
from anew.evaluation import statistics
from anew.evaluation.statistics import Columns, Interval

RATIO_BINS = 10


@dataclass(frozen=True)
class RatioBin:
    """The ratio of an equal share of the examples, those whose teacher is about equally sure of the
    right class.
    """

    teacher: float
    """Mean of t*, the target's probability of the right class."""
    lower: float
    """A quarter of the ratios are below."""
    median: float
    upper: float
    """A quarter of the ratios are above."""
    examples: int


@dataclass(frozen=True)
class Pull:
    """The gradient q - t of cross-entropy to targets t, taken apart; `ban` has t = p, `dkpp` t = p
    permuted.
    """

    objective: str
    """`ban` or `dkpp`."""
    norm: Interval
    """Mean over examples of |q - t|."""
    correct_norm: Interval
    """Mean of |q* - t*|, the correct-class term."""
    dark_norm: Interval
    """Mean norm of the dark-knowledge term: q_i - t_i at all classes but the right one."""
    dark_share: Interval
    """Share of the gradient's energy (sum of squares over examples) that is in the dark-knowledge
    term, 0 to 1.
    """
    cosine: Interval
    """Mean over examples of the cosine between q - t and the label gradient q - onehot(y)."""
    by_labels: Interval
    """Share of the energy that the label gradient explains, with one common weight for all
    examples.
    """
    by_confidence: Interval
    """The same, with each example's label gradient weighted by max p: what CWTM can imitate."""
    by_any_weight: Interval
    """The same, with whatever weight is best for each example, equation (5): the most that weighing
    can ever explain. The rest, 1 less this, is at right angles to the label gradient: which wrong
    classes are likelier.
    """
    ratio_mean: Interval
    """Mean of (q* - t*) / (q* - 1), equation (4), each example counted by (1 - q*)^2: the one
    weight of the label gradient's correct-class terms that comes nearest to the distillation
    gradient's.
    """
    ratio_r2: Interval
    """Share of the ratio's variance over examples that a straight line in t* explains (R^2), all
    examples alike.
    """
    ratio_r2_weighted: Interval
    """The same with each example counted by (1 - q*)^2: where q* is nearly 1 the ratio is noise
    over nothing.
    """
    ratio_bins: tuple[RatioBin, ...]
    """The ratio against t*, ten bins of equally many examples, least sure first."""


@dataclass(frozen=True)
class Gradients:
    """The gradients with respect to a student's logits at an epoch of its training, on one set of
    examples.
    """

    generation: int
    id: str
    epoch: int
    """After how many epochs of the student's training; its teacher is at its own end."""
    examples: int
    label_norm: Interval
    """Mean norm of the label gradient q - onehot(y)."""
    cwtm_effective: Interval
    """Effective share of the examples under CWTM's weights, (sum w)^2 / (N sum w^2): 1 where all
    weigh the same.
    """
    ban: Pull
    dkpp: Pull
    ban_dkpp_cosine: Interval
    """Mean cosine between the two gradients: what is left of `ban`'s direction after the
    permutation.
    """


@dataclass(frozen=True)
class Terms:
    """The gradients of each example, with respect to the student's logits."""

    distillation: Float[Tensor, "examples classes"]
    """Equation (1), with any targets: q - t."""
    label: Float[Tensor, "examples classes"]
    """Equation (2): q - onehot(y)."""
    correct: Float[Tensor, "examples"]
    """The correct-class term of the first, q* - t*."""
    dark: Float[Tensor, "examples classes"]
    """The dark-knowledge term of the first: q_i - t_i, and 0 at the right class."""
    wrong: Float[Tensor, "examples"]
    """1 - q*, exact where q* is nearly 1: the label gradient's correct-class term is less this."""


def terms(
    student_logits: Float[Tensor, "examples classes"],
    targets: Float[Tensor, "examples classes"],
    labels: Int64[Tensor, "examples"],
) -> Terms:
    """Return the gradients of cross-entropy to target probabilities (N, C) and to labels (N,),
    equations (1) to (3).
    """
    q = F.softmax(student_logits.double(), dim=-1)
    right = F.one_hot(labels, q.shape[-1])
    at_right = right.bool()
    # As sums over the other classes: 1 - q* would lose its digits where q* is nearly 1.
    wrong = q.masked_fill(at_right, 0).sum(-1)
    gradient = q - targets.double()
    correct = targets.double().masked_fill(at_right, 0).sum(-1) - wrong
    label = torch.where(at_right, -wrong[:, None], q)
    distillation = torch.where(at_right, correct[:, None], gradient)
    return Terms(distillation, label, correct, gradient.masked_fill(at_right, 0), wrong)


def measure(
    generation: int,
    network_id: str,
    epoch: int,
    student_logits: Float[Tensor, "examples classes"],
    teacher_logits: Float[Tensor, "examples classes"],
    labels: Int64[Tensor, "examples"],
    permutation: Int64[Tensor, "examples classes"],
) -> Gradients:
    """Return the gradients of a student on examples; `permutation` holds DKPP's random integers (N,
    C).
    """
    p = F.softmax(teacher_logits.double(), dim=-1)
    permuted = objectives.permute_dark_knowledge(p, permutation)
    confidence = p.amax(-1)
    ban, dkpp = (terms(student_logits, targets, labels) for targets in (p, permuted))
    found = statistics.bootstrap(
        _arrays(
            label=ban.label.norm(dim=-1),
            weight=confidence,
            squared=confidence**2,
            cosine=_cosine(ban.distillation, dkpp.distillation),
        ),
        lambda mean: {
            "label_norm": mean["label"],
            "cwtm_effective": mean["weight"] ** 2 / mean["squared"],
            "ban_dkpp_cosine": mean["cosine"],
        },
    )
    return Gradients(
        generation=generation,
        id=network_id,
        epoch=epoch,
        examples=len(labels),
        ban=_pull("ban", ban, p, confidence, labels),
        dkpp=_pull("dkpp", dkpp, permuted, confidence, labels),
        **found,
    )


def _pull(
    objective: str, found: Terms, targets: Tensor, confidence: Tensor, labels: Tensor
) -> Pull:
    gradient, label = found.distillation, found.label
    energy, label_energy = gradient.square().sum(-1), label.square().sum(-1)
    along = (gradient * label).sum(-1)
    # Where the student is certain and right the label gradient is 0, and explains nothing.
    explained = torch.where(label_energy > 0, along.square() / label_energy.clamp_min(1e-300), 0.0)
    target = targets.gather(-1, labels[:, None]).squeeze(-1)
    has_ratio = found.wrong > 0
    ratio = torch.where(has_ratio, -found.correct / found.wrong.clamp_min(1e-300), 0.0)
    columns = _arrays(
        norm=energy.sqrt(),
        correct_norm=found.correct.abs(),
        dark_norm=found.dark.norm(dim=-1),
        cosine=_cosine(gradient, label),
        energy=energy,
        dark=found.dark.square().sum(-1),
        along=along,
        label=label_energy,
        along_weighted=confidence * along,
        label_weighted=confidence**2 * label_energy,
        explained=explained,
        ratio=-found.correct * found.wrong,
        size=found.wrong.square(),
    )
    lines = {
        name: _line(target, ratio, weight)
        for name, weight in (
            ("ratio_r2", has_ratio.double()),
            ("ratio_r2_weighted", found.wrong.square()),
        )
    }
    columns |= {
        f"{name} {one}": values for name, line in lines.items() for one, values in line.items()
    }

    def of_means(mean: Columns) -> Columns:
        return {
            **{name: mean[name] for name in ("norm", "correct_norm", "dark_norm", "cosine")},
            "dark_share": mean["dark"] / mean["energy"],
            "by_labels": mean["along"] ** 2 / (mean["label"] * mean["energy"]),
            "by_confidence": mean["along_weighted"] ** 2
            / (mean["label_weighted"] * mean["energy"]),
            "by_any_weight": mean["explained"] / mean["energy"],
            "ratio_mean": mean["ratio"] / mean["size"],
            **{
                name: _r2({one: mean[f"{name} {one}"] for one in line})
                for name, line in lines.items()
            },
        }

    intervals = statistics.bootstrap(columns, of_means)
    return Pull(objective, ratio_bins=_ratio_bins(target[has_ratio], ratio[has_ratio]), **intervals)


def _line(x: Tensor, y: Tensor, weight: Tensor) -> dict[str, NDArray[np.float64]]:
    """Return what `_r2` needs the means of: weight, and its products with x and y and theirs.

    R^2 does not change when a constant is taken off x or y or divides them; so the sums keep their
    digits.
    """

    def standard(values: Tensor) -> Tensor:
        centred = values - (weight * values).sum() / weight.sum()
        deviation = ((weight * centred.square()).sum() / weight.sum()).sqrt()
        # What varies by rounding alone is constant, and a line through it explains nothing: NaN.
        return centred / torch.where(deviation > 1e-12 * values.abs().max(), deviation, torch.nan)

    x, y = standard(x), standard(y)
    return _arrays(
        w=weight,
        x=weight * x,
        y=weight * y,
        xx=weight * x * x,
        yy=weight * y * y,
        xy=weight * x * y,
    )


def _r2(mean: Columns) -> NDArray[np.float64]:
    """Return the share of y's variance that a straight line in x explains, from weighted means of
    the products.
    """
    x, y, xx, yy, xy = (mean[name] / mean["w"] for name in ("x", "y", "xx", "yy", "xy"))
    return (xy - x * y) ** 2 / ((xx - x**2) * (yy - y**2))


def _arrays(**columns: Tensor) -> dict[str, NDArray[np.float64]]:
    return {name: one.double().numpy() for name, one in columns.items()}


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    """Return the cosine of each row's angle, 0 where one of them is 0."""
    lengths = one.norm(dim=-1) * other.norm(dim=-1)
    return torch.where(lengths > 0, (one * other).sum(-1) / lengths.clamp_min(1e-300), 0.0)


def _ratio_bins(target: Tensor, ratio: Tensor) -> tuple[RatioBin, ...]:
    order = torch.argsort(target, stable=True)
    bins: list[RatioBin] = []
    for part in order.tensor_split(RATIO_BINS):
        if len(part):
            lower, median, upper = np.quantile(ratio[part].numpy(), [0.25, 0.5, 0.75]).tolist()
            bins.append(RatioBin(target[part].mean().item(), lower, median, upper, len(part)))
    return tuple(bins)
