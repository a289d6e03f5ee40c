"""What the students learned, as the page shows it: sections of charts with how to read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from anew.core.text import capitalised, generations_name, listed
from anew.evaluation.insight import Calibration, DarkKnowledge, Fidelity, Gradients, Harm, Insight
from anew.evaluation.statistics import Interval
from anew.report.charts import Chart, Series
from anew.report.sections import GREY

MOST_CLASSES = 20
"""The most classes whose errors a chart shows; of more it shows those that change most."""
_LIKENESSES = 5


@dataclass(frozen=True)
class Section:
    """A part of the insight: a heading, how to read it, and its charts.

    Its numbers are the tables of `insight.wording`.
    """

    name: str
    title: str
    text: str
    charts: tuple[Chart, ...] = ()


def insight_sections(insight: Insight) -> tuple[Section, ...]:
    """Return the sections of what the students learned, without what was not measured."""
    sections: list[Section] = []
    if insight.gradients:
        sections.append(gradients(insight.gradients))
    if insight.dark_knowledge:
        sections.append(dark_knowledge(insight.dark_knowledge, insight.classes))
    if insight.calibration:
        sections.append(calibration(insight.calibration))
    if insight.harm:
        sections.append(harm(insight.harm))
    if len(insight.fidelity.agreement) > 1:
        sections.append(fidelity(insight.fidelity))
    return tuple(sections)


def gradients(measured: Sequence[Gradients]) -> Section:
    """Return what pulls on the students' logits: weights of examples, or likelier wrong classes."""
    # Of several epochs of a generation, the last.
    students = list({gradient.generation: gradient for gradient in measured}.values())
    charts = [_gradient_shares(students), _importance_weights(students)]
    if len(measured) > len(students):
        charts += [_shares_by_epoch(measured), _weights_by_epoch(measured)]
    return Section(
        "gradients",
        "The teacher's gradient",
        "A student learns from the distillation gradient. A weight changes the length of an "
        "example's label gradient, not its direction, so weighted labels explain at most the part "
        "of the distillation gradient in that direction. The rest says which wrong classes are "
        "likelier. p is the teacher's probability, q the student's, and * marks the right class.",
        tuple(charts),
    )


def _gradient_shares(students: Sequence[Gradients]) -> Chart:
    names = tuple(generations_name((student.generation,)) for student in students)
    shares: list[tuple[str, list[Interval], int]] = [
        ("equal weights", [one.ban.by_labels for one in students], 5),
        ("weights max p (cwtm)", [one.ban.by_confidence for one in students], 6),
        ("weights p* (equation 9)", [one.ban.by_right_class for one in students], 4),
        ("best weights", [one.ban.by_any_weight for one in students], 7),
    ]

    said: list[str] = []
    for name, values, _ in shares:
        percents = [
            f"{student} {100 * interval.value:.0f} %"
            for student, interval in zip(names, values, strict=True)
        ]
        said.append(f"{name}: {listed(percents)}")

    return Chart(
        name="gradient-shares",
        title="How much of the distillation gradient weighted labels explain",
        kind="dots",
        x_title="explained share of the squared gradient, %",
        y_title="",
        series=tuple(_series(name, names, values, color, 100) for name, values, color in shares),
        description="Share of the squared distillation gradient that the label gradient "
        f"explains: {'; '.join(said)}.",
    )


def _shares_by_epoch(measured: Sequence[Gradients]) -> Chart:
    """Return what no weight makes, and what the teacher's confidence leaves, over kept epochs."""
    series: list[Series] = []
    said: list[str] = []
    for name, students in _by_generation(measured).items():
        epochs = tuple(float(one.epoch) for one in students)
        color = students[0].generation
        none_makes = [_less(1, one.ban.by_any_weight) for one in students]
        not_by_p = [_less(1, one.ban.by_right_class) for one in students]
        series += [
            _series(f"{name}, any weights", epochs, none_makes, color, 100),
            replace(
                _series(f"{name}, weights p*", epochs, not_by_p, color, 100),
                dashed=True,
            ),
        ]
        said.append(
            f"{name} from {100 * none_makes[0].value:.0f} % after epoch {students[0].epoch} to "
            f"{100 * none_makes[-1].value:.0f} % after epoch {students[-1].epoch}"
        )

    return Chart(
        name="gradient-shares-by-epoch",
        title="What weighted labels do not explain, by epoch",
        kind="lines",
        x_title="epoch of the student",
        y_title="unexplained share of the squared gradient, %",
        series=tuple(series),
        description="Share of the squared distillation gradient that no weights of the label "
        f"gradient explain: {'; '.join(said)}.",
    )


