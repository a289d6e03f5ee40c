"""An insight as tables with notes on their columns, for a terminal, Markdown and the page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from anew.core.text import in_digits, table
from anew.evaluation import ensemble
from anew.evaluation.insight.collecting import Insight
from anew.evaluation.insight.gradients import Gradients, Pull
from anew.evaluation.statistics import Interval

_THOUGHTS = 10


@dataclass(frozen=True)
class Section:
    """One table, and how to read it."""

    title: str
    about: tuple[str, ...]
    """Its columns, in their order: a line for each, or for those that belong together."""
    columns: tuple[str, ...]
    rows: list[list[str]]


def sections(insight: Insight) -> list[Section]:
    """Return the tables of an insight that have rows, in reading order."""
    tables = [
        gradients_table(insight.gradients),
        weights_table(insight.gradients),
        permuted_table(insight.gradients),
        _dark_knowledge(insight),
        _likenesses(insight),
        _second_thoughts(insight),
        _calibration(insight),
        _harm(insight),
        _pairs(insight),
        _ensembles(insight),
    ]
    return [section for section in tables if section.rows]


def heading(insight: Insight) -> str:
    """Return which lineage was looked at, and on which examples."""
    first, last = insight.lineage[0], insight.lineage[-1]
    ids = " > ".join(member.id for member in insight.lineage)
    split = "training" if insight.split == "train" else insight.split
    return (
        f"{last.model}, {last.objective}, seed {last.seed}, generations {first.generation} to "
        f"{last.generation} ({ids}), on {insight.examples:,} {split} examples; in brackets: 95 % "
        f"intervals (bootstrap over these examples)"
    )


def markdown(insight: Insight) -> str:
    """Return the insight as Markdown."""
    return in_markdown(heading(insight), sections(insight), insight.notices)


def in_markdown(headed: str, tables: Sequence[Section], notices: Sequence[str]) -> str:
    """Return tables with a heading and notices as Markdown."""
    lines = ["# Insight", "", f"{headed}.", ""]
    for section in tables:
        lines += [f"## {section.title}", ""]
        lines += [table(section.columns, section.rows, numbers_from=1), ""]
        lines += [*(f"- {line}" for line in section.about), ""]
    lines += [f"- {notice}" for notice in notices]
    return "\n".join(lines).rstrip()


DARK_COLUMNS = (
    "like the errors: Spearman's rank correlation, over pairs of classes, of the other classes' "
    "probabilities with the errors: 1 if the likeliest other class is the likeliest mistake.",
    "permuted: the same after dkpp's permutation.",
    "covariance kept: Pearson's correlation, over pairs of classes, of the outputs' covariance "
    "before and after the permutation.",
)
"""What is said of a network's dark knowledge, of one lineage and over seeds."""

_PULL_COLUMNS = ("in wrong classes", "by labels", "by max p", "by p*", "by any weight", "cosine")


def gradients_table(students: Sequence[Gradients]) -> Section:
    """Return what pulls on students towards their teachers' outputs, as a table."""
    rows = [
        [*_student(student), *_pull(student.ban), share(student.cwtm_effective)]
        for student in students
    ]

    return Section(
        "The distillation gradient: the teacher's outputs (ban)",
        (
            "The first five columns are shares of the squared gradient on the logits, in percent.",
            "in wrong classes: the share on all classes except the right one.",
            "by labels: the share that the label gradient explains if all examples weigh the same.",
            "by max p: the same, weighted by the teacher's confidence, as in cwtm.",
            "by p*: the same, weighted by the teacher's probability of the right class (the "
            "paper's equation 9).",
            "by any weight: the same, with the best weight for each example. The rest says which "
            "wrong classes are likelier.",
            "cosine: between the distillation gradient and the label gradient.",
            "CWTM effective: effective sample size of cwtm's weights, in percent of the examples.",
        ),
        ("student, epoch", *_PULL_COLUMNS, "CWTM effective"),
        rows,
    )


def weights_table(students: Sequence[Gradients]) -> Section:
    """Return how near the weights of examples are to equation 9, as a table."""
    rows: list[list[str]] = []
    for student in students:
        pull = student.ban
        rows.append(
            [
                *_student(student),
                number(pull.ratio_mean, 2),
                number(pull.slope, 2),
                number(pull.intercept, 2),
                number(pull.ratio_r2_weighted, 2),
                number(pull.identity_r2_weighted, 2),
            ]
        )

    return Section(
        "Is an example's weight the teacher's probability of its class (equation 9)?",
        (
            "p* and q*: the teacher's and the student's probability of the right class. The "
            "weight (q* - p*) / (q* - 1) turns the label gradient on that class into the "
            "teacher's. Examples count by (1 - q*)^2.",
            "mean: the mean weight.",
            "slope, intercept: of the best line of the weight against p*. Equation 9 says 1 and 0.",
            "R^2, line: the share of the weight's variance that this line explains.",
            "R^2, p*: the share that p* itself explains; below 0 if the mean weight explains more.",
        ),
        ("student, epoch", "mean", "slope", "intercept", "R^2, line", "R^2, p*"),
        rows,
    )


