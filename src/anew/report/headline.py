"""The answer that opens a page: whether a later generation or a mean of several errs less.

What is compared is fixed beforehand, so nothing is chosen on test: every generation, the mean of
the students and the mean of all, each with generation 0. The sentence reports the last generation
and the students' mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from anew.core.spec import Spec
from anew.core.text import capitalised, generations_in_words
from anew.evaluation import ensemble, statistics
from anew.evaluation.statistics import Difference, Judged
from anew.report.content import Answer, Comparison
from anew.studies.results import Cell, Results

Outputs = Sequence[Float[Tensor, "*examples classes"]]
"""Logits of test examples, by generation, oldest first."""

NOTHING_FINISHED = Answer(
    "No network of this family is finished yet, so there is nothing to compare.",
    "The results so far are below; the same command resumes the training.",
)

_DIRECTION = {"better": "lower", "worse": "higher"}

_NAMED = 3
"""The most comparisons of one verdict that the sentence of a study names."""


def compared(count: int) -> list[tuple[int, ...]]:
    """Return what is compared with generation 0.

    Each later generation, the mean of the students, and the mean of all.
    """
    chosen: list[tuple[int, ...]] = [(generation,) for generation in range(1, count)]
    if count > 2:
        chosen.append(tuple(range(1, count)))
    if count > 1:
        chosen.append(tuple(range(count)))
    return chosen


def wrong(outputs: Outputs, labels: Tensor, generations: Sequence[int]) -> NDArray[np.bool_]:
    """Return which examples a generation, or the mean of several, gets wrong (N,)."""
    if len(generations) == 1:
        logits = outputs[generations[0]]
    else:
        logits = ensemble.log_mean([outputs[generation] for generation in generations])
    return (logits.argmax(-1) != labels).flatten().numpy()


def of_lineages(lineages: Sequence[tuple[Outputs, Tensor]], first: str) -> Answer:
    """Return the answer for a lineage and its replicas.

    Each has its generations' logits (N, C), oldest first, and the labels (N,); the lineage itself
    comes first. Comparisons are paired by seed if there are replicas, else by test example. Their
    p-values are corrected together (Holm). `first` is what generation 0 is, in words.
    """
    outputs, labels = lineages[0]
    if len(outputs) == 1:
        return _alone(wrong(outputs, labels, (0,)), first)

    chosen = compared(len(outputs))
    judged = statistics.judge([_difference(lineages, generations) for generations in chosen])
    comparisons = tuple(
        Comparison(
            generations_in_words(generations),
            generations,
            result.difference,
            result.corrected_p,
            result.verdict,
        )
        for generations, result in zip(chosen, judged, strict=True)
    )

    # Of two generations there is no mean of the students: the mean of both takes its place.
    last, mean = comparisons[len(outputs) - 2], comparisons[len(outputs) - 1]
    text = sentence(last, mean, f"generation 0, {first}")
    return Answer(text, _basis(lineages, len(comparisons)), comparisons)


def sentence(
    last: Comparison,
    mean: Comparison,
    against: str,
    score: str = "an error rate",
    unit: str = " points",
) -> str:
    """Return what two comparisons of a score show, in a sentence with their intervals."""
    last_shown, mean_shown = last.verdict in _DIRECTION, mean.verdict in _DIRECTION
    if not last_shown and not mean_shown:
        named = score.partition(" ")[2]
        return (
            f"No clear winner: {last.name} ({_signed(last.difference)}{unit}) and the {mean.name} "
            f"({_signed(mean.difference)}) show no difference in {named} from {against}."
        )
    if not last_shown:
        return (
            f"The {mean.name} has {score} {_points(mean.difference)}{unit} "
            f"{_DIRECTION[mean.verdict]} than {against}. For {last.name} alone, no difference is "
            f"shown ({_signed(last.difference)}{unit})."
        )

    opening = (
        f"{capitalised(last.name)} has {score} {_points(last.difference)}{unit} "
        f"{_DIRECTION[last.verdict]} than {against}"
    )
    if not mean_shown:
        return (
            f"{opening}. For the {mean.name}, no difference is shown "
            f"({_signed(mean.difference)}{unit})."
        )
    return (
        f"{opening}; the {mean.name} has {score} {_points(mean.difference)}{unit} "
        f"{_DIRECTION[mean.verdict]}."
    )


def of_study(results: Results) -> Answer:
    """Return the answer of a study's table, from its comparisons with the reference column.

    One comparison is reported with its interval. Several are counted by what they show, those that
    differ are named where they are few, and the table's first is reported, whatever it shows.
    """
    judged = [(cell, cell.comparison) for cell in results.cells if cell.comparison is not None]
    reference, seeds = results.study.reference, len(results.study.seeds)
    is_text = results.study.is_text
    score, paired = "error", "over the test examples of one seed (McNemar)"
    if is_text:
        score, paired = "perplexity", "over blocks of the test text of one seed (bootstrap)"
    if seeds > 1:
        paired = f"paired over {seeds} seeds (paired t)"
    corrected = (
        f"; the p-values of all {len(judged)} comparisons are corrected together (Holm)"
        if len(judged) > 1
        else ""
    )
    basis = (
        f"Differences in test {score} to {reference}, {paired}{corrected}. ±: half of the 95 % "
        f"interval."
    )
    if not judged:
        return Answer(f"Nothing of this study can be compared with {reference} yet.", basis)

    cell, first = judged[0]
    amount = first.difference
    score, points = ("perplexity", "") if is_text else ("error rate", " points")
    if len(judged) > 1:
        counts = _counted(judged, reference, score, points)
        rows = {one.row for one, _ in judged}
        name = cell.column if len(rows) == 1 else f"{cell.column} on {cell.row}"
        return Answer(
            f"{counts} The first is {name}: {_signed(amount)}{points} ({first.verdict}).", basis
        )

    name = capitalised(f"{cell.column} on {cell.row}")
    if first.verdict in _DIRECTION:
        article, direction = "a" if is_text else "an", _DIRECTION[first.verdict]
        return Answer(
            f"{name} has {article} {score} {_points(amount)}{points} {direction} than {reference}.",
            basis,
        )
    shown = f"({_signed(amount)}{points})"
    return Answer(f"{name} shows no difference in {score} from {reference} {shown}.", basis)


def _counted(judged: Sequence[tuple[Cell, Judged]], reference: str, score: str, points: str) -> str:
    """Return in a sentence how many comparisons show what."""
    lower, higher = _shown(judged, "better", points), _shown(judged, "worse", points)
    opening = f"{len(judged)} comparisons with {reference}"
    if lower is None and higher is None:
        return f"None of {opening} shows a difference in {score}."
    rest = sum(comparison.verdict not in _DIRECTION for _, comparison in judged)
    count, named = lower or ("none", "")
    said = f"{count} {'show' if count.isdigit() else 'shows'} a lower {score}{named}, "
    count, named = higher or ("none", "")
    said += f"{count} a higher one{named}"
    return f"Of {opening}, {said}, and {rest or 'none'} no difference."


def _shown(
    judged: Sequence[tuple[Cell, Judged]], verdict: str, points: str
) -> tuple[str, str] | None:
    """Return how many comparisons have a verdict, and which or by how much; None if none has."""
    found = [(cell, comparison) for cell, comparison in judged if comparison.verdict == verdict]
    if not found:
        return None
    count = "one" if len(found) == 1 else str(len(found))
    if len(found) > _NAMED:
        amounts = [abs(comparison.difference.mean) for _, comparison in found]
        return count, f" (by {min(amounts):.1f} to {max(amounts):.1f}{points})"

    rows = {cell.row for cell, _ in judged}
    names = [
        f"{cell.column}{'' if len(rows) == 1 else f' on {cell.row}'}, "
        f"{_signed(comparison.difference)}"
        for cell, comparison in found
    ]
    return count, f" ({'; '.join(names)})"


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


def what_is(first: Spec) -> str:
    """Return in words what a lineage's first network is."""
    if first.weights:
        return "the given network"
    return f"which learned from {'soft labels' if first.teachers else 'the labels'}"


