"""What pulls on a student's logits: the teacher's right answer, its dark knowledge, the labels.

Symbols as in `anew.objectives`, * for the right class y. Of one example, after Furlanello et al.
2018 (the first two are their equations 5 and 6; (3) is one example's part of the two sums of their
equations 7 and 8; (4) is what their equation 9 says to be near p*):

    (1)  d ban / dz_i = q_i - p_i                       the distillation gradient g
    (2)  d label / dz_i = q_i - [i = *]                 the label gradient l
    (3)  g = (q* - p*) at * and (q_i - p_i) at i != *   its correct-class and dark-knowledge terms
    (4)  (q* - p*) / (q* - 1)                           the weight that makes l's correct-class
                                                        term g's

(4) is (p* - q*) / (1 - q*). It is p* itself only where q* is 0, at the start of training; of a
student with q* = c everywhere it lies on a line of slope 1 / (1 - c) that begins at -c / (1 - c),
and of one that says what its teacher says it is 0.

A softmax's gradients add up to 0 over the classes: (q* - p*) is exactly minus the sum of the
others. So the two sums of equation 7, as it is written, are opposite numbers for every batch, and
comparing them says nothing; here the terms are compared by their norms and their energy.

A label gradient with a weight for each example, as CWTM's, has the direction of l, whatever the
weight. So the squares of g, summed over examples ("energy"), are taken apart by what weights can
make of it:

    (5)  sum_s |g_s|^2 = sum_s <g_s, l_s>^2 / |l_s|^2 + sum_s |g_s at right angles to l_s|^2

All in float64. Gradients are of one example's loss, without the 1/B of a batch's mean.
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
    """The ratio in an equal share of the examples, by how sure the teacher is of the right one."""

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
    """The gradient q - t of cross-entropy to targets t, taken apart.

    `ban` has t = p, `dkpp` t = p permuted.
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
    """Share of the gradient's energy in the dark-knowledge term, 0 to 1.

    The energy is the sum of squares over examples.
    """
    cosine: Interval
    """Mean over examples of the cosine between q - t and the label gradient q - onehot(y)."""
    by_labels: Interval
    """Share of the energy that the label gradient explains, with one weight for all examples."""
    by_confidence: Interval
    """The same, with each example's label gradient weighted by max p: what CWTM can imitate."""
    by_right_class: Interval
    """The same, weighted by t*, the target's probability of the right class.

    These are the weights of the paper's equation 9, which CWTM approximates by max p.
    """
    by_any_weight: Interval
    """The same, with the best weight for each example, equation (5): the most that weights explain.

    The rest, 1 less this, is at right angles to the label gradient: which wrong classes are
    likelier.
    """
    ratio_mean: Interval
    """Mean of (q* - t*) / (q* - 1), equation (4), each example counted by (1 - q*)^2.

    It is the one weight of the label gradient's correct-class terms that comes nearest to the
    distillation gradient's.
    """
    ratio_r2: Interval
    """Share of the ratio's variance over examples that a line in t* explains (R^2)."""
    ratio_r2_weighted: Interval
    """The same, each example counted by (1 - q*)^2: the ratio is noise if q* is nearly 1."""
    slope: Interval
    """The slope of that line, each example counted by (1 - q*)^2; equation 9 says 1."""
    intercept: Interval
    """Where that line begins, the ratio at t* = 0; equation 9 says 0."""
    identity_r2: Interval
    """Share of the ratio's variance that "the ratio is t*" explains: slope 1, intercept 0.

    Less than 0 if the mean ratio says more than t* does. All examples count alike.
    """
    identity_r2_weighted: Interval
    """The same, each example counted by (1 - q*)^2."""
    ratio_bins: tuple[RatioBin, ...]
    """The ratio against t*, in ten bins of equally many examples, least sure first."""


@dataclass(frozen=True)
class Gradients:
    """The gradients with respect to a student's logits at an epoch, on one set of examples."""

    generation: int
    id: str
    epoch: int
    """The epochs of the student's training so far; its teacher is at its own end."""
    examples: int
    label_norm: Interval
    """Mean norm of the label gradient q - onehot(y)."""
    cwtm_effective: Interval
    """Effective share of the examples under CWTM's weights, (sum w)^2 / (N sum w^2).

    1 if all weigh the same.
    """
    right_effective: Interval
    """The same of the weights p* of the paper's equation 9."""
    ban: Pull
    dkpp: Pull
    ban_dkpp_cosine: Interval
    """Mean cosine between the two gradients: what the permutation leaves of `ban`'s direction."""


