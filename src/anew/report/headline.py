"""The answer that a page opens with: whether a later generation, or a mean of several, errs less
than the first.

What is compared is fixed beforehand, so nothing is chosen on test: every generation with generation
0, the mean of the students, and the mean of all. The sentence tells of the last generation and of
the students' mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from anew.evaluation import ensemble, statistics
from anew.evaluation.statistics import Difference
from anew.report.content import Answer, Comparison
from anew.studies.results import Results

Outputs = Sequence[Float[Tensor, "examples classes"]]


def compared(count: int) -> list[tuple[int, ...]]:
    """Return what is compared with generation 0: each later one, the mean of the students, the mean
    of all.
    """
    singles = [(generation,) for generation in range(1, count)]
    students, everything = tuple(range(1, count)), tuple(range(count))
    return [*singles, *([students] if count > 2 else []), *([everything] if count > 1 else [])]


def name_of(generations: Sequence[int]) -> str:
    """Return how generations are called: `generation 2`, `mean of generations 1 to 3`."""
    if len(generations) == 1:
        return f"generation {generations[0]}"
    if len(generations) == 2:
        return f"mean of generations {generations[0]} and {generations[1]}"
    return f"mean of generations {generations[0]} to {generations[-1]}"


def wrong(outputs: Outputs, labels: Tensor, generations: Sequence[int]) -> NDArray[np.bool_]:
    """Return which examples a generation, or the mean of several, gets wrong."""
    logits = (
        outputs[generations[0]]
        if len(generations) == 1
        else ensemble.log_mean([outputs[one] for one in generations])
    )
    return (logits.argmax(-1) != labels).numpy()


def of_lineages(lineages: Sequence[tuple[Outputs, Tensor]], given: bool) -> Answer:
    """Return the answer for a lineage, the first, and those that differ from it in their seeds
    alone.

    Each is its generations' logits (N, C), oldest first, and the labels (N,). Over two lineages and
    more comparisons are paired by seed, otherwise by test example; p-values are corrected together
    (Holm). `given`: generation 0 was not trained here.
    """
    outputs, labels = lineages[0]
    if len(outputs) == 1:
        return _alone(wrong(outputs, labels, (0,)), given)
    means = compared(len(outputs))
    shown = statistics.judge([_difference(lineages, chosen) for chosen in means])
    judged = tuple(
        Comparison(name_of(chosen), chosen, one.difference, one.corrected_p, one.verdict)
        for chosen, one in zip(means, shown, strict=True)
    )
    last = judged[len(outputs) - 2]
    mean = judged[len(outputs) - 1]
    against = (
        "generation 0, the given network"
        if given
        else "generation 0, which learned from the labels"
    )
    return Answer(sentence(last, mean, against), _basis(lineages, len(judged)), judged)


def sentence(last: Comparison, mean: Comparison, against: str) -> str:
    """Return what two comparisons show, in a sentence with their intervals."""
    shown, also = last.verdict in _MORE_OR_LESS, mean.verdict in _MORE_OR_LESS
    if shown and also:
        same = "" if last.verdict == mean.verdict else f" {_MORE_OR_LESS[mean.verdict]}"
        return (
            f"{_start(last.name)} errs {_points(last.difference)} points "
            f"{_MORE_OR_LESS[last.verdict]} than {against}; "
            f"the {mean.name}, {_points(mean.difference)}{' points' + same if same else ''}."
        )
    if shown:
        return (
            f"{_start(last.name)} errs {_points(last.difference)} points "
            f"{_MORE_OR_LESS[last.verdict]} than {against}; "
            f"for the {mean.name} no difference was shown ({_signed(mean.difference)})."
        )
    if also:
        return (
            f"The {mean.name} errs {_points(mean.difference)} points {_MORE_OR_LESS[mean.verdict]} "
            f"than {against}; "
            f"for {last.name} alone no difference was shown ({_signed(last.difference)})."
        )
    return (
        f"No difference in error from {against}, was shown: {last.name} differs by "
        f"{_signed(last.difference)} points, "
        f"the {mean.name} by {_signed(mean.difference)}."
    )


def of_study(results: Results) -> Answer:
    """Return the answer of a study's table: what its comparisons with the reference show, the first
    with its interval.

    The first is the table's first comparison, whatever it shows.
    """
    judged = [(cell, cell.comparison) for cell in results.cells if cell.comparison is not None]
    reference, seeds = results.study.reference, len(results.study.seeds)
    basis = (
        f"Differences in test error to {reference}, "
        + (
            f"paired over {seeds} seeds (paired t)"
            if seeds > 1
            else "over the test examples of one seed (McNemar)"
        )
        + f"; the p-values of all {len(judged)} comparisons are corrected together (Holm). "
        f"Intervals hold with 95 %."
    )
    if not judged:
        return Answer(f"Nothing of this study can be compared with {reference} yet.", basis)
    cell, first = judged[0]
    name, amount = f"{cell.column} on {cell.row}", first.difference
    if first.verdict in _MORE_OR_LESS:
        opening = (
            f"{_start(name)} errs {_points(amount)} points {_MORE_OR_LESS[first.verdict]} than "
            f"{reference}"
        )
    else:
        opening = (
            f"{_start(name)} shows no difference in error from {reference} "
            f"({_signed(amount)} points)"
        )
    if len(judged) == 1:
        return Answer(f"{opening}.", basis)
    counts = {word: sum(one.verdict == word for _, one in judged) for word in ("better", "worse")}
    rest = len(judged) - sum(counts.values())
    return Answer(
        f"{opening}; of all {len(judged)} comparisons, {_count(counts['better'])} better, "
        f"{_count(counts['worse'])} "
        f"worse, and {rest or 'none'} show{'' if rest > 1 else 's'} no difference.",
        basis,
    )


NOTHING_FINISHED = Answer(
    "No network of this family is finished yet, so there is nothing to compare.",
    "What has been trained so far is below; the command that trains it goes on where it stopped.",
)

_MORE_OR_LESS = {"better": "less", "worse": "more"}


def _difference(lineages: Sequence[tuple[Outputs, Tensor]], chosen: Sequence[int]) -> Difference:
    pairs = [
        (wrong(outputs, labels, chosen), wrong(outputs, labels, (0,)))
        for outputs, labels in lineages
    ]
    if len(pairs) == 1:
        return statistics.over_examples(*pairs[0])
    return statistics.over_seeds(
        [100 * float(ours.mean()) for ours, _ in pairs],
        [100 * float(theirs.mean()) for _, theirs in pairs],
    )


def _alone(errs: NDArray[np.bool_], given: bool) -> Answer:
    count, failures = len(errs), int(errs.sum())
    interval = stats.binomtest(failures, count).proportion_ci(method="wilson")
    what = (
        "The given network" if given else "The one finished network, which learned from the labels,"
    )
    return Answer(
        f"{what} errs on {100 * failures / count:.1f} % of the test examples "
        f"({100 * interval.low:.1f} to "
        f"{100 * interval.high:.1f} %); it has no finished student to compare with.",
        f"Interval of a share of {count:,} test examples, 95 % (Wilson).",
    )


def _basis(lineages: Sequence[tuple[Outputs, Tensor]], comparisons: int) -> str:
    examples = len(lineages[0][1])
    corrected = f"p-values are corrected for all {comparisons} comparisons below (Holm)"
    if len(lineages) > 1:
        return (
            f"Over {len(lineages)} seeds, each with {examples:,} test examples: ± is half of "
            f"Student's 95 % interval "
            f"of the differences paired by seed; {corrected}."
        )
    return (
        f"One seed: ± is half of the 95 % interval by bootstrap over {examples:,} test examples, "
        f"and says nothing of "
        f"other seeds; {corrected}."
    )


def _count(number: int) -> str:
    return "none is" if number == 0 else "one is" if number == 1 else f"{number} are"


def _start(name: str) -> str:
    return name[0].upper() + name[1:]


def _digits(difference: Difference) -> int:
    """Two decimals where the interval is so narrow that they say something."""
    return 1 if (difference.high - difference.low) / 2 >= 0.2 else 2


def _points(difference: Difference) -> str:
    digits = _digits(difference)
    return (
        f"{abs(difference.mean):.{digits}f} ± {(difference.high - difference.low) / 2:.{digits}f}"
    )


def _signed(difference: Difference) -> str:
    digits = _digits(difference)
    return f"{difference.mean:+.{digits}f} ± {(difference.high - difference.low) / 2:.{digits}f}"