def permuted_table(students: Sequence[Gradients]) -> Section:
    """Return what would pull on students with their teachers' outputs permuted, as a table."""
    rows = [
        [*_student(student), *_pull(student.dkpp), number(student.ban_dkpp_cosine, 3)]
        for student in students
    ]

    return Section(
        "The distillation gradient after shuffling the other classes (dkpp)",
        (
            "dkpp keeps the teacher's largest probability and permutes the others. Columns as in "
            "the table of ban.",
            "cosine to ban: between the gradients of dkpp and of ban.",
        ),
        ("student, epoch", *_PULL_COLUMNS, "cosine to ban"),
        rows,
    )


def _student(student: Gradients) -> list[str]:
    return [f"generation {student.generation}, {student.epoch}"]


def _pull(pull: Pull) -> list[str]:
    """Return a pull in the columns of `_PULL_COLUMNS`."""
    shares = (
        pull.dark_share,
        pull.by_labels,
        pull.by_confidence,
        pull.by_right_class,
        pull.by_any_weight,
    )
    return [*map(share, shares), number(pull.cosine, 3)]


def _dark_knowledge(insight: Insight) -> Section:
    rows = [
        [
            f"generation {network.generation}",
            share(network.confidence),
            share(network.correct),
            number(network.entropy, 3),
            number(network.dark_entropy, 3),
            in_digits(network.agreement, 2),
            in_digits(network.agreement_permuted, 2),
            in_digits(network.covariance_kept, 2),
        ]
        for network in insight.dark_knowledge
    ]

    most = math.log(max(len(insight.classes) - 1, 1))
    columns = (
        "",
        "confidence",
        "right class",
        "entropy",
        "entropy of others",
        "like the errors",
        "permuted",
        "covariance kept",
    )
    return Section(
        "Confidence and dark knowledge",
        (
            "confidence: mean of the largest probability, in percent.",
            "right class: mean probability of the right class, in percent.",
            "entropy: of all probabilities, in nats.",
            "entropy of others: of the probabilities of all classes except the predicted one, "
            f"scaled to sum 1, in nats; {most:.2f} if they are equally likely.",
            *DARK_COLUMNS,
        ),
        columns,
        rows,
    )


def _likenesses(insight: Insight) -> Section:
    first, last = insight.dark_knowledge[0], insight.dark_knowledge[-1]
    rows: list[list[str]] = []
    for place, name in enumerate(insight.classes):
        cells: list[str] = []
        for similar in (first.similarity[place], last.similarity[place]):
            likest = max(range(len(similar)), key=similar.__getitem__)
            share = similar[likest]
            cells.append(f"{insight.classes[likest]} {100 * share:.0f} %" if share else "-")
        rows.append([name, *cells])

    columns = [f"by generation {network.generation}" for network in (first, last)]
    return Section(
        "The likeliest other class",
        (
            "For each predicted class: the other class with the most probability, and its share "
            "of the probability of all other classes.",
        ),
        ("predicted", *columns),
        rows,
    )


def _second_thoughts(insight: Insight) -> Section:
    last = insight.dark_knowledge[-1]
    rows: list[list[str]] = []
    for thought in last.second_thoughts[:_THOUGHTS]:
        first, second = insight.classes[thought.first], insight.classes[thought.second]
        rows.append(
            [
                f"{insight.split} {thought.example}",
                insight.classes[thought.label],
                f"{first} {in_digits(100 * thought.first_probability, 0)} %",
                f"{second} {in_digits(100 * thought.second_probability, 0)} %",
            ]
        )

    return Section(
        f"The closest decisions of generation {last.generation}",
        (
            "The examples whose second class has the most probability, at most one for each pair "
            "of classes.",
        ),
        ("example", "right class", "first class", "second class"),
        rows,
    )