@dataclass(frozen=True)
class GradientTerms:
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
    """1 - q*, exact if q* is nearly 1; the label gradient's correct-class term is its negative."""


def terms(
    student_logits: Float[Tensor, "examples classes"],
    targets: Float[Tensor, "examples classes"],
    labels: Int64[Tensor, "examples"],
) -> GradientTerms:
    """Return the gradients of cross-entropy to targets (N, C) and to labels (N,).

    Equations (1) to (3).
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
    return GradientTerms(distillation, label, correct, gradient.masked_fill(at_right, 0), wrong)


@dataclass(frozen=True)
class Student:
    """A student at an epoch of its training, and what it says of the examples."""

    generation: int
    id: str
    epoch: int
    logits: Float[Tensor, "examples classes"]


@dataclass(frozen=True)
class Teaching:
    """What a student could learn from the same examples."""

    teacher: Float[Tensor, "examples classes"]
    """The teacher's logits."""
    labels: Int64[Tensor, "examples"]
    permutation: Int64[Tensor, "examples classes"]
    """DKPP's random integers."""


def measure(student: Student, teaching: Teaching) -> Gradients:
    """Return the gradients of a student on examples, towards its teacher and towards labels."""
    p = F.softmax(teaching.teacher.double(), dim=-1)
    permuted = objectives.permute_dark_knowledge(p, teaching.permutation)
    confidence = p.amax(-1)
    right = p.gather(-1, teaching.labels[:, None]).squeeze(-1)
    ban = terms(student.logits, p, teaching.labels)
    dkpp = terms(student.logits, permuted, teaching.labels)

    intervals = statistics.bootstrap(
        _arrays(
            label=ban.label.norm(dim=-1),
            weight=confidence,
            squared=confidence**2,
            right=right,
            right_squared=right**2,
            cosine=_cosine(ban.distillation, dkpp.distillation),
        ),
        lambda mean: {
            "label_norm": mean["label"],
            "cwtm_effective": mean["weight"] ** 2 / mean["squared"],
            "right_effective": mean["right"] ** 2 / mean["right_squared"],
            "ban_dkpp_cosine": mean["cosine"],
        },
    )
    return Gradients(
        generation=student.generation,
        id=student.id,
        epoch=student.epoch,
        examples=len(teaching.labels),
        ban=_pull("ban", ban, p, confidence, teaching.labels),
        dkpp=_pull("dkpp", dkpp, permuted, confidence, teaching.labels),
        **intervals,
    )


def _pull(
    objective: str, parts: GradientTerms, targets: Tensor, confidence: Tensor, labels: Tensor
) -> Pull:
    """Take the gradients towards targets (N, C) apart; `confidence` weighs as CWTM does."""
    gradient, label = parts.distillation, parts.label
    energy, label_energy = gradient.square().sum(-1), label.square().sum(-1)
    along = (gradient * label).sum(-1)
    # If the student is certain and right, the label gradient is 0 and explains nothing.
    explained = torch.where(label_energy > 0, along.square() / label_energy.clamp_min(1e-300), 0.0)

    target = targets.gather(-1, labels[:, None]).squeeze(-1)
    has_ratio = parts.wrong > 0
    ratio = torch.where(has_ratio, -parts.correct / parts.wrong.clamp_min(1e-300), 0.0)
    alike = _Line(target, ratio, has_ratio.double())
    by_wrong = _Line(target, ratio, parts.wrong.square())

    columns = _arrays(
        norm=energy.sqrt(),
        correct_norm=parts.correct.abs(),
        dark_norm=parts.dark.norm(dim=-1),
        cosine=_cosine(gradient, label),
        energy=energy,
        dark=parts.dark.square().sum(-1),
        along=along,
        label=label_energy,
        along_weighted=confidence * along,
        label_weighted=confidence**2 * label_energy,
        along_right=target * along,
        label_right=target**2 * label_energy,
        explained=explained,
        ratio=-parts.correct * parts.wrong,
        size=parts.wrong.square(),
    )
    for name, line in (("alike", alike), ("by_wrong", by_wrong)):
        columns |= {f"{name} {product}": values for product, values in line.products.items()}

    def of_means(mean: Columns) -> Columns:
        by_confidence = mean["along_weighted"] ** 2 / (mean["label_weighted"] * mean["energy"])
        by_right_class = mean["along_right"] ** 2 / (mean["label_right"] * mean["energy"])
        shares = {
            "dark_share": mean["dark"] / mean["energy"],
            "by_labels": mean["along"] ** 2 / (mean["label"] * mean["energy"]),
            "by_confidence": by_confidence,
            "by_right_class": by_right_class,
            "by_any_weight": mean["explained"] / mean["energy"],
            "ratio_mean": mean["ratio"] / mean["size"],
        }

        norms = {name: mean[name] for name in ("norm", "correct_norm", "dark_norm", "cosine")}
        fit, fit_by_wrong = alike.fit(mean, "alike"), by_wrong.fit(mean, "by_wrong")
        line = {
            "ratio_r2": fit["r2"],
            "identity_r2": fit["identity_r2"],
            "ratio_r2_weighted": fit_by_wrong["r2"],
            "identity_r2_weighted": fit_by_wrong["identity_r2"],
            "slope": fit_by_wrong["slope"],
            "intercept": fit_by_wrong["intercept"],
        }
        return {**norms, **shares, **line}

    intervals = statistics.bootstrap(columns, of_means)
    return Pull(objective, ratio_bins=_ratio_bins(target[has_ratio], ratio[has_ratio]), **intervals)


