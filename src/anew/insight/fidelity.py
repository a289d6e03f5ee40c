"""How alike the generations are, and what that leaves for their average to gain."""

from __future__ import annotations

from dataclasses import dataclass

from anew.statistics import Interval

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class EnsembleGain:
    """An ensemble against its average member, errors in percent."""

    generations: tuple[int, ...]
    name: str
    error: float
    mean_member_error: float
    gain: Interval
    """Mean member's error less the ensemble's, in percentage points: more than 0 is a gain."""
    best_member_error: float
    disagreement: float
    """Mean over pairs of members of the share of examples, in percent, to which they give different classes."""


@dataclass(frozen=True)
class Fidelity:
    """Every generation against every other, on one set of examples; rows and columns are generations."""

    agreement: Matrix
    """Share of the examples, in percent, to which both give the same class."""
    kl: Matrix
    """Row i, column j: mean of KL(p_i || p_j) in nats, how far j is from what i says."""
    disagreement: Matrix
    """Share of the examples, in percent, of which exactly one of the two is right."""
    double_faults: Matrix
    """Share of the examples, in percent, that both get wrong."""
    ensembles: tuple[EnsembleGain, ...]
    """Of every run of neighbours in the lineage, shorter first."""
