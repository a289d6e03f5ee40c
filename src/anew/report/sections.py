"""From a report's data to what its sections show: charts, with a line that says how to read
them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anew.evaluation.insight import Calibration, DarkKnowledge, Fidelity, Gradients, Harm, Insight
from anew.evaluation.statistics import Interval
from anew.report.charts import Chart, Series, spoken
from anew.report.content import Comparison, Network, Report

GREY = -1


@dataclass(frozen=True)
class Section:
    """A part of the insight: a heading, how to read it, and its charts; the numbers are
    `insight.wording`'s tables.
    """

    name: str
    title: str
    text: tuple[str, ...]
    charts: tuple[Chart, ...] = ()


def differences(comparisons: Sequence[Comparison]) -> Chart | None:
    """Return the chart of the answer: what each generation and mean gains or loses, with its
    interval.
    """
    if not comparisons:
        return None
    names = tuple(one.label for one in comparisons)
    series = Series(
        "difference",
        names,
        tuple(one.difference.mean for one in comparisons),
        tuple(one.difference.low for one in comparisons),
        tuple(one.difference.high for one in comparisons),
        color=1,
    )
    said = [
        f"{one.name} {_signed(one.difference.mean)} ({_signed(one.difference.low)} to "
        f"{_signed(one.difference.high)}, "
        f"{one.verdict})"
        for one in comparisons
    ]
    return Chart(
        "differences",
        "Test error compared with generation 0",
        "dots",
        "difference in test error, percentage points (left is better)",
        "",
        (series,),
        f"Difference in test error from generation 0, percentage points with 95 % intervals: "
        f"{'; '.join(said)}.",
        baseline=0.0,
    )


def learning_curves(networks: Sequence[Network]) -> Chart | None:
    """Return the learning curves of all given networks in one chart: validation error, or training
    error without.
    """
    held_out = any("validation_error" in row for network in networks for row in network.curve)
    measure = "validation_error" if held_out else "train_error"
    return _over_training(
        "learning-curves",
        networks,
        measure,
        measure.replace("train", "training").replace("_", " "),
        " %",
    )


def validation_losses(networks: Sequence[Network]) -> Chart | None:
    """Return the validation loss, the label's negative log-likelihood, of all given networks over
    training.

    Training losses are none for comparison: each generation minimises another one.
    """
    return _over_training(
        "validation-losses", networks, "validation_nll", "validation loss", " nats"
    )


def _over_training(
    name: str, networks: Sequence[Network], measure: str, words: str, unit: str
) -> Chart | None:
    series = [
        Series(
            _curve_name(network),
            tuple(float(row["epoch"]) for row in network.curve if measure in row),
            tuple(row[measure] for row in network.curve if measure in row),
            color=network.generation,
            dashed=not network.finished,
        )
        for network in networks
        if any(measure in row for row in network.curve)
    ]
    if not series:
        return None
    ends = [f"{one.name} ends at {one.y[-1]:.3g}{unit} after {len(one.y)} epochs" for one in series]
    return Chart(
        name,
        f"{_start(words)} over training",
        "lines",
        "epoch",
        f"{words},{unit}",
        tuple(series),
        f"{_start(words)} by epoch: {'; '.join(ends)}.",
    )


def errors(scores: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Return the test errors of generations and of ensembles of consecutive ones, of the rows of an
    evaluation.
    """
    rows = [row for row in scores if _consecutive(row["generations"])]
    if not rows:
        return None
    means = [row for row in rows if len(row["generations"]) > 1]
    series = [
        Series(row["name"], (_start(row["name"]),), (row["error"],), color=row["generations"][0])
        for row in rows
        if len(row["generations"]) == 1
    ]
    if means:
        names = tuple(_start(row["name"]) for row in means)
        series.append(Series("ensemble", names, tuple(row["error"] for row in means), color=GREY))
    said = [f"{row['name']} {row['error']:.2f} %" for row in rows]
    return Chart(
        "errors",
        "Test error of generations and ensembles",
        "dots",
        "test error, %",
        "",
        tuple(series),
        f"Test error: {'; '.join(said)}.",
        labelled=True,
        legend=False,
    )


def study(report: Report) -> Chart | None:
    """Return the chart of a study's table: every cell's difference from the reference, with its
    interval.
    """
    if report.study is None:
        return None
    cells = [cell for cell in report.study.results["cells"] if cell["comparison"] is not None]
    if not cells:
        return None
    reference = report.study.results["reference"]
    rows = tuple(dict.fromkeys(cell["row"] for cell in cells))
    series: list[Series] = []
    for number, row in enumerate(rows):
        some = [cell for cell in cells if cell["row"] == row]
        series.append(
            Series(
                row,
                tuple(cell["column"] for cell in some),
                tuple(cell["comparison"]["difference"]["mean"] for cell in some),
                tuple(cell["comparison"]["difference"]["low"] for cell in some),
                tuple(cell["comparison"]["difference"]["high"] for cell in some),
                color=number + 1,
            )
        )
    said = [
        f"{cell['column']} on {cell['row']} {_signed(cell['comparison']['difference']['mean'])}"
        for cell in cells
    ]
    return Chart(
        "study-differences",
        f"Every column compared with {reference}",
        "dots",
        "difference in test error, percentage points (left is better)",
        "",
        tuple(series),
        f"Difference in test error from {reference}, percentage points: {'; '.join(said)}.",
        baseline=0.0,
    )