def _weights_by_epoch(measured: Sequence[Gradients]) -> Chart:
    """Return how well p* and the best line in p* explain the weights, over kept epochs."""
    series: list[Series] = []
    said: list[str] = []
    for name, students in _by_generation(measured).items():
        epochs = tuple(float(one.epoch) for one in students)
        color = students[0].generation
        lines = [one.ban.ratio_r2_weighted for one in students]
        identities = [one.ban.identity_r2_weighted for one in students]
        series += [
            _series(f"{name}, best line", epochs, lines, color),
            replace(_series(f"{name}, p* itself", epochs, identities, color), dashed=True),
        ]
        said.append(
            f"{name} a line from {lines[0].value:.2f} to {lines[-1].value:.2f}, p* itself from "
            f"{identities[0].value:.2f} to {identities[-1].value:.2f}"
        )

    return Chart(
        name="weights-by-epoch",
        title="How well p* explains the weights, by epoch",
        kind="lines",
        x_title="epoch of the student",
        y_title="R^2 of the weights",
        series=tuple(series),
        description="Share of the variance of (q* - p*) / (q* - 1) that is explained, examples by "
        "(1 - q*)^2, first and last epoch: "
        f"{'; '.join(said)}.",
        baseline=0.0,
    )


def _by_generation(measured: Sequence[Gradients]) -> dict[str, list[Gradients]]:
    students: dict[str, list[Gradients]] = {}
    for one in measured:
        students.setdefault(generations_name((one.generation,)), []).append(one)
    return students


def _less(whole: float, part: Interval) -> Interval:
    """Return what a part leaves of the whole, with its interval."""
    return Interval(whole - part.value, whole - part.high, whole - part.low)


def _importance_weights(students: Sequence[Gradients]) -> Chart:
    series: list[Series] = []
    said: list[str] = []
    for student in students:
        name, bins = generations_name((student.generation,)), student.ban.ratio_bins
        series.append(
            Series(
                name,
                tuple(part.teacher for part in bins),
                tuple(part.median for part in bins),
                tuple(part.lower for part in bins),
                tuple(part.upper for part in bins),
                color=student.generation,
            )
        )
        if bins:
            said.append(
                f"{name} from {bins[0].median:.2f} where the teacher is least sure to "
                f"{bins[-1].median:.2f} where it is surest"
            )

    return Chart(
        name="importance-weights",
        title="The weight of an example, by p*",
        kind="lines",
        x_title="teacher's probability of the right class, p*",
        y_title="(q* - p*) / (q* - 1), median and quartiles",
        series=tuple(series),
        description="Median importance weight by the teacher's probability of the right class, "
        f"groups of equally many examples: {'; '.join(said)}.",
    )


def dark_knowledge(measured: Sequence[DarkKnowledge], classes: Sequence[str]) -> Section:
    """Return what the outputs hold beside the answer: alike classes, and how sure networks are."""
    charts = [_similar_classes(measured[-1], classes), _sureness(measured)]
    knowledge = _knowledge(measured)
    if knowledge is not None:
        charts.append(knowledge)
    return Section(
        "dark-knowledge",
        "Dark knowledge",
        "Dark knowledge is how a network spreads probability over the classes that it does not "
        "predict. If it is informative, the likeliest other class is also the likeliest mistake, "
        "and dkpp's permutation destroys this agreement.",
        tuple(charts),
    )


def _similar_classes(last: DarkKnowledge, classes: Sequence[str]) -> Chart:
    generation, likest = f"generation {last.generation}", _likest(classes, last.similarity)
    return Chart(
        name=f"similarity-generation-{last.generation}",
        title=f"Similar classes, according to {generation}",
        kind="heatmap",
        x_title="",
        y_title="row: predicted class; column: share of the probability of all other classes, %",
        series=_beside_diagonal(tuple(classes), last.similarity, 100),
        description=f"How {generation} spreads the probability of the classes that it does not "
        f"predict, in percent. "
        f"{'; '.join(likest)}.",
    )


def _likest(names: Sequence[str], similarity: Sequence[Sequence[float]]) -> list[str]:
    """Return the pairs of classes that are most alike, in words."""
    pairs = [
        (value, names[line], names[column])
        for line, row in enumerate(similarity)
        for column, value in enumerate(row)
        if line != column
    ]
    pairs.sort(reverse=True)
    return [
        f"predicted {called}, then {other} {100 * value:.0f} %"
        for value, called, other in pairs[:_LIKENESSES]
    ]


