"""An insight as a person reads it: tables with a few words about what each column says, for a
terminal or Markdown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from anew.core.text import table
from anew.evaluation.insight.collecting import Insight
from anew.evaluation.insight.gradients import Pull
from anew.evaluation.statistics import Interval

_THOUGHTS = 10


@dataclass(frozen=True)
class Section:
    """One table, and what to know to read it."""

    title: str
    about: str
    columns: tuple[str, ...]
    rows: list[list[str]]


def sections(insight: Insight) -> list[Section]:
    """Return the tables of an insight that have rows, in reading order."""
    made = [
        _gradients(insight),
        _permuted(insight),
        _dark_knowledge(insight),
        _likenesses(insight),
        _second_thoughts(insight),
        _calibration(insight),
        _harm(insight),
        _pairs(insight),
        _ensembles(insight),
    ]
    return [one for one in made if one.rows]


def heading(insight: Insight) -> str:
    """Say which lineage was looked at, on what."""
    first, last = insight.lineage[0], insight.lineage[-1]
    ids = " > ".join(one.id for one in insight.lineage)
    where = {"test": "test", "validation": "validation", "train": "training"}[insight.split]
    return (
        f"{last.model}, {last.objective}, seed {last.seed}, generations {first.generation} to "
        f"{last.generation} "
        f"({ids}), on {insight.examples:,} {where} examples; in brackets the bootstrap's 95 % "
        f"interval over them"
    )


def markdown(insight: Insight) -> str:
    """Return the insight as Markdown."""
    lines = ["# Insight", "", f"{heading(insight)}.", ""]
    for section in sections(insight):
        lines += [f"## {section.title}", "", section.about, ""]
        lines += [table(section.columns, section.rows, numbers_from=1), ""]
    lines += [f"- {notice}" for notice in insight.notices]
    return "\n".join(lines).rstrip()


def _gradients(insight: Insight) -> Section:
    rows: list[list[str]] = []
    for one in insight.gradients:
        rows.append(
            [
                f"generation {one.generation}",
                str(one.epoch),
                *_pull(one.ban),
                _share(one.cwtm_effective),
            ]
        )
    return Section(
        "What pulls on the students: the teacher's outputs (ban)",
        "Shares, in percent, of the squared distillation gradient. In wrong classes: what pulls on "
        "the classes that "
        "are not the right one, the dark-knowledge term. Imitated by: how much of it the label "
        "gradient alone makes, "
        "the label gradient weighted by the teacher's confidence (cwtm), and weighted in whatever "
        "way is best; what no "
        "weight makes is which wrong classes are likelier. R^2: how much of the variance of the "
        "weight "
        "(q* - p*) / (q* - 1) the teacher's confidence in the right class explains, examples "
        "counted by (1 - q*)^2. "
        "CWTM effective: how many of 100 examples its weights are worth.",
        ("student", "epoch", *_PULL_COLUMNS, "CWTM effective"),
        rows,
    )


def _permuted(insight: Insight) -> Section:
    rows = [
        [
            f"generation {one.generation}",
            str(one.epoch),
            *_pull(one.dkpp),
            _number(one.ban_dkpp_cosine, 3),
        ]
        for one in insight.gradients
    ]
    return Section(
        "The same with the teacher's other classes shuffled (dkpp)",
        "The targets that DKPP would give: as sure, and as doubtful, but of random classes. Cosine "
        "to ban: what is "
        "left of the direction.",
        ("student", "epoch", *_PULL_COLUMNS, "cosine to ban"),
        rows,
    )


_PULL_COLUMNS = (
    "in wrong classes",
    "imitated by labels",
    "by confidence",
    "by any weight",
    "cosine to labels",
    "R^2",
)


def _pull(pull: Pull) -> list[str]:
    shares = (pull.dark_share, pull.by_labels, pull.by_confidence, pull.by_any_weight)
    return [*map(_share, shares), _number(pull.cosine, 3), _number(pull.ratio_r2_weighted, 2)]


def _dark_knowledge(insight: Insight) -> Section:
    rows = [
        [
            f"generation {one.generation}",
            _share(one.confidence),
            _share(one.correct),
            _number(one.entropy, 3),
            _number(one.dark_entropy, 3),
            _plain(one.agreement, 2),
            _plain(one.agreement_permuted, 2),
        ]
        for one in insight.dark_knowledge
    ]
    return Section(
        "How sure they are, and what they think beside it",
        "Confidence and the right class's probability in percent, entropies in nats: of the "
        "outputs, and of what is "
        f"beside the answer (at most {math.log(max(len(insight.classes) - 1, 1)):.2f}, where all "
        f"others are equally "
        "likely). Like the errors: Spearman's rank correlation, over pairs of classes, of where "
        "the probability beside "
        "the answer lies with which errors are made; then the same after DKPP's permutation.",
        (
            "",
            "confidence",
            "right class",
            "entropy",
            "beside the answer",
            "like the errors",
            "permuted",
        ),
        rows,
    )


def _likenesses(insight: Insight) -> Section:
    first, last = insight.dark_knowledge[0], insight.dark_knowledge[-1]
    rows: list[list[str]] = []
    for number, name in enumerate(insight.classes):
        cells = [
            f"{insight.classes[max(range(len(row)), key=row.__getitem__)]} {100 * max(row):.0f} %"
            if max(row)
            else "-"
            for row in (first.similarity[number], last.similarity[number])
        ]
        rows.append([name, *cells])
    return Section(
        "What each class is most like",
        "Called this, the next thought is ... with this share of the probability beside the "
        "answer.",
        (
            "called",
            f"generation {first.generation} also thinks of",
            f"generation {last.generation} also thinks of",
        ),
        rows,
    )


def _second_thoughts(insight: Insight) -> Section:
    last = insight.dark_knowledge[-1]
    rows = [
        [
            f"{insight.split} {one.example}",
            insight.classes[one.label],
            f"{insight.classes[one.first]} {100 * one.first_probability:.0f} %",
            f"{insight.classes[one.second]} {100 * one.second_probability:.0f} %",
        ]
        for one in last.second_thoughts[:_THOUGHTS]
    ]
    return Section(
        f"Second thoughts of generation {last.generation}",
        "The examples that are nearly called something else, one for each pair of classes.",
        ("example", "is", "called", "nearly called"),
        rows,
    )


def _calibration(insight: Insight) -> Section:
    rows: list[list[str]] = []
    for one in insight.calibration:
        row = [
            one.name,
            f"{one.scores.error:.2f}",
            f"{one.scores.nll:.4f}",
            f"{one.scores.brier:.4f}",
        ]
        row.append(f"{one.ece_equal_mass:.2f}")
        if one.temperature is None or one.scaled is None or one.scaled_ece_equal_mass is None:
            row += ["-", "-", "-"]
        else:
            row += [
                f"{one.temperature:.3f}",
                f"{one.scaled.nll:.4f}",
                f"{one.scaled_ece_equal_mass:.2f}",
            ]
        rows.append(row)
    return Section(
        "Whether probabilities mean what they say",
        "ECE over 15 bins of equally many examples, in percent. T divides the log-probabilities "
        "and was chosen on the "
        "validation examples; less than 1 makes surer.",
        ("", "error %", "NLL", "Brier", "ECE %", "T", "NLL at T", "ECE % at T"),
        rows,
    )


def _harm(insight: Insight) -> Section:
    rows: list[list[str]] = []
    for one in insight.harm:
        difference = one.difference
        worst = one.classes[0]
        rows.append(
            [
                one.name,
                _number(Interval(difference.mean, difference.low, difference.high), 2),
                f"{difference.p:.2g}",
                _number(one.negative_flips, 2),
                _number(one.positive_flips, 2),
                _number(one.repaired, 0),
                f"{worst.name} {worst.before:.1f} to {worst.after:.1f}",
            ]
        )
    return Section(
        "Who is harmed",
        "Change of the error in percentage points, more than 0 is worse, with McNemar's p (not "
        "corrected). Lost: right "
        "before, wrong now, in percent of the examples; won: the reverse. Repaired: the percentage "
        "of the lost that "
        "the mean of all generations gets right. Last, the class whose error rose most.",
        ("from ... to ...", "change", "p", "lost", "won", "repaired %", "worst class, error %"),
        rows,
    )


def _pairs(insight: Insight) -> Section:
    found, count = insight.fidelity, len(insight.lineage)
    rows = [
        [
            f"generations {i} and {j}",
            f"{found.agreement[i][j]:.2f}",
            f"{found.kl[i][j]:.4f}",
            f"{found.kl[j][i]:.4f}",
            f"{found.disagreement[i][j]:.2f}",
            f"{found.double_faults[i][j]:.2f}",
        ]
        for i in range(count)
        for j in range(i + 1, count)
    ]
    return Section(
        "How alike they are",
        "Same class given, in percent; KL in nats, of the older from the younger and back; one "
        "right: exactly one of "
        "the two is; both wrong, in percent.",
        ("", "same class", "KL older|younger", "KL younger|older", "one right", "both wrong"),
        rows,
    )


def _ensembles(insight: Insight) -> Section:
    rows = [
        [
            one.name,
            f"{one.error:.2f}",
            f"{one.mean_member_error:.2f}",
            f"{one.best_member_error:.2f}",
            _number(one.gain, 2),
            f"{one.disagreement:.2f}",
            f"{one.double_faults:.2f}",
        ]
        for one in insight.fidelity.ensembles
    ]
    return Section(
        "What averaging gains",
        "Errors in percent; gain: the average member's error less the ensemble's, in percentage "
        "points.",
        ("", "error", "average member", "best member", "gain", "one right", "both wrong"),
        rows,
    )


def _share(interval: Interval) -> str:
    return _number(Interval(100 * interval.value, 100 * interval.low, 100 * interval.high), 1)


def _number(interval: Interval, digits: int) -> str:
    if math.isnan(interval.value):
        return "-"
    return f"{interval.value:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def _plain(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
