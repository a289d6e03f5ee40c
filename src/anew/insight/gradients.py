"""What pulls on a student's logits: the teacher's right answer, its dark knowledge, and what the labels would do."""

from __future__ import annotations

from dataclasses import dataclass

from anew.statistics import Interval


@dataclass(frozen=True)
class RatioBin:
    """The ratio of an equal share of the examples, those whose teacher is about equally sure of the right class."""

    teacher: float
    """Mean of p*, the teacher's probability of the right class."""
    lower: float
    """A quarter of the ratios are below."""
    median: float
    upper: float
    """A quarter of the ratios are above."""
    examples: int


@dataclass(frozen=True)
class Pull:
    """The gradient q - t of cross-entropy to targets t, taken apart; `ban` has t = p, `dkpp` t = p permuted."""

    objective: str
    """`ban` or `dkpp`."""
    norm: Interval
    """Mean over examples of |q - t|."""
    correct_norm: Interval
    """Mean of |q* - t*|, the correct-class term."""
    dark_norm: Interval
    """Mean norm of the dark-knowledge term: q_i - t_i at all classes but the right one."""
    dark_share: Interval
    """Share of the gradient's energy (sum of squares over examples) that is in the dark-knowledge term, 0 to 1."""
    cosine: Interval
    """Mean over examples of the cosine between q - t and the label gradient q - onehot(y)."""
    by_labels: Interval
    """Share of the energy that the label gradient explains, with one common weight for all examples."""
    by_confidence: Interval
    """The same, with each example's label gradient weighted by max p: what CWTM can imitate."""
    by_any_weight: Interval
    """The same, with whatever weight is best for each example: the most that weighing examples can ever explain. The
    rest, 1 less this, is at right angles to the label gradient: which wrong classes are likelier, whatever the weight.
    """
    ratio_mean: Interval
    """Mean of (q* - t*) / (q* - 1), the importance weight that the correct-class term stands for."""
    ratio_r2: Interval
    """Share of the ratio's variance over examples that a straight line in p* explains (R^2)."""
    ratio_r2_weighted: Interval
    """The same R^2 with each example counted by (1 - q*)^2: where q* is nearly 1 the ratio is noise over nothing."""
    ratio_bins: tuple[RatioBin, ...]
    """The ratio against p*, ten bins of equally many examples, least sure first."""


@dataclass(frozen=True)
class Gradients:
    """The gradients with respect to a student's logits at an epoch of its training, on one set of examples."""

    generation: int
    id: str
    epoch: int
    """After how many epochs of the student's training; its teacher is at its own end."""
    examples: int
    label_norm: Interval
    """Mean norm of the label gradient q - onehot(y)."""
    cwtm_effective: Interval
    """Effective share of the examples under CWTM's weights, (sum w)^2 / (N sum w^2): 1 where all weigh the same."""
    ban: Pull
    dkpp: Pull
    ban_dkpp_cosine: Interval
    """Mean cosine between the two gradients: what is left of `ban`'s direction after the permutation."""