def own_charts(report: Report) -> tuple[Chart, ...]:
    """Return the charts of the report's own sections, in the page's order."""
    chain = [network for network in report.networks if network.id in report.lineage]
    growing = [network for network in report.networks if not network.finished and network.curve]
    found = (
        differences(report.answer.comparisons),
        study(report),
        learning_curves([*chain, *growing]),
        validation_losses([*chain, *growing]),
        errors(report.rows),
    )
    return tuple(chart for chart in found if chart is not None)


def insight_sections(insight: Insight) -> tuple[Section, ...]:
    """Return the sections of what the students learned; a part that the insight does not have is
    left out.
    """
    found = [
        gradients(insight.gradients) if insight.gradients else None,
        dark_knowledge(insight.dark_knowledge, insight.classes) if insight.dark_knowledge else None,
        calibration(insight.calibration) if insight.calibration else None,
        harm(insight.harm) if insight.harm else None,
        fidelity(insight.fidelity),
    ]
    return tuple(section for section in found if section is not None)


def gradients(found: Sequence[Gradients]) -> Section:
    """Return what pulls on the students' logits: by weighing examples, or by which wrong classes
    are likelier.
    """
    last = {one.generation: one for one in found}  # of several epochs, the last
    names = tuple(_generation(number) for number in last)
    students = list(last.values())
    shares: list[tuple[str, list[Interval], int]] = [
        ("labels, all alike", [one.ban.by_labels for one in students], 5),
        ("labels weighed by confidence (CWTM)", [one.ban.by_confidence for one in students], 6),
        ("labels weighed in the best way", [one.ban.by_any_weight for one in students], 7),
    ]
    explained = Chart(
        "gradient-shares",
        "How much of distillation's gradient is only weighed labels",
        "dots",
        "share of the gradient's energy that is explained, %",
        "",
        tuple(_series(name, names, values, color, 100) for name, values, color in shares),
        "Share of the energy of the distillation gradient that the label gradient explains: "
        + "; ".join(
            f"{name}: "
            + spoken(
                [
                    f"{student} {100 * one.value:.0f} %"
                    for student, one in zip(names, values, strict=True)
                ]
            )
            for name, values, _ in shares
        )
        + ".",
    )
    ratio = Chart(
        "importance-weights",
        "The weight that the teacher gives to an example",
        "lines",
        "teacher's probability of the right class, p*",
        "(q* - p*) / (q* - 1), median and quartiles",
        tuple(
            Series(
                _generation(number),
                tuple(one.teacher for one in gradient.ban.ratio_bins),
                tuple(one.median for one in gradient.ban.ratio_bins),
                tuple(one.lower for one in gradient.ban.ratio_bins),
                tuple(one.upper for one in gradient.ban.ratio_bins),
                color=number,
            )
            for number, gradient in last.items()
        ),
        "Median importance weight by the teacher's probability of the right class, groups of "
        "equally many examples: "
        + "; ".join(
            f"{_generation(number)} from {gradient.ban.ratio_bins[0].median:.2f} where the teacher "
            f"is least sure to "
            f"{gradient.ban.ratio_bins[-1].median:.2f} where it is surest"
            for number, gradient in last.items()
            if gradient.ban.ratio_bins
        )
        + ".",
    )
    text = (
        "A student's gradient has two parts: the right class, which only weighs the example, and "
        "all other classes, "
        "the dark knowledge. If weighing alone explained the gradient, distillation would be "
        "importance weighting.",
    )
    return Section("gradients", "What pulls on a student", text, (explained, ratio))