class _Line:
    """The least-squares line of y in x, examples weighted, from means of products over examples.

    x and y are standardised first, so that the sums keep their digits.
    """

    def __init__(self, x: Tensor, y: Tensor, weight: Tensor) -> None:
        self._x_mean, self._x_deviation = _moments(x, weight)
        self._y_mean, self._y_deviation = _moments(y, weight)
        u = (x - self._x_mean) / self._x_deviation
        v = (y - self._y_mean) / self._y_deviation

        self.products = _arrays(
            w=weight,
            x=weight * u,
            y=weight * v,
            xx=weight * u * u,
            yy=weight * v * v,
            xy=weight * u * v,
            off=weight * (y - x).square(),
        )
        """What each example adds, by name."""

    def fit(self, mean: Columns, name: str) -> dict[str, NDArray[np.float64]]:
        """Return the line, and what it and "y is x" explain of y's variance.

        `mean` are means of `products`, each under its name after `name`.
        """
        weight = mean[f"{name} w"]
        x, y, xx, yy, xy, off = (
            mean[f"{name} {product}"] / weight for product in ("x", "y", "xx", "yy", "xy", "off")
        )
        of_x, of_y, of_both = xx - x**2, yy - y**2, xy - x * y

        slope = of_both / of_x * (self._y_deviation / self._x_deviation)
        x_mean = self._x_mean + self._x_deviation * x
        y_mean = self._y_mean + self._y_deviation * y
        return {
            "r2": of_both**2 / (of_x * of_y),
            "identity_r2": 1 - off / (self._y_deviation**2 * of_y),
            "slope": slope,
            "intercept": y_mean - slope * x_mean,
        }


def _moments(values: Tensor, weight: Tensor) -> tuple[float, float]:
    """Return the weighted mean and deviation; NaN for the deviation of what is constant."""
    mean = (weight * values).sum() / weight.sum()
    deviation = ((weight * (values - mean).square()).sum() / weight.sum()).sqrt()
    # What varies by rounding alone is constant: no line explains it, and R^2 is NaN.
    varies = bool(deviation > 1e-12 * values.abs().max())
    return mean.item(), deviation.item() if varies else float("nan")


def _arrays(**columns: Tensor) -> dict[str, NDArray[np.float64]]:
    return {name: values.double().numpy() for name, values in columns.items()}


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine of each row's angle, 0 if either row is 0."""
    lengths = first.norm(dim=-1) * second.norm(dim=-1)
    return torch.where(lengths > 0, (first * second).sum(-1) / lengths.clamp_min(1e-300), 0.0)


def _ratio_bins(target: Tensor, ratio: Tensor) -> tuple[RatioBin, ...]:
    order = torch.argsort(target, stable=True)
    bins: list[RatioBin] = []
    for part in order.tensor_split(RATIO_BINS):
        if len(part):
            lower, median, upper = np.quantile(ratio[part].numpy(), [0.25, 0.5, 0.75]).tolist()
            bins.append(RatioBin(target[part].mean().item(), lower, median, upper, len(part)))
    return tuple(bins)