def _calibration(insight: Insight) -> Section:
    rows: list[list[str]] = []
    for network in insight.calibration:
        scores, scaled = network.scores, network.scaled
        at_temperature = ["-", "-", "-"]
        if scaled is not None:
            at_temperature = [
                in_digits(network.temperature, 3),
                in_digits(scaled.nll, 4),
                in_digits(scaled.ece, 2),
            ]
        rows.append(
            [
                network.name,
                in_digits(scores.error, 2),
                in_digits(scores.nll, 4),
                in_digits(scores.brier, 4),
                in_digits(scores.ece, 2),
                *at_temperature,
            ]
        )

    return Section(
        "Calibration",
        (
            "ECE: expected calibration error over 15 bins of equal width, as in `anew evaluate`.",
            "T: the temperature with the lowest NLL on the validation examples; below 1 it raises "
            "confidence.",
            "NLL at T, ECE % at T: the scores with that temperature.",
        ),
        ("", "error %", "NLL", "Brier", "ECE %", "T", "NLL at T", "ECE % at T"),
        rows,
    )


def _harm(insight: Insight) -> Section:
    rows: list[list[str]] = []
    for change in insight.harm:
        difference, worst = change.difference, change.classes[0]
        rows.append(
            [
                change.name,
                number(Interval(difference.mean, difference.low, difference.high), 2),
                f"{difference.p:.2g}",
                number(change.negative_flips, 2),
                number(change.positive_flips, 2),
                number(change.repaired, 0),
                f"{worst.name}: {worst.before:.1f} to {worst.after:.1f}",
            ]
        )

    return Section(
        "Examples and classes that got worse",
        (
            "change: of the error, in percentage points; above 0 is worse.",
            "p: of McNemar's test, not corrected for the number of comparisons.",
            "lost %, won %: right before and wrong after; the reverse.",
            "repaired %: of the lost examples, how many the ensemble of all generations gets "
            "right.",
            "worst class, error %: the class whose error rose most, with its error before and "
            "after.",
        ),
        ("from ... to ...", "change", "p", "lost %", "won %", "repaired %", "worst class, error %"),
        rows,
    )


def _pairs(insight: Insight) -> Section:
    alike = insight.fidelity
    rows: list[list[str]] = []
    count = len(insight.lineage)
    pairs = itertools.combinations(range(count), 2)
    if count > ensemble.ALL_RUNS_UP_TO:
        pairs = ((older, younger) for older, younger in pairs if older in (0, younger - 1))
    for older, younger in pairs:
        rows.append(
            [
                f"generations {older} and {younger}",
                in_digits(alike.agreement[older][younger], 2),
                in_digits(alike.kl[older][younger], 4),
                in_digits(alike.kl[younger][older], 4),
                in_digits(alike.disagreement[older][younger], 2),
                in_digits(alike.double_faults[older][younger], 2),
            ]
        )

    left_out = "Rows: consecutive generations, and generation 0 with each."
    return Section(
        "Agreement of the generations",
        (
            *([left_out] if count > ensemble.ALL_RUNS_UP_TO else []),
            "same class %: examples with the same prediction.",
            "KL(older, younger): divergence of the younger's probabilities from the older's, in "
            "nats; KL(younger, older): the reverse.",
            "one right %, both wrong %: examples that exactly one of the two gets right; that "
            "both get wrong.",
        ),
        (
            "",
            "same class %",
            "KL(older, younger)",
            "KL(younger, older)",
            "one right %",
            "both wrong %",
        ),
        rows,
    )


def _ensembles(insight: Insight) -> Section:
    rows = [
        [
            together.name,
            in_digits(together.error, 2),
            in_digits(together.mean_member_error, 2),
            in_digits(together.best_member_error, 2),
            number(together.gain, 2),
            in_digits(together.disagreement, 2),
            in_digits(together.double_faults, 2),
        ]
        for together in insight.fidelity.ensembles
    ]

    return Section(
        "Gain of ensembles",
        (
            "error %: of the ensemble; average member, best member: the mean and the lowest error "
            "of its members.",
            "gain: the average member's error minus the ensemble's, in percentage points.",
            "one right %, both wrong %: as above, mean over pairs of members.",
        ),
        (
            "",
            "error %",
            "average member",
            "best member",
            "gain",
            "one right %",
            "both wrong %",
        ),
        rows,
    )


def share(interval: Interval) -> str:
    """Return a share with its interval in percent."""
    return number(Interval(100 * interval.value, 100 * interval.low, 100 * interval.high), 1)


def number(interval: Interval, digits: int) -> str:
    """Return a number with its interval in so many digits, alone if it has none."""
    value = in_digits(interval.value, digits)
    if math.isnan(interval.value) or math.isnan(interval.low):
        return value
    return f"{value} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"