def _alone(errs: NDArray[np.bool_], first: str) -> Answer:
    """Return the answer of a lineage of one network, from the examples that it gets wrong (N,)."""
    count, failures = len(errs), int(errs.sum())
    interval = scipy.stats.binomtest(failures, count).proportion_ci(method="wilson")
    what = (
        f"The one finished network, {first}," if first.startswith("which") else "The given network"
    )
    return Answer(
        f"{what} has an error rate of {100 * failures / count:.1f} % on the test examples "
        f"({100 * interval.low:.1f} to {100 * interval.high:.1f} %); it has no finished student to "
        f"compare with.",
        f"Interval of a share of {count:,} test examples, 95 % (Wilson).",
    )


def _basis(lineages: Sequence[tuple[Outputs, Tensor]], comparisons: int) -> str:
    examples = lineages[0][1].numel()
    corrected = f"p-values are corrected for all {comparisons} comparisons below (Holm)"
    if len(lineages) > 1:
        return (
            f"{len(lineages)} seeds, each with {examples:,} test examples. ±: half of the 95 % "
            f"interval (Student's t) of the differences, paired by seed; {corrected}."
        )
    return (
        f"One seed. ±: half of the 95 % interval (bootstrap over {examples:,} test examples); "
        f"another seed may differ by more; {corrected}."
    )


def _half(difference: Difference) -> float:
    return (difference.high - difference.low) / 2


def _digits(difference: Difference) -> int:
    """Return how many decimals say something: two if the interval is narrow."""
    return 1 if _half(difference) >= 0.2 else 2


def _points(difference: Difference) -> str:
    digits = _digits(difference)
    return f"{abs(difference.mean):.{digits}f} ± {_half(difference):.{digits}f}"


def _signed(difference: Difference) -> str:
    digits = _digits(difference)
    return f"{difference.mean:+.{digits}f} ± {_half(difference):.{digits}f}"
