"""What lineages that differ in their seeds alone learned: an insight of each, put together.

Intervals are Student's over seeds. They say how much another seed would change, where the
bootstrap's of one lineage say how much other examples would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anew.core.spec import Spec
from anew.core.text import plain
from anew.evaluation import statistics
from anew.evaluation.insight.collecting import Insight, Member, Options, collect_with_data
from anew.evaluation.insight.gradients import Gradients
from anew.evaluation.statistics import Interval, OverSeeds
from anew.family import Family

FORMAT = 1


@dataclass(frozen=True)
class Sureness:
    """How sure a generation is, and what it thinks beside its answer (see `DarkKnowledge`)."""

    generation: int
    confidence: Interval
    correct: Interval
    entropy: Interval
    dark_entropy: Interval
    agreement: OverSeeds
    agreement_permuted: OverSeeds
    kept_by_permutation: OverSeeds
    covariance_kept: OverSeeds


@dataclass(frozen=True)
class SeedScores:
    """The scores of a generation or an ensemble, errors in percent."""

    name: str
    generations: tuple[int, ...]
    error: OverSeeds
    nll: OverSeeds
    ece: OverSeeds
    brier: OverSeeds
    change: OverSeeds
    """The error less generation 0's, paired by seed."""


@dataclass(frozen=True)
class Pair:
    """A generation and its teacher."""

    generation: int
    same_class: OverSeeds
    """In percent."""
    kl: OverSeeds
    """KL of the student from its teacher, in nats."""
    lost: OverSeeds
    """Share of the examples, in percent, that the teacher gets right and the student wrong."""
    won: OverSeeds


@dataclass(frozen=True)
class SeedsInsight:
    """What `anew insight --seeds` prints."""

    format: int
    split: str
    examples: int
    classes: tuple[str, ...]
    seeds: tuple[int, ...]
    lineages: tuple[tuple[Member, ...], ...]
    """By seed."""
    gradients: tuple[Gradients, ...]
    """By generation and epoch; ids are the first seed's, and there are no bins of the ratio."""
    sureness: tuple[Sureness, ...]
    scores: tuple[SeedScores, ...]
    pairs: tuple[Pair, ...]
    notices: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the insight as `anew insight --seeds --format json` prints it."""
        return plain(self)


def collect_over_seeds(
    family: Family,
    lineages: Sequence[Sequence[Spec]],
    options: Options | None = None,
    *,
    source: str | None = None,
    root: str | Path | None = None,
) -> SeedsInsight:
    """Measure every lineage as `collect_with_data` does, and put the seeds together.

    The lineages differ in their seeds alone (see `replicas`). Raises `AnewError` as
    `collect_with_data` does, for the first lineage that cannot be measured.
    """
    measured = [
        collect_with_data(family, lineage, options, source=source, root=root)
        for lineage in lineages
    ]

    first = measured[0]
    return SeedsInsight(
        format=FORMAT,
        split=first.split,
        examples=first.examples,
        classes=first.classes,
        seeds=tuple(lineage[-1].seed for lineage in lineages),
        lineages=tuple(one.lineage for one in measured),
        gradients=_gradients(measured),
        sureness=tuple(_sureness(measured, number) for number in range(len(first.lineage))),
        scores=_scores(measured),
        pairs=tuple(_pair(measured, number) for number in range(1, len(first.lineage))),
        notices=tuple(dict.fromkeys(notice for one in measured for notice in one.notices)),
    )


def _gradients(measured: Sequence[Insight]) -> tuple[Gradients, ...]:
    """Return the gradients at the epochs that every seed has."""
    by_epoch: list[Mapping[tuple[int, int], Gradients]] = [
        {(one.generation, one.epoch): one for one in insight.gradients} for insight in measured
    ]

    together: list[Gradients] = []
    for key in by_epoch[0]:
        if all(key in one for one in by_epoch):
            students = [one[key] for one in by_epoch]
            pulls = {
                name: replace(
                    statistics.across([getattr(one, name) for one in students]), ratio_bins=()
                )
                for name in ("ban", "dkpp")
            }
            together.append(replace(statistics.across(students), **pulls))
    return tuple(together)


def _sureness(measured: Sequence[Insight], number: int) -> Sureness:
    networks = [one.dark_knowledge[number] for one in measured]
    intervals = ("confidence", "correct", "entropy", "dark_entropy")
    numbers = ("agreement", "agreement_permuted", "kept_by_permutation", "covariance_kept")
    whole = {
        name: statistics.across_seeds([getattr(one, name).value for one in networks])
        for name in intervals
    }
    plainly = {
        name: statistics.across_seeds([getattr(one, name) for one in networks]) for name in numbers
    }
    return Sureness(generation=number, **whole, **plainly)


def _scores(measured: Sequence[Insight]) -> tuple[SeedScores, ...]:
    found: list[SeedScores] = []
    for number, network in enumerate(measured[0].calibration):
        scores = [one.calibration[number].scores for one in measured]
        values = {
            name: statistics.across_seeds([getattr(one, name) for one in scores])
            for name in ("error", "nll", "ece", "brier")
        }
        change = [
            score.error - one.calibration[0].scores.error
            for score, one in zip(scores, measured, strict=True)
        ]

        found.append(
            SeedScores(
                name=network.name,
                generations=network.generations,
                **values,
                change=statistics.across_seeds(change),
            )
        )
    return tuple(found)


def _pair(measured: Sequence[Insight], number: int) -> Pair:
    harms = [one.harm[number - 1] for one in measured]
    return Pair(
        generation=number,
        same_class=statistics.across_seeds(
            [one.fidelity.agreement[number - 1][number] for one in measured]
        ),
        kl=statistics.across_seeds([one.fidelity.kl[number - 1][number] for one in measured]),
        lost=statistics.across_seeds([one.negative_flips.value for one in harms]),
        won=statistics.across_seeds([one.positive_flips.value for one in harms]),
    )