def _sureness(measured: Sequence[DarkKnowledge]) -> Chart:
    generations = tuple(float(one.generation) for one in measured)
    said = [
        f"generation {one.generation} {one.confidence.value:.3f} and {one.correct.value:.3f}"
        for one in measured
    ]

    return Chart(
        name="sureness",
        title="Confidence of the generations",
        kind="lines",
        x_title="generation",
        y_title="mean probability",
        series=(
            _series("largest probability", generations, [one.confidence for one in measured], 5),
            _series(
                "probability of the right class", generations, [one.correct for one in measured], 6
            ),
        ),
        description=f"Mean of the largest probability and of the right class's: {'; '.join(said)}.",
    )


def _knowledge(measured: Sequence[DarkKnowledge]) -> Chart | None:
    """Return the chart of how likeness agrees with confusion; None if there are no errors."""
    names = tuple(f"Generation {one.generation}" for one in measured)
    candidates = (
        Series("outputs", names, tuple(one.agreement for one in measured), color=5),
        Series(
            "after dkpp's permutation",
            names,
            tuple(one.agreement_permuted for one in measured),
            color=6,
        ),
    )
    series = tuple(one for one in candidates if not all(math.isnan(value) for value in one.y))
    if not series:
        return None

    said = [
        f"generation {one.generation} {one.agreement:.2f}, after permutation "
        f"{one.agreement_permuted:.2f}"
        for one in measured
    ]
    return Chart(
        name="knowledge",
        title="Are likely other classes the likely mistakes?",
        kind="dots",
        x_title="Spearman's rank correlation (1: the same order)",
        y_title="",
        series=series,
        description="Spearman's rank correlation of the other classes' probabilities with the "
        f"mistakes: {'; '.join(said)}.",
        baseline=0.0,
    )


def calibration(measured: Sequence[Calibration]) -> Section:
    """Return whether probabilities mean what they say, as they are and at one temperature.

    Generations and the last ensemble are drawn.
    """
    drawn = [one for one in measured if len(one.generations) == 1 or one is measured[-1]]
    return Section(
        "calibration",
        "Calibration",
        "Below the diagonal a network is overconfident, above it underconfident. ECE (expected "
        "calibration error) is the mean distance from the diagonal over 15 bins of equal width. "
        "The temperature is fitted on the validation examples, never on test.",
        (_reliability(drawn), _temperature(drawn)),
    )


def _reliability(drawn: Sequence[Calibration]) -> Chart:
    series: list[Series] = []
    for one in drawn:
        is_ensemble = len(one.generations) > 1
        series.append(
            Series(
                capitalised(one.name),
                tuple(part.confidence for part in one.bins),
                tuple(part.accuracy for part in one.bins),
                color=GREY if is_ensemble else one.generations[0],
                dashed=is_ensemble,
            )
        )
    said = [f"{one.name} {one.scores.ece:.1f} %" for one in drawn]

    return Chart(
        name="reliability",
        title="Accuracy by confidence",
        kind="lines",
        x_title="confidence",
        y_title="accuracy",
        series=tuple(series),
        description="Reliability diagram, 15 groups of equally many test examples; on the diagonal "
        f"confidence equals accuracy. Calibration error: {'; '.join(said)}.",
        diagonal=True,
    )


def _temperature(drawn: Sequence[Calibration]) -> Chart:
    names = tuple(capitalised(one.name) for one in drawn)
    series = [Series("before", names, tuple(one.scores.ece for one in drawn), color=5)]
    said: list[str] = []
    scaled_names: list[str] = []
    scaled_errors: list[float] = []
    for one in drawn:
        text = f"{one.name} {one.scores.ece:.2f} %"
        if one.scaled is not None:
            scaled_names.append(capitalised(one.name))
            scaled_errors.append(one.scaled.ece)
            text += f", at temperature {one.temperature:.2f} {one.scaled.ece:.2f} %"
        said.append(text)
    if scaled_names:
        series.append(Series("after", tuple(scaled_names), tuple(scaled_errors), color=6))

    return Chart(
        name="temperature",
        title="Calibration error before and after temperature scaling",
        kind="dots",
        x_title="ECE, % (left is better)",
        y_title="",
        series=tuple(series),
        description=f"Expected calibration error, 15 bins of equal width: {'; '.join(said)}.",
        connected=True,
    )