def dark_knowledge(found: Sequence[DarkKnowledge], classes: Sequence[str]) -> Section:
    """Return what is in the outputs beside the answer: alike classes, and how sure the generations
    are.
    """
    last = found[-1]
    names = tuple(classes)
    similar = Chart(
        f"similarity-generation-{last.generation}",
        f"Which classes are alike to generation {last.generation}",
        "heatmap",
        "",
        "rows: called so; columns: also a bit like that, % of the probability beside the answer",
        tuple(
            Series(
                name,
                names,
                tuple(
                    math.nan if column == line else 100 * value for column, value in enumerate(row)
                ),
            )
            for line, (name, row) in enumerate(zip(names, last.similarity, strict=True))
        ),
        f"Where generation {last.generation} puts the probability beside its answer, % of it. "
        + "; ".join(_likest(names, last.similarity))
        + ".",
    )
    text = (
        "Beside its answer a network says which other classes it could have been. A row is what it "
        "called the "
        "picture, a column what it also thought of. If that is knowledge, it agrees with what is "
        "in fact confused, and "
        "a permutation (DKPP) destroys it.",
    )
    generations = tuple(float(one.generation) for one in found)
    sure = [
        ("confidence", [one.confidence for one in found], 5),
        ("right class", [one.correct for one in found], 6),
    ]
    sureness = Chart(
        "sureness",
        "How sure the generations are",
        "lines",
        "generation",
        "mean probability",
        tuple(_series(name, generations, values, color) for name, values, color in sure),
        "Mean of the largest probability and of the right class's: "
        + "; ".join(
            f"{_generation(one.generation)} {one.confidence.value:.3f} and {one.correct.value:.3f}"
            for one in found
        )
        + ".",
    )
    lines = tuple(_start(_generation(one.generation)) for one in found)
    known = [
        (name, values, color)
        for name, values, color in (
            ("as it is", tuple(one.agreement for one in found), 5),
            ("after DKPP's permutation", tuple(one.agreement_permuted for one in found), 6),
        )
        if not all(math.isnan(value) for value in values)
    ]
    knowledge = Chart(
        "knowledge",
        "Does the doubt match the mistakes?",
        "dots",
        "rank correlation of likeness and confusion (1: the same order)",
        "",
        tuple(Series(name, lines, values, color=color) for name, values, color in known),
        "Spearman's rank correlation of which classes are alike to a network with which it "
        "confuses: "
        + "; ".join(
            f"{_generation(one.generation)} {one.agreement:.2f}, after permutation "
            f"{one.agreement_permuted:.2f}"
            for one in found
        )
        + ".",
        baseline=0.0,
    )
    charts = (similar, sureness, knowledge) if known else (similar, sureness)
    return Section("dark-knowledge", "Dark knowledge", text, charts)


def calibration(found: Sequence[Calibration]) -> Section:
    """Return whether probabilities mean what they say: reliability, and the scores as they are and
    scaled.
    """
    drawn = [one for one in found if len(one.generations) == 1 or one is found[-1]]
    reliability = Chart(
        "reliability",
        "Is a network as often right as it is sure?",
        "lines",
        "confidence",
        "share that is right",
        tuple(
            Series(
                _start(one.name),
                tuple(part.confidence for part in one.bins),
                tuple(part.accuracy for part in one.bins),
                color=one.generations[0] if len(one.generations) == 1 else GREY,
                dashed=len(one.generations) > 1,
            )
            for one in drawn
        ),
        "Reliability diagram, 15 groups of equally many test examples; on the diagonal confidence "
        "equals accuracy. "
        "Calibration error: "
        + "; ".join(f"{one.name} {one.ece_equal_mass:.1f} %" for one in drawn)
        + ".",
        diagonal=True,
    )
    text = (
        "Below the diagonal a network is too sure of itself, above it too modest. ECE here has 15 "
        "bins of equally many "
        "examples; the temperature is fitted on the validation split, never on test.",
    )
    scaled = [one for one in drawn if one.scaled_ece_equal_mass is not None]
    names = tuple(_start(one.name) for one in drawn)
    before_after = [Series("as it is", names, tuple(one.ece_equal_mass for one in drawn), color=5)]
    if scaled:
        values = tuple(one.scaled_ece_equal_mass or 0.0 for one in scaled)
        before_after.append(
            Series(
                "at validation's temperature",
                tuple(_start(one.name) for one in scaled),
                values,
                color=6,
            )
        )
    temperature = Chart(
        "temperature",
        "Calibration error, and what one temperature mends",
        "dots",
        "ECE, % (left is better)",
        "",
        tuple(before_after),
        "Expected calibration error, 15 groups of equally many examples: "
        + "; ".join(
            f"{one.name} {one.ece_equal_mass:.2f} %"
            + (
                f", at temperature {one.temperature:.2f} {one.scaled_ece_equal_mass:.2f} %"
                if one in scaled
                else ""
            )
            for one in drawn
        )
        + ".",
        connected=True,
    )
    return Section("calibration", "Calibration", text, (reliability, temperature))


def harm(found: Sequence[Harm]) -> Section:
    """Return whom a student harms: flips from right to wrong, and the classes that lose most."""
    whole = max(found, key=lambda one: one.after[-1] - one.before[0] if len(one.after) == 1 else -1)
    classes = sorted(whole.classes, key=lambda one: -one.change)
    shown = classes if len(classes) <= 20 else [*classes[:10], *classes[-10:]]
    left_out = (
        ""
        if len(shown) == len(classes)
        else f" (of {len(classes)}, ten that lose and ten that gain most)"
    )
    names = tuple(one.name for one in shown)
    change = Chart(
        "class-changes",
        f"Error of each class, {whole.name}",
        "dots",
        f"test error, %{left_out}",
        "",
        (
            Series(
                _who(whole.before), names, tuple(one.before for one in shown), color=whole.before[0]
            ),
            Series(
                _who(whole.after), names, tuple(one.after for one in shown), color=whole.after[-1]
            ),
        ),
        f"Error by class, {whole.name}{left_out}: "
        + "; ".join(f"{one.name} {one.before:.1f} to {one.after:.1f} %" for one in shown)
        + ".",
        connected=True,
    )
    text = (
        "A student with a better mean can still be worse for some: pictures that were right and "
        "are wrong now, and "
        "classes that lose.",
    )
    pairs = tuple(f"{_short(one.before)} to {_short(one.after)}" for one in found)
    flips = [
        ("right before, wrong now", [one.negative_flips for one in found], 2),
        ("wrong before, right now", [one.positive_flips for one in found], 6),
    ]
    flipped = Chart(
        "flips",
        "Test pictures that flipped, from one generation to another",
        "dots",
        "share of the test pictures, %",
        "",
        tuple(_series(name, pairs, values, color) for name, values, color in flips),
        "Flips, % of the test pictures: "
        + "; ".join(
            f"{one.name} {one.negative_flips.value:.2f} % lost and {one.positive_flips.value:.2f} "
            f"% won"
            for one in found
        )
        + ".",
    )
    return Section("harm", "Who is harmed", text, (change, flipped))


def fidelity(found: Fidelity) -> Section | None:
    """Return how alike the generations are, and what their average gains."""
    count = len(found.agreement)
    if count < 2:
        return None
    names = tuple(_generation(number) for number in range(count))
    agreement = Chart(
        "agreement",
        "How often two generations say the same",
        "heatmap",
        "",
        "same class given, % of the test pictures",
        tuple(
            Series(
                name,
                names,
                tuple(math.nan if column == line else value for column, value in enumerate(row)),
            )
            for line, (name, row) in enumerate(zip(names, found.agreement, strict=True))
        ),
        "Share of the test pictures to which two generations give the same class, %: "
        + "; ".join(
            f"{names[one]} and {names[other]} {found.agreement[one][other]:.1f} %"
            for one in range(count)
            for other in range(one)
        )
        + ".",
    )
    gains = Chart(
        "gains",
        "What averaging gains over the average member",
        "dots",
        "percentage points of error (right is better)",
        "",
        (
            _series(
                "gain",
                tuple(_start(one.name) for one in found.ensembles),
                [one.gain for one in found.ensembles],
                6,
            ),
        ),
        "Average member's error less the ensemble's, percentage points: "
        + "; ".join(f"{one.name} {one.gain.value:.2f}" for one in found.ensembles)
        + ".",
        baseline=0.0,
    )
    text = (
        "A mean gains where its members err differently: the less two generations agree, the more "
        "it can repair.",
    )
    return Section("fidelity", "Fidelity and diversity", text, (agreement, gains))


def _series(
    name: str,
    x: tuple[float, ...] | tuple[str, ...],
    values: Sequence[Interval],
    color: int,
    scale: float = 1.0,
) -> Series:
    """Return measured quantities with their intervals as a series."""
    return Series(
        name,
        x,
        tuple(scale * one.value for one in values),
        tuple(scale * one.low for one in values),
        tuple(scale * one.high for one in values),
        color,
    )


def _likest(names: Sequence[str], similarity: Sequence[Sequence[float]]) -> list[str]:
    pairs = [
        (row[column], names[line], names[column])
        for line, row in enumerate(similarity)
        for column in range(len(row))
        if line != column
    ]
    return [
        f"{one} also like {other} {100 * value:.0f} %"
        for value, one, other in sorted(pairs, reverse=True)[:5]
    ]


def _curve_name(network: Network) -> str:
    return f"generation {network.generation}" + ("" if network.finished else ", not finished")


def _consecutive(generations: Sequence[int]) -> bool:
    return list(generations) == list(range(generations[0], generations[-1] + 1))


def _who(generations: Sequence[int]) -> str:
    if len(generations) == 1:
        return f"generation {generations[0]}"
    return f"ensemble {generations[0]}-{generations[-1]}"


def _short(generations: Sequence[int]) -> str:
    return (
        str(generations[0])
        if len(generations) == 1
        else f"ensemble {generations[0]}-{generations[-1]}"
    )


def _generation(number: int) -> str:
    return f"generation {number}"


def _start(text: str) -> str:
    return text[:1].upper() + text[1:]


def _signed(value: float, digits: int = 2) -> str:
    return f"{value:+.{digits}f}"