def harm(measured: Sequence[Harm]) -> Section:
    """Return whom a student harms: flips from right to wrong, and the classes that lose most."""

    def reach(one: Harm) -> int:
        """The distance in generations; ensembles come last."""
        return one.after[-1] - one.before[0] if len(one.after) == 1 else -1

    return Section(
        "harm",
        "Pictures and classes that got worse",
        "A student with a lower error can still be worse on some pictures and classes.",
        (_class_changes(max(measured, key=reach)), _flips(measured)),
    )


def _class_changes(whole: Harm) -> Chart:
    """Return the errors of classes before and after; of many classes those that change most."""
    classes, left_out = sorted(whole.classes, key=lambda change: -change.change), ""
    if len(classes) > MOST_CLASSES:
        left_out = f" (of {len(classes)} classes the 10 that lose and the 10 that gain most)"
        classes = [*classes[: MOST_CLASSES // 2], *classes[-(MOST_CLASSES // 2) :]]

    names = tuple(change.name for change in classes)
    before = tuple(change.before for change in classes)
    after = tuple(change.after for change in classes)
    said = [f"{change.name} {change.before:.1f} to {change.after:.1f} %" for change in classes]
    return Chart(
        name="class-changes",
        title=f"Error of each class, {whole.name}",
        kind="dots",
        x_title=f"test error, %{left_out}",
        y_title="",
        series=(
            Series(generations_name(whole.before), names, before, color=whole.before[0]),
            Series(generations_name(whole.after), names, after, color=whole.after[-1]),
        ),
        description=f"Error by class, {whole.name}{left_out}: {'; '.join(said)}.",
        connected=True,
    )


def _flips(measured: Sequence[Harm]) -> Chart:
    pairs = tuple(f"{_short(one.before)} to {_short(one.after)}" for one in measured)
    said = [
        f"{one.name} {one.negative_flips.value:.2f} % lost and {one.positive_flips.value:.2f} % won"
        for one in measured
    ]

    return Chart(
        name="flips",
        title="Test pictures that became wrong or right",
        kind="dots",
        x_title="share of the test pictures, %",
        y_title="",
        series=(
            _series("right before, wrong now", pairs, [one.negative_flips for one in measured], 2),
            _series("wrong before, right now", pairs, [one.positive_flips for one in measured], 6),
        ),
        description=f"Flips, % of the test pictures: {'; '.join(said)}.",
    )


def fidelity(measured: Fidelity) -> Section:
    """Return how alike the generations are, and what their average gains."""
    return Section(
        "fidelity",
        "Agreement and ensembles",
        "An ensemble gains if its members make different mistakes: the less the generations agree, "
        "the more it can correct.",
        (_agreement(measured), _gains(measured)),
    )


def _agreement(measured: Fidelity) -> Chart:
    count = len(measured.agreement)
    names = tuple(f"generation {number}" for number in range(count))
    said = [
        f"{names[later]} and {names[earlier]} {measured.agreement[later][earlier]:.1f} %"
        for later in range(count)
        for earlier in range(later)
    ]

    return Chart(
        name="agreement",
        title="Agreement of the generations",
        kind="heatmap",
        x_title="",
        y_title="same prediction, % of the test pictures",
        series=_beside_diagonal(names, measured.agreement),
        description="Share of the test pictures with the same prediction by two generations, %: "
        f"{'; '.join(said)}.",
    )


def _gains(measured: Fidelity) -> Chart:
    names = tuple(capitalised(one.name) for one in measured.ensembles)
    said = [f"{one.name} {one.gain.value:.2f}" for one in measured.ensembles]

    return Chart(
        name="gains",
        title="Gain of ensembles over their average member",
        kind="dots",
        x_title="percentage points of error (right is better)",
        y_title="",
        series=(_series("gain", names, [one.gain for one in measured.ensembles], 6),),
        description="Average member's error minus the ensemble's, percentage points: "
        f"{'; '.join(said)}.",
        baseline=0.0,
    )


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
        tuple(scale * interval.value for interval in values),
        tuple(scale * interval.low for interval in values),
        tuple(scale * interval.high for interval in values),
        color,
    )


def _beside_diagonal(
    names: tuple[str, ...], matrix: Sequence[Sequence[float]], scale: float = 1.0
) -> tuple[Series, ...]:
    """Return the rows of a heat map of a square matrix; its diagonal stays empty."""
    series: list[Series] = []
    for line, (name, row) in enumerate(zip(names, matrix, strict=True)):
        values = [scale * value for value in row]
        values[line] = math.nan
        series.append(Series(name, names, tuple(values)))
    return tuple(series)


def _short(generations: Sequence[int]) -> str:
    return generations_name(generations).removeprefix("generation ")
